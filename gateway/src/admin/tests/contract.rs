//! What the admin endpoint answers and what its document says are the same.

use std::collections::BTreeSet;

use serde_json::Value;

use super::super::endpoints::{self, Access, ENDPOINTS};
use super::{Admin, Answer, Mood};

#[tokio::test]
async fn every_documented_operation_answers_as_documented() {
    let document = document();
    for (mood, text) in [(Mood::Good, "a = 1"), (Mood::Bad, "brust = 1")] {
        let admin = Admin::start(Some("s3cret"), mood);
        for (line, operation) in operations(&document) {
            let line = line.replace("{name}", "users").replace("{address}", "10.0.0.1:3000");
            let example = operation.pointer("/requestBody/content/application~1json/example");
            let example = example.map(Value::to_string);
            let body =
                operation.get("requestBody").map_or("", |_| example.as_deref().unwrap_or(text));
            let answer = admin.ask_with_token(&line, body).await;
            documented(&document, operation, &answer)
                .unwrap_or_else(|error| panic!("{line}: {error}"));
        }
    }
}

/// Whether an answer is one that the document says the operation gives.
fn documented(document: &Value, operation: &Value, answer: &Answer) -> Result<(), String> {
    let response = operation["responses"].get(answer.status.to_string());
    let response = response.ok_or_else(|| format!("{} is not documented", answer.status))?;
    let (kind, content) = response["content"].as_object().unwrap().iter().next().unwrap();
    if !answer.head.contains(&format!("content-type: {kind}")) {
        return Err(format!("{kind} is not in {}", answer.head));
    }
    let value = match kind.ends_with("json") {
        true => answer.json(),
        false => Value::from(&*answer.body),
    };
    fits(document, &content["schema"], &value)
}

#[test]
fn what_is_answered_and_what_is_documented_is_the_same() {
    let document = document();
    let documented = operations(&document).map(|(line, operation)| {
        let access = match operation["security"].is_null() {
            true => Access::Anyone,
            false => Access::WithToken,
        };
        format!("{line} {access:?}")
    });
    let documented: BTreeSet<_> = documented.collect();
    let describe = |of: &endpoints::Endpoint| format!("{} {} {:?}", of.method, of.path, of.access);
    let answered: BTreeSet<_> = ENDPOINTS.iter().map(describe).collect();
    assert_eq!(answered, documented);
}

fn document() -> Value {
    serde_json::from_str(include_str!("../openapi.json")).unwrap()
}

/// `GET /path` and what the document says of it.
fn operations(document: &Value) -> impl Iterator<Item = (String, &Value)> {
    document["paths"].as_object().unwrap().iter().flat_map(|(path, methods)| {
        let methods = methods.as_object().unwrap().iter().filter(|(key, _)| *key != "parameters");
        methods.map(move |(method, of)| (format!("{} {path}", method.to_uppercase()), of))
    })
}

/// Whether a value is of a schema: what our document uses of JSON schema, no more.
fn fits(document: &Value, schema: &Value, value: &Value) -> Result<(), String> {
    if let Some(name) = schema["$ref"].as_str() {
        return fits(document, document.pointer(&name[1..]).unwrap(), value);
    }
    for key in ["anyOf", "oneOf"] {
        if let Some(choices) = schema[key].as_array() {
            let any = choices.iter().any(|choice| fits(document, choice, value).is_ok());
            return if any { Ok(()) } else { Err(format!("{value} is none of {key}")) };
        }
    }
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_u64() || number.is_i64() => "integer",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    let allowed =
        schema["type"].as_array().cloned().unwrap_or_else(|| vec![schema["type"].clone()]);
    let is_allowed = |kind: &str| allowed.contains(&Value::from(kind));
    if !(is_allowed(kind) || kind == "integer" && is_allowed("number")) {
        return Err(format!("{value} is not {allowed:?}"));
    }
    for element in value.as_array().into_iter().flatten() {
        fits(document, &schema["items"], element)?;
    }
    let (Some(object), Some(properties)) = (value.as_object(), schema["properties"].as_object())
    else {
        return Ok(());
    };
    for (key, value) in object {
        let schema = properties.get(key).ok_or_else(|| format!("{key} is not documented"))?;
        fits(document, schema, value).map_err(|error| format!("{key}: {error}"))?;
    }
    let missing = schema["required"]
        .as_array()
        .unwrap()
        .iter()
        .find(|key| !object.contains_key(key.as_str().unwrap()));
    missing.map_or(Ok(()), |key| Err(format!("{key} is missing")))
}

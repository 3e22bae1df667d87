//! Reads the request that is to be explained: what `gateway explain` takes from the command line, as JSON.

use serde_json::Value;
use thiserror::Error;

use crate::cli::explain::QuestionError;
use crate::cli::explain::decide::Question;

/// Why a body is no question.
#[derive(Debug, Error)]
pub(super) enum BodyError {
    #[error("the body is no JSON object with method, url, headers and client")]
    NoObject,
    #[error("unknown key \"{0}\"; keys are method, url, headers, client")]
    UnknownKey(String),
    #[error("\"{0}\" is a text")]
    NoText(&'static str),
    #[error("\"url\" is missing; write \"/users/7\" or \"https://host/users/7\"")]
    NoUrl,
    #[error("\"headers\" is a list of texts such as \"name: value\"")]
    Headers,
    #[error(transparent)]
    Question(#[from] QuestionError),
}

/// The question in a body. Without a method it is GET; without a client it is this machine.
pub(super) fn read(body: &str) -> Result<Question, BodyError> {
    let value: Value = serde_json::from_str(body).map_err(|_| BodyError::NoObject)?;
    let object = value.as_object().ok_or(BodyError::NoObject)?;
    let known = ["method", "url", "headers", "client"];
    if let Some(unknown) = object.keys().find(|key| !known.contains(&key.as_str())) {
        return Err(BodyError::UnknownKey(unknown.clone()));
    }
    let text = |key: &'static str| match object.get(key) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.as_str())),
        Some(_) => Err(BodyError::NoText(key)),
    };
    let (method, url, client) = (text("method")?, text("url")?, text("client")?);
    let headers = match object.get("headers") {
        None => Vec::new(),
        Some(headers) => texts(headers).ok_or(BodyError::Headers)?,
    };
    let url = url.ok_or(BodyError::NoUrl)?;
    Ok(Question::parse(method.unwrap_or("GET"), url, &headers, client)?)
}

fn texts(list: &Value) -> Option<Vec<String>> {
    list.as_array()?.iter().map(|text| text.as_str().map(str::to_owned)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_is_read_as_the_command_line_has_it() {
        let body =
            r#"{"method": "PUT", "url": "http://a/b", "headers": ["x-a: 1"], "client": "::1"}"#;
        let question = read(body).unwrap();
        assert_eq!((question.method.as_str(), question.uri.path()), ("PUT", "/b"));
        assert_eq!(
            (&question.headers["x-a"], question.client.to_string()),
            (&"1".parse().unwrap(), "::1".to_owned())
        );
        assert_eq!(read(r#"{"url": "/"}"#).unwrap().method, "GET");
    }

    #[test]
    fn what_is_no_question_is_refused_with_what_would_have_done() {
        for (body, part) in [
            ("a = 1", "no JSON object"),
            ("[]", "no JSON object"),
            (r#"{"url": "/", "metod": "GET"}"#, "unknown key \"metod\"; keys are method"),
            (r#"{"method": "GET"}"#, "\"url\" is missing"),
            (r#"{"url": 3}"#, "\"url\" is a text"),
            (r#"{"url": "/", "headers": {"a": "b"}}"#, "a list of texts"),
            (r#"{"url": "/", "headers": ["a"]}"#, "no header"),
            (r#"{"url": "users"}"#, "neither a path nor a URL"),
        ] {
            let error = read(body).unwrap_err().to_string();
            assert!(error.contains(part), "{body}: {error}");
        }
    }
}

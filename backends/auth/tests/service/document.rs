//! Holds every answer that a test gets to what the OpenAPI document says: the status, the content type, each field.

use hyper::{HeaderMap, StatusCode, header};
use serde_json::Value;

/// The document of a service.
pub(crate) struct Document(pub(crate) Value);

impl Document {
    /// Fails if the document does not tell of this answer. Paths that it does not have are asked for on purpose.
    pub(crate) fn check(&self, asked: &str, status: StatusCode, headers: &HeaderMap, text: &str) {
        let (method, path) = asked.split_once(' ').unwrap();
        let Some(operation) = self.0["paths"][path].get(method.to_ascii_lowercase()) else {
            assert!([404, 405].contains(&status.as_u16()), "{asked} is not in the document");
            return;
        };
        let what = format!("{asked} → {}", status.as_u16());
        let response = operation["responses"].get(status.as_str());
        let response = response.unwrap_or_else(|| panic!("{what} is not in the document"));
        for name in [header::LOCATION, header::WWW_AUTHENTICATE, header::RETRY_AFTER] {
            let told = response["headers"].get(name.as_str()).is_some();
            assert_eq!(headers.contains_key(&name), told, "{what}: {name}");
        }
        let Some(content) = response.get("content").and_then(Value::as_object) else {
            assert_eq!(text, "", "{what} has a body that is not in the document");
            return;
        };
        let sent = headers[header::CONTENT_TYPE].to_str().unwrap().split(';').next().unwrap();
        let told = content.get(sent).unwrap_or_else(|| panic!("{what}: {sent}"));
        if sent == "application/json" {
            let value = serde_json::from_str(text).unwrap();
            self.check_value(&what, &value, &told["schema"]);
        }
    }

    /// Fails if a value is not of its schema, or has a field of which the schema does not tell.
    fn check_value(&self, what: &str, value: &Value, schema: &Value) {
        if let Some(pointer) = schema.get("$ref") {
            let pointer = pointer.as_str().unwrap().trim_start_matches('#');
            return self.check_value(what, value, self.0.pointer(pointer).unwrap());
        }
        let kind = match value {
            Value::Null => "null",
            Value::Bool(_) => "boolean",
            Value::Number(number) if number.is_i64() && schema["type"] == "integer" => "integer",
            Value::Number(_) => "number",
            Value::String(_) => "string",
            Value::Array(_) => "array",
            Value::Object(_) => "object",
        };
        assert_eq!(schema["type"], kind, "{what}");
        if let Some(choices) = schema["enum"].as_array() {
            assert!(choices.contains(value), "{what} is {value}");
        }
        for item in value.as_array().into_iter().flatten() {
            self.check_value(&format!("{what}[]"), item, &schema["items"]);
        }
        // The document itself is an object of which nothing is said.
        let Some(properties) = schema["properties"].as_object() else { return };
        for (name, field) in value.as_object().unwrap() {
            let told = properties.get(name);
            let told = told.unwrap_or_else(|| panic!("{what}.{name} is not in the document"));
            self.check_value(&format!("{what}.{name}"), field, told);
        }
        for name in schema["required"].as_array().into_iter().flatten() {
            assert!(value.get(name.as_str().unwrap()).is_some(), "{what}.{name} is missing");
        }
    }
}

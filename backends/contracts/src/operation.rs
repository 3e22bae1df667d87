//! Compares one operation that a reader uses with an OpenAPI document.

use serde_json::Value;

use crate::Offered;
use crate::breach::{Breach, Change};
use crate::readers::{Fields, Read};
use crate::schema::{Field, Presence, Schema};

/// What this reader relies on and the document does not say.
pub(crate) fn breaches(read: &Read, offered: &Offered) -> Vec<Breach> {
    let Read { reader, of, operation: name, .. } = read;
    let found = operation(read, offered);
    let changes = match found {
        Ok((document, operation)) => {
            let comparison = Comparison { read, document, operation };
            let mut changes = comparison.parameters();
            changes.extend(comparison.request());
            changes.extend(comparison.responses());
            changes
        }
        Err(change) => vec![(String::new(), change)],
    };
    let breach = |(place, change): (String, Change)| {
        let place = if place.is_empty() { name.clone() } else { format!("{name} → {place}") };
        Breach { reader: reader.clone(), of: of.clone(), place, change }
    };
    changes.into_iter().map(breach).collect()
}

fn operation<'a>(read: &Read, offered: &'a Offered) -> Result<(&'a Value, &'a Value), Change> {
    let document = offered.documents.get(&read.of).ok_or(Change::DescriptionGone)?;
    let (method, path) = read.operation.split_once(' ').ok_or(Change::OperationGone)?;
    let operation = document.get("paths").and_then(|paths| paths.get(path));
    let operation = operation.and_then(|path| path.get(method.to_ascii_lowercase()));
    Ok((document, operation.ok_or(Change::OperationGone)?))
}

/// Where in the operation, and what became of it.
type Changed = (String, Change);

struct Comparison<'a> {
    read: &'a Read,
    document: &'a Value,
    operation: &'a Value,
}

impl Comparison<'_> {
    fn parameters(&self) -> Vec<Changed> {
        let offered = self.operation.get("parameters").and_then(Value::as_array);
        let offered = offered.map_or(&[][..], Vec::as_slice);
        let name_of = |parameter: &Value| parameter["name"].as_str().unwrap_or_default().to_owned();
        let used = self.read.parameters.iter().filter_map(|(name, expected)| {
            let place = format!("parameter `{name}` ({expected})");
            let Some(parameter) = offered.iter().find(|it| name_of(it) == *name) else {
                return Some((place, Change::ParameterGone));
            };
            let schema = Schema::new(self.document, &parameter["schema"]);
            let type_name = schema.field("").map(|field| field.type_name).unwrap_or_default();
            let right = type_name == expected.trim_end_matches('?');
            (!right).then_some((place, Change::TypeChanged { now: type_name }))
        });
        let missing = offered.iter().filter(|parameter| {
            parameter["required"] == true && !self.read.parameters.contains_key(&name_of(parameter))
        });
        let missing = missing.map(|it| (format!("parameter `{}`", name_of(it)), Change::Required));
        used.chain(missing).collect()
    }

    fn request(&self) -> Vec<Changed> {
        let Read { sends, content_type, .. } = self.read;
        let Some(body) = self.operation.get("requestBody") else {
            let gone = |(path, expected): (&String, &String)| {
                (place("request", path, expected), Change::FieldGone)
            };
            return sends.iter().map(gone).collect();
        };
        let Some(schema) = schema_of(body, content_type) else {
            return vec![(format!("request → {content_type}"), Change::BodyGone)];
        };
        let schema = Schema::new(self.document, schema);
        if schema.field("").is_some_and(|body| body.type_name == "string") {
            // A form: its document does not say which fields it has.
            return Vec::new();
        }
        let required = schema.required();
        let used = sends.iter().filter_map(|(path, expected)| {
            let wanted = match required.iter().any(|required| is_within(path, required)) {
                true => Presence::Always,
                false => Presence::Sometimes,
            };
            let change = sent(expected, schema.field(path), wanted)?;
            Some((place("request", path, expected), change))
        });
        let is_sent = |required: &String| sends.keys().any(|path| is_within(path, required));
        let missing = required.iter().filter(|required| !is_sent(required));
        let missing = missing.map(|path| (format!("request → `{path}`"), Change::Required));
        used.chain(missing).collect()
    }

    fn responses(&self) -> Vec<Changed> {
        self.read.responses.iter().flat_map(|(status, uses)| self.response(status, uses)).collect()
    }

    fn response(&self, status: &str, uses: &Fields) -> Vec<Changed> {
        let range = format!("{}XX", &status[..1.min(status.len())]);
        let responses = self.operation.get("responses");
        let response = responses.and_then(|it| it.get(status).or_else(|| it.get(&range)));
        let Some(response) = response else {
            return vec![(status.to_owned(), Change::ResponseGone)];
        };
        if uses.is_empty() {
            return Vec::new();
        }
        let Some(schema) = schema_of(response, "application/json") else {
            return vec![(format!("{status} → application/json"), Change::BodyGone)];
        };
        let schema = Schema::new(self.document, schema);
        let used = uses.iter().filter_map(|(path, expected)| {
            let change = used(expected, schema.field(path))?;
            Some((place(status, path, expected), change))
        });
        used.collect()
    }
}

fn schema_of<'a>(body: &'a Value, content_type: &str) -> Option<&'a Value> {
    body.get("content")?.get(content_type)?.get("schema")
}

fn place(part: &str, path: &str, expected: &str) -> String {
    format!("{part} → `{path}` ({expected})")
}

/// Whether a path is this one, or leads further into it.
fn is_within(path: &str, outer: &str) -> bool {
    path.strip_prefix(outer)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('.') || rest.starts_with('['))
}

/// What is wrong with a field that the reader sends, and that the service wants always or takes sometimes.
fn sent(expected: &str, field: Option<Field>, wanted: Presence) -> Option<Change> {
    let Some(Field { type_name, presence: _ }) = field else { return Some(Change::FieldGone) };
    if type_name != expected.trim_end_matches('?') {
        return Some(Change::TypeChanged { now: type_name });
    }
    let may_be_left_out = expected.ends_with('?');
    (may_be_left_out && wanted == Presence::Always).then_some(Change::NotOptional)
}

/// What is wrong with a field that the reader uses.
fn used(expected: &str, field: Option<Field>) -> Option<Change> {
    let Some(Field { type_name, presence }) = field else { return Some(Change::FieldGone) };
    let type_expected = expected.trim_end_matches('?');
    if type_name != type_expected {
        return Some(Change::TypeChanged { now: type_name });
    }
    let relied_on = !expected.ends_with('?');
    (relied_on && presence == Presence::Sometimes).then_some(Change::MayBeMissing)
}

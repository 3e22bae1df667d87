//! Compares one operation that a reader uses with an OpenAPI document.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::Offered;
use crate::breach::{Breach, Change};
use crate::expected::Expected;
use crate::limits::Limits;
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
        let used = self.read.parameters.iter().flat_map(|(name, expected)| {
            let place = format!("parameter `{name}` ({expected})");
            let parameter = offered.iter().find(|it| name_of(it) == *name);
            let changes = match parameter {
                None => vec![Change::ParameterGone],
                Some(parameter) => {
                    let schema = Schema::new(self.document, &parameter["schema"]);
                    sent(expected, schema.field(""), presence(parameter["required"] == true))
                }
            };
            at(&place, changes)
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
            let gone = |(path, expected): (&String, &Expected)| {
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
        let used = sends.iter().flat_map(|(path, expected)| {
            let wanted = presence(required.iter().any(|required| is_within(path, required)));
            at(&place("request", path, expected), sent(expected, schema.field(path), wanted))
        });
        // Of a list whose items alone are written down it is not known how many are sent.
        let lists =
            sends.keys().flat_map(|path| path.match_indices("[]").map(|(end, _)| &path[..end]));
        let lists = lists.filter(|list| !sends.contains_key(*list)).collect::<BTreeSet<_>>();
        let unlimited = lists.into_iter().flat_map(|list| {
            let changes = schema.field(list).map(|field| too_much(&Limits::default(), &field));
            at(&format!("request → `{list}`"), changes.unwrap_or_default())
        });
        let is_sent = |required: &String| sends.keys().any(|path| is_within(path, required));
        let missing = required.iter().filter(|required| !is_sent(required));
        let missing = missing.map(|path| (format!("request → `{path}`"), Change::Required));
        used.chain(unlimited).chain(missing).collect()
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
        let used = uses.iter().flat_map(|(path, expected)| {
            at(&place(status, path, expected), used(expected, schema.field(path)))
        });
        used.collect()
    }
}

fn schema_of<'a>(body: &'a Value, content_type: &str) -> Option<&'a Value> {
    body.get("content")?.get(content_type)?.get("schema")
}

/// Each change at the same place.
fn at(place: &str, changes: Vec<Change>) -> Vec<Changed> {
    changes.into_iter().map(|change| (place.to_owned(), change)).collect()
}

fn presence(is_required: bool) -> Presence {
    if is_required { Presence::Always } else { Presence::Sometimes }
}

fn place(part: &str, path: &str, expected: &Expected) -> String {
    format!("{part} → `{path}` ({expected})")
}

/// Whether a path is this one, or leads further into it.
fn is_within(path: &str, outer: &str) -> bool {
    path.strip_prefix(outer)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('.') || rest.starts_with('['))
}

/// What is wrong with a field that the reader sends, and that the service wants always or takes sometimes.
fn sent(expected: &Expected, field: Option<Field>, wanted: Presence) -> Vec<Change> {
    let Some(field) = field else { return vec![Change::FieldGone] };
    if field.type_name != expected.type_name {
        return vec![Change::TypeChanged { now: field.type_name }];
    }
    if expected.presence == Presence::Sometimes && wanted == Presence::Always {
        return vec![Change::NotOptional];
    }
    too_much(&expected.limits, &field)
}

/// What of these limits a service does not take.
fn too_much(sent: &Limits, field: &Field) -> Vec<Change> {
    let beyond = sent.beyond(&field.limits, &field.type_name);
    beyond.into_iter().map(|(sent, now)| Change::TakesLess { now, sent }).collect()
}

/// What is wrong with a field that the reader uses.
fn used(expected: &Expected, field: Option<Field>) -> Vec<Change> {
    let Some(field) = field else { return vec![Change::FieldGone] };
    if field.type_name != expected.type_name {
        return vec![Change::TypeChanged { now: field.type_name }];
    }
    if expected.presence == Presence::Always && field.presence == Presence::Sometimes {
        return vec![Change::MayBeMissing];
    }
    let beyond = field.limits.beyond(&expected.limits, &field.type_name);
    beyond.into_iter().map(|(now, taken)| Change::GivesMore { now, taken }).collect()
}

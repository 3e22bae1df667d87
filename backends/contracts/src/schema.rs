//! Finds a field in a JSON schema, through references, `allOf`, lists, and what may be null.

use serde_json::Value;

use crate::limits::Limits;

/// References that lead to references; more are a circle.
const REFERENCES_MAX: usize = 16;

/// A schema and the document that its references point into.
#[derive(Clone, Copy)]
pub(crate) struct Schema<'a> {
    document: &'a Value,
    value: &'a Value,
}

/// What was found at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Field {
    /// `any` if the schema does not say.
    pub(crate) type_name: String,
    /// Whether it or something above it may be missing or null.
    pub(crate) presence: Presence,
    pub(crate) limits: Limits,
}

/// Whether a field is in every value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Presence {
    Always,
    Sometimes,
}

impl<'a> Schema<'a> {
    pub(crate) fn new(document: &'a Value, value: &'a Value) -> Self {
        Self { document, value }
    }

    /// The field at a path like `news[].id`; nothing if there is none.
    pub(crate) fn field(self, path: &str) -> Option<Field> {
        let mut schema = self;
        let mut presence = Presence::Always;
        for step in steps(path) {
            let (next, present) = match step {
                Step::Items => (schema.items()?, Presence::Always),
                Step::Property(name) => schema.property(name)?,
            };
            if present == Presence::Sometimes || next.may_be_null() {
                presence = Presence::Sometimes;
            }
            schema = next;
        }
        Some(Field { type_name: schema.type_name(), presence, limits: schema.limits() })
    }

    /// The paths of everything that has to be there.
    pub(crate) fn required(self) -> Vec<String> {
        let mut paths = Vec::new();
        self.add_required("", REFERENCES_MAX, &mut paths);
        paths
    }

    fn add_required(self, above: &str, depth: usize, paths: &mut Vec<String>) {
        let names = self.parts().into_iter().flat_map(|part| part.names_required());
        for name in names.collect::<Vec<_>>() {
            let path = if above.is_empty() { name.to_owned() } else { format!("{above}.{name}") };
            let before = paths.len();
            if let Some((property, _)) = self.property(name).filter(|_| depth > 0) {
                property.add_required(&path, depth - 1, paths);
            }
            // What holds nothing that is required is itself what has to be there.
            if paths.len() == before {
                paths.push(path);
            }
        }
    }

    fn names_required(self) -> impl Iterator<Item = &'a str> {
        let names = self.value.get("required").and_then(Value::as_array);
        names.into_iter().flatten().filter_map(Value::as_str)
    }

    fn property(self, name: &str) -> Option<(Self, Presence)> {
        if !["object", "any"].contains(&self.type_name().as_str()) {
            return None;
        }
        let parts = self.parts();
        let value = parts.iter().find_map(|part| part.value.get("properties")?.get(name))?;
        let required = parts.iter().any(|part| part.names_required().any(|it| it == name));
        let presence = if required { Presence::Always } else { Presence::Sometimes };
        Some((Self { value, ..self }, presence))
    }

    fn items(self) -> Option<Self> {
        // What has become something else may have kept its items by mistake.
        if !["array", "any"].contains(&self.type_name().as_str()) {
            return None;
        }
        let items = self.parts().into_iter().find_map(|part| part.value.get("items"))?;
        Some(Self { value: items, ..self })
    }

    fn type_name(self) -> String {
        let named = self.parts().into_iter().find_map(|part| match part.value.get("type")? {
            Value::String(name) => Some(name.as_str()),
            Value::Array(names) => names.iter().filter_map(Value::as_str).find(|it| *it != "null"),
            _ => None,
        });
        named.unwrap_or("any").to_owned()
    }

    fn limits(self) -> Limits {
        let parts = self.parts().into_iter().map(|part| Limits::of(part.value));
        parts.fold(Limits::default(), Limits::and)
    }

    fn may_be_null(self) -> bool {
        self.parts().into_iter().any(Self::says_null) || self.choices().any(Self::says_null)
    }

    fn says_null(self) -> bool {
        match self.value.get("type") {
            Some(Value::String(name)) => name == "null",
            Some(Value::Array(names)) => names.iter().any(|name| name == "null"),
            _ => false,
        }
    }

    /// What all has to hold: the schema itself, what it refers to, and the parts of `allOf`. A choice between one
    /// schema and null is that schema.
    fn parts(self) -> Vec<Self> {
        let mut parts = Vec::new();
        self.add_parts(REFERENCES_MAX, &mut parts);
        parts
    }

    fn add_parts(self, depth: usize, parts: &mut Vec<Self>) {
        if depth == 0 {
            return;
        }
        if let Some(target) = self.reference() {
            target.add_parts(depth - 1, parts);
        }
        parts.push(self);
        for part in self.list("allOf") {
            part.add_parts(depth - 1, parts);
        }
        let mut choices = self.choices().filter(|choice| !choice.says_null());
        if let (Some(only), None) = (choices.next(), choices.next()) {
            only.add_parts(depth - 1, parts);
        }
    }

    fn reference(self) -> Option<Self> {
        let pointer = self.value.get("$ref")?.as_str()?.strip_prefix('#')?;
        Some(Self { value: self.document.pointer(pointer)?, ..self })
    }

    fn choices(self) -> impl Iterator<Item = Self> {
        self.list("oneOf").chain(self.list("anyOf"))
    }

    fn list(self, key: &str) -> impl Iterator<Item = Self> + use<'a> {
        let values = self.value.get(key).and_then(Value::as_array);
        values.into_iter().flatten().map(move |value| Self { value, ..self })
    }
}

enum Step<'a> {
    Property(&'a str),
    Items,
}

/// `news[].id` is the property news, one of its items, the property id.
fn steps(path: &str) -> impl Iterator<Item = Step<'_>> {
    path.split('.').flat_map(|part| {
        let name = part.trim_end_matches("[]");
        let lists = (part.len() - name.len()) / "[]".len();
        let property = (!name.is_empty()).then_some(Step::Property(name));
        property.into_iter().chain((0..lists).map(|_| Step::Items))
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn document() -> Value {
        json!({ "schemas": {
            "Id": { "type": "string" },
            "Text": { "properties": { "title": { "type": "string" } }, "required": ["title"] },
            "Article": {
                "allOf": [
                    { "$ref": "#/schemas/Text" },
                    {
                        "properties": {
                            "id": { "$ref": "#/schemas/Id" },
                            "tags": { "type": "array", "items": { "type": "string" } },
                            "next": { "oneOf": [{ "$ref": "#/schemas/Id" }, { "type": "null" }] },
                            "by": { "type": ["string", "null"] },
                            "up": { "$ref": "#/schemas/Article" },
                        },
                        "required": ["id", "next", "by"],
                    },
                ],
            },
            "Page": {
                "properties": { "news": { "type": "array", "items": { "$ref": "#/schemas/Article" } } },
                "required": ["news"],
            },
            "Circle": { "$ref": "#/schemas/Circle" },
        }})
    }

    #[test]
    fn a_field_is_found_through_references_parts_and_lists() {
        let document = document();
        for (schema, path, found) in [
            ("Article", "id", Some(("string", Presence::Always))),
            ("Article", "title", Some(("string", Presence::Always))),
            ("Article", "tags", Some(("array", Presence::Sometimes))),
            ("Article", "tags[]", Some(("string", Presence::Sometimes))),
            ("Article", "next", Some(("string", Presence::Sometimes))),
            ("Article", "by", Some(("string", Presence::Sometimes))),
            ("Article", "up.up.id", Some(("string", Presence::Sometimes))),
            ("Page", "news[].title", Some(("string", Presence::Always))),
            ("Page", "news.title", None),
            ("Page", "news[].none", None),
            ("Article", "id[]", None),
            ("Circle", "id", None),
        ] {
            let value = &document["schemas"][schema];
            let field = Schema::new(&document, value).field(path);
            let field = field.as_ref().map(|field| (field.type_name.as_str(), field.presence));
            assert_eq!(field, found, "{schema} {path}");
        }
    }

    #[test]
    fn what_is_required_is_named_where_it_lies() {
        let document = json!({
            "properties": {
                "id": { "type": "string" },
                "news": { "properties": { "id": {}, "tags": {} }, "required": ["id"] },
                "more": { "properties": { "id": {} }, "required": ["id"] },
                "rest": { "type": "object" },
            },
            "required": ["id", "news", "rest"],
        });
        let schema = Schema::new(&document, &document);
        assert_eq!(schema.required(), ["id", "news.id", "rest"]);
    }

    #[test]
    fn the_limits_of_all_parts_hold_together() {
        let document = json!({
            "short": { "type": "string", "maxLength": 50, "minLength": 1 },
            "field": {
                "allOf": [{ "$ref": "#/short" }, { "maxLength": 80, "format": "uuid" }],
                "enum": ["a", "b", null],
            },
            "small": { "type": "integer", "format": "int32", "exclusiveMinimum": 0, "maximum": 9e9 },
        });
        let limits = |name: &str| Schema::new(&document, &document[name]).limits();
        let field = limits("field");
        assert_eq!(
            (field.from, field.to, field.format.as_deref()),
            (Some(1), Some(50), Some("uuid"))
        );
        assert_eq!(field.one_of, Some(["a", "b"].map(str::to_owned).into()));
        let small = limits("small");
        assert_eq!((small.from, small.to, small.format), (Some(1), Some(i32::MAX.into()), None));
    }
}

//! What is offered is enough for every reader, and a change that is not is named down to the field.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail where it stands")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use contracts::{Offered, Readers, breaches};
use protox::prost_reflect::DescriptorPool;
use serde_json::{Value, json};

const SERVICES: [&str; 4] = ["users", "news", "recommendation", "auth"];

fn proto() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../proto")
}

fn readers() -> Readers {
    Readers::parse(&std::fs::read_to_string(proto().join("readers.toml")).unwrap()).unwrap()
}

/// As the repository has it.
fn offered() -> Offered {
    let document = |name: &str| {
        let path = proto().join(format!("openapi/{name}.json"));
        serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
    };
    let documents = SERVICES.map(|name| (name.to_owned(), document(name))).into();
    Offered { documents, proto: compiled(&proto()) }
}

/// Every `.proto` file of the folder.
fn compiled(folder: &Path) -> DescriptorPool {
    let names = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name());
    let names = names.filter(|name| Path::new(name).extension().is_some_and(|it| it == "proto"));
    let mut compiler = protox::Compiler::new([folder]).unwrap();
    compiler.open_files(names).unwrap();
    compiler.descriptor_pool()
}

fn said(readers: &Readers, offered: &Offered) -> Vec<String> {
    breaches(readers, offered).iter().map(ToString::to_string).collect()
}

#[test]
fn every_reader_gets_what_it_relies_on() {
    let said = said(&readers(), &offered());
    assert!(said.is_empty(), "{}", said.join("\n"));
}

/// A change to one service's document, and all that is said of it.
type DocumentCase = (&'static str, fn(&mut Value), &'static [&'static str]);

const DOCUMENT_CASES: &[DocumentCase] = &[
    (
        "users",
        |it| drop(schema(it, "User")["properties"].take_key("email")),
        &[
            "auth reads users: GET /user/{id} → 200 → `email` (string): the field is gone",
            "auth reads users: POST /user/verify → 200 → `email` (string): the field is gone",
            "robot reads users: GET /user/{id} → 200 → `email` (string): the field is gone",
            "robot reads users: GET /users → 200 → `[].email` (string): the field is gone",
            "robot reads users: POST /user → 201 → `email` (string): the field is gone",
            "robot reads users: PUT /user/{id} → 200 → `email` (string): the field is gone",
        ],
    ),
    (
        "users",
        |it| drop(it["paths"].take_key("/user/verify")),
        &["auth reads users: POST /user/verify: the operation is gone"],
    ),
    (
        "users",
        |it| drop(it["paths"]["/user/verify"]["post"]["responses"].take_key("401")),
        &["auth reads users: POST /user/verify → 401: the response is gone"],
    ),
    (
        "users",
        |it| schema(it, "Credentials")["required"] = json!(["email", "password", "code"]),
        &[
            "auth reads users: POST /user/verify → request → `code`: is required now, and the reader does not send it",
        ],
    ),
    (
        "users",
        |it| schema(it, "Credentials")["properties"]["password"]["type"] = json!("object"),
        &[
            "auth reads users: POST /user/verify → request → `password` (string 1..256): is object now",
        ],
    ),
    (
        "users",
        |it| schema(it, "ChangedUser")["required"] = json!(["name", "email", "password"]),
        &[
            "robot reads users: PUT /user/{id} → request → `password` (string? 1..256): is required now, and the reader may leave it out",
        ],
    ),
    (
        "users",
        |it| it["paths"]["/users"]["get"]["parameters"][1]["name"] = json!("limit"),
        &[
            "robot reads users: GET /users → parameter `count` (integer 1..100): the parameter is gone",
        ],
    ),
    (
        "users",
        |it| it["paths"]["/users"]["get"]["parameters"][1]["schema"] = json!({ "type": "string" }),
        &["robot reads users: GET /users → parameter `count` (integer 1..100): is string now"],
    ),
    (
        "users",
        |it| {
            let parameters = it["paths"]["/users"]["get"]["parameters"].as_array_mut().unwrap();
            parameters.push(json!({ "name": "tenant", "in": "header", "required": true }));
        },
        &[
            "robot reads users: GET /users → parameter `tenant`: is required now, and the reader does not send it",
        ],
    ),
    (
        "news",
        |it| schema(it, "Success_Vec_Article")["properties"]["news"]["type"] = json!("object"),
        &[
            "robot reads news: GET /{id}/history → 200 → `news[].version` (integer): the field is gone",
            "robot reads news: GET /{page}/{limit} → 200 → `news[].id` (string): the field is gone",
            "robot reads news: GET /{page}/{limit} → 200 → `news[].title` (string): the field is gone",
            "the gateway's aggregate reads news: GET /{page}/{limit} → 200 → `news[]` (object): the field is gone",
            "the gateway's aggregate reads news: GET /{page}/{limit} → 200 → `news` (array): is object now",
        ],
    ),
    (
        "news",
        |it| schema(it, "Text")["required"] = json!(["title", "content", "author"]),
        &[
            "robot reads news: GET /{id} → 200 → `news.tags[]` (string): may be missing or null now",
            "robot reads news: POST / → 201 → `news.tags[]` (string): may be missing or null now",
            "robot reads news: PUT / → 201 → `news.tags[]` (string): may be missing or null now",
            "the gateway's event \"viewed\" reads news: GET /{id} → 200 → `news.tags` (array): may be missing or null now",
            "the gateway's event \"viewed\" reads news: GET /{id} → 200 → `news.tags[]` (string): may be missing or null now",
        ],
    ),
    (
        "recommendation",
        |it| schema(it, "LabelCount")["properties"]["count"]["type"] = json!("string"),
        &[
            "robot reads recommendation: GET /user/{id} → 200 → `labels[].count` (integer): is string now",
        ],
    ),
    (
        "recommendation",
        |it| schema(it, "MessageNews")["required"] = json!(["id", "news_type", "title"]),
        &[
            "robot reads recommendation: POST /events/viewed → request → `news.title`: is required now, and the reader does not send it",
            "the gateway's event \"viewed\" reads recommendation: POST /events/viewed → request → `news.title`: is required now, and the reader does not send it",
        ],
    ),
    (
        "auth",
        |it| {
            let content = &mut it["paths"]["/token"]["post"]["requestBody"]["content"];
            *content = json!({ "application/json": { "schema": { "type": "object" } } });
        },
        &[
            "robot reads auth: POST /token → request → application/x-www-form-urlencoded: there is no body of this content type",
        ],
    ),
    (
        "auth",
        |it| it["paths"]["/userinfo"]["get"]["responses"]["200"]["content"] = json!({}),
        &[
            "robot reads auth: GET /userinfo → 200 → application/json: there is no body of this content type",
        ],
    ),
    (
        "recommendation",
        |it| schema(it, "MessageNews")["properties"]["tags"]["maxItems"] = json!(10),
        &[
            "robot reads recommendation: POST /events/viewed → request → `news.tags` (array 0..20): takes up to 10 items now, and the reader sends 0 to 20 items",
            "the gateway's event \"viewed\" reads recommendation: POST /events/viewed → request → `news.tags` (array 0..20): takes up to 10 items now, and the reader sends 0 to 20 items",
        ],
    ),
    (
        "auth",
        |it| schema(it, "TokenType")["enum"] = json!(["Bearer", "DPoP"]),
        &[
            "robot reads auth: POST /login → 200 → `token_type` (string of Bearer): may be Bearer|DPoP now, and the reader takes Bearer",
            "robot reads auth: POST /refresh → 200 → `token_type` (string of Bearer): may be Bearer|DPoP now, and the reader takes Bearer",
        ],
    ),
    // What nobody relies on may change, and what is added breaks nobody.
    ("users", |it| schema(it, "User")["properties"]["phone"] = json!({ "type": "string" }), &[]),
    ("users", |it| schema(it, "NewUser")["properties"]["phone"] = json!({ "type": "string" }), &[]),
    ("news", |it| drop(it["paths"].take_key("/rebuild")), &[]),
];

/// Which way a value goes, what is expected of it, how it is described, and what is said of that.
type LimitCase = (Way, &'static str, &'static str, Option<&'static str>);

#[derive(Debug, Clone, Copy)]
enum Way {
    /// The reader sends it in a body; the service may only get looser.
    Request,
    /// The same as a parameter.
    Parameter,
    /// The reader uses it; the service may only get narrower.
    Answer,
}

const LIMIT_CASES: &[LimitCase] = {
    use Way::{Answer, Parameter, Request};
    &[
        (Request, "string 1..254", r#""maxLength": 254, "minLength": 1"#, None),
        (Request, "string 1..254", r#""maxLength": 300"#, None),
        (
            Request,
            "string 1..254",
            r#""maxLength": 253"#,
            Some("takes up to 253 characters now, and the reader sends 1 to 254 characters"),
        ),
        (
            Request,
            "string 1..254",
            r#""minLength": 2, "maxLength": 254"#,
            Some("takes 2 to 254 characters now, and the reader sends 1 to 254 characters"),
        ),
        (
            Request,
            "string",
            r#""maxLength": 254"#,
            Some("takes up to 254 characters now, and the reader sends any number of characters"),
        ),
        (Request, "string", "", None),
        (Request, "string", r#""minLength": 0"#, None),
        (Request, "string of a|b", r#""enum": ["a", "b", "c"]"#, None),
        (Request, "string of a|b", r#""maxLength": 1, "minLength": 1"#, None),
        (
            Request,
            "string of a|b",
            r#""enum": ["a", "c"]"#,
            Some("takes a|c now, and the reader sends a|b"),
        ),
        (
            Request,
            "string",
            r#""enum": ["a"]"#,
            Some("takes a now, and the reader sends any value"),
        ),
        (Request, "string", r#""const": "a""#, Some("takes a now, and the reader sends any value")),
        (Request, "string as uuid", r#""format": "uuid""#, None),
        (Request, "string as uuid", "", None),
        (
            Request,
            "string",
            r#""format": "uuid""#,
            Some("takes only uuid now, and the reader sends any format"),
        ),
        (
            Request,
            "string as uuid",
            r#""format": "email""#,
            Some("takes only email now, and the reader sends only uuid"),
        ),
        (Request, "string", r#""format": "password""#, None),
        (Request, "string like ^a b$", r#""pattern": "^a b$""#, None),
        (
            Request,
            "string",
            r#""pattern": "^a$""#,
            Some("takes only what matches ^a$ now, and the reader sends any text"),
        ),
        (Parameter, "integer 0..10", r#""minimum": 0, "maximum": 10"#, None),
        (Parameter, "integer 0..10", r#""format": "int32""#, None),
        (
            Parameter,
            "integer 0..10",
            r#""minimum": 1"#,
            Some("takes 1 and more now, and the reader sends 0 to 10"),
        ),
        (
            Parameter,
            "integer 0..10",
            r#""exclusiveMaximum": 10"#,
            Some("takes up to 9 now, and the reader sends 0 to 10"),
        ),
        (
            Parameter,
            "integer",
            r#""format": "int32""#,
            Some("takes -2147483648 to 2147483647 now, and the reader sends any number"),
        ),
        (Parameter, "integer", r#""format": "int64""#, None),
        (
            Request,
            "array 0..3",
            r#""maxItems": 2"#,
            Some("takes up to 2 items now, and the reader sends 0 to 3 items"),
        ),
        (
            Answer,
            "string",
            r#""maxLength": 254, "enum": ["a"], "format": "uuid", "pattern": "a""#,
            None,
        ),
        (Answer, "string ..254", r#""maxLength": 200"#, None),
        (
            Answer,
            "string ..254",
            r#""maxLength": 300"#,
            Some("may be up to 300 characters now, and the reader takes up to 254 characters"),
        ),
        (
            Answer,
            "string ..254",
            "",
            Some("may be any number of characters now, and the reader takes up to 254 characters"),
        ),
        (Answer, "string of a|b", r#""enum": ["a"]"#, None),
        (
            Answer,
            "string of a|b",
            r#""enum": ["a", "b", "c"]"#,
            Some("may be a|b|c now, and the reader takes a|b"),
        ),
        (Answer, "string of a|b", "", Some("may be any value now, and the reader takes a|b")),
        (Answer, "string as uuid", r#""format": "uuid""#, None),
        (
            Answer,
            "string as uuid",
            "",
            Some("may be any format now, and the reader takes only uuid"),
        ),
        (
            Answer,
            "string like ^a$",
            r#""pattern": "^b$""#,
            Some("may be only what matches ^b$ now, and the reader takes only what matches ^a$"),
        ),
        (Answer, "integer 0..", r#""minimum": 1"#, None),
        (
            Answer,
            "integer 0..",
            r#""maximum": 5"#,
            Some("may be up to 5 now, and the reader takes 0 and more"),
        ),
        (Answer, "array ..3", r#""maxItems": 3"#, None),
        (
            Answer,
            "array ..3",
            r#""maxItems": 4"#,
            Some("may be up to 4 items now, and the reader takes up to 3 items"),
        ),
    ]
};

#[test]
fn a_limit_may_only_move_away_from_the_reader() {
    for (way, expected, limits, told) in LIMIT_CASES {
        let read = |parameters: &str, sends: &str, uses: &str| {
            let text = format!(
                "[[reads]]\nreader = \"r\"\nof = \"s\"\noperation = \"POST /x\"\nparameters = {{{parameters}}}\n\
                 sends = {{{sends}}}\nresponses = {{ 200 = {{{uses}}} }}\n"
            );
            Readers::parse(&text).unwrap()
        };
        let field = format!("field = '{expected}'");
        let type_name = expected.split(' ').next().unwrap();
        let comma = if limits.is_empty() { "" } else { "," };
        let schema: Value =
            serde_json::from_str(&format!(r#"{{ "type": "{type_name}" {comma} {limits} }}"#))
                .unwrap();
        let body = json!({ "content": { "application/json": { "schema": {
            "type": "object", "properties": { "field": schema }, "required": ["field"],
        } } } });
        let parameter = json!({ "name": "field", "in": "query", "schema": schema });
        let (readers, operation, place) = match way {
            Way::Request => {
                let operation = json!({ "requestBody": body, "responses": { "200": {} } });
                (read("", &field, ""), operation, "request → `field`")
            }
            Way::Parameter => {
                let operation = json!({ "parameters": [parameter], "responses": { "200": {} } });
                (read(&field, "", ""), operation, "parameter `field`")
            }
            Way::Answer => {
                (read("", "", &field), json!({ "responses": { "200": body } }), "200 → `field`")
            }
        };
        let document = json!({ "paths": { "/x": { "post": operation } } });
        let documents = BTreeMap::from([("s".to_owned(), document)]);
        let offered = Offered { documents, proto: DescriptorPool::new() };
        let told = told.map(|told| format!("r reads s: POST /x → {place} ({expected}): {told}"));
        assert_eq!(said(&readers, &offered), Vec::from_iter(told), "{way:?} {expected} {limits}");
    }
}

#[test]
fn of_a_list_whose_items_alone_are_told_any_number_is_sent() {
    let text = "[[reads]]\nreader = \"r\"\nof = \"s\"\noperation = \"POST /x\"\n\
                sends = { \"list[]\" = \"integer\" }\nresponses = {}\n";
    let readers = Readers::parse(text).unwrap();
    let said = |list: Value| {
        let schema = json!({ "type": "object", "properties": { "list": list } });
        let body = json!({ "content": { "application/json": { "schema": schema } } });
        let operation = json!({ "requestBody": body, "responses": {} });
        let document = json!({ "paths": { "/x": { "post": operation } } });
        let documents = BTreeMap::from([("s".to_owned(), document)]);
        said(&readers, &Offered { documents, proto: DescriptorPool::new() })
    };
    let items = json!({ "type": "integer" });
    let told = "r reads s: POST /x → request → `list`: takes up to 3 items now, and the reader sends any number of items";
    assert_eq!(said(json!({ "type": "array", "items": items, "maxItems": 3 })), [told]);
    assert!(said(json!({ "type": "array", "items": items })).is_empty());
}

#[test]
fn an_expectation_names_what_it_cannot_mean() {
    for text in ["strin", "string 1-9", "string 1..x", "string as", "string of", "string like"] {
        let read = format!(
            "[[reads]]\nreader = \"r\"\nof = \"s\"\noperation = \"GET /\"\nresponses = {{ 200 = {{ a = \"{text}\" }} }}"
        );
        let error = Readers::parse(&read).unwrap_err().to_string();
        assert!(error.contains("line 5") && error.contains(&format!("{text:?}")), "{error}");
    }
}

/// Takes a key out of an object that has it.
trait TakeKey {
    fn take_key(&mut self, key: &str) -> Value;
}

impl TakeKey for Value {
    fn take_key(&mut self, key: &str) -> Value {
        self.as_object_mut().unwrap().remove(key).unwrap()
    }
}

fn schema<'a>(document: &'a mut Value, name: &str) -> &'a mut Value {
    document.pointer_mut(&format!("/components/schemas/{name}")).unwrap()
}

#[test]
fn a_document_that_breaks_a_reader_is_named_down_to_the_field() {
    let (readers, offered) = (readers(), offered());
    for (service, change, expected) in DOCUMENT_CASES {
        let mut offered = offered.clone();
        change(offered.documents.get_mut(*service).unwrap());
        // The order is that of readers.toml, which may change.
        let said = BTreeSet::from_iter(said(&readers, &offered));
        let expected = expected.iter().map(|line| (*line).to_owned());
        assert_eq!(said, expected.collect(), "{service}");
    }
}

#[test]
fn a_service_that_is_gone_is_named() {
    let offered = Offered { documents: BTreeMap::new(), proto: DescriptorPool::new() };
    let said = said(&readers(), &offered);
    for line in [
        "auth reads users: GET /health: the description is gone",
        "recommendation reads user_data.proto: user_data.GetUserData/GetUser: the description is gone",
    ] {
        assert!(said.iter().any(|said| said == line), "{said:#?}");
    }
}

/// What is replaced in user_data.proto by what, and what is said of it after the method's name.
const PROTO_CASES: &[(&str, &str, Option<&str>)] = &[
    ("  string name = 2;\n", "", Some(" → response → `string name = 2`: the field is gone")),
    (
        "string name = 2",
        "string full_name = 2",
        Some(" → response → `string name = 2`: is called `full_name` now"),
    ),
    (
        "string name = 2",
        "string name = 4",
        Some(" → response → `string name = 2`: is number 4 now"),
    ),
    ("string name = 2", "bytes name = 2", Some(" → response → `string name = 2`: is bytes now")),
    (
        "string name = 2",
        "repeated string name = 2",
        Some(" → response → `string name = 2`: is repeated string now"),
    ),
    (
        "string id = 1;\n}\n\nmessage UserDataResponse",
        "uint64 id = 1;\n}\n\nmessage UserDataResponse",
        Some(" → request → `string id = 1`: is uint64 now"),
    ),
    ("rpc GetUser(", "rpc FindUser(", Some(": the operation is gone")),
    ("service GetUserData", "service Users", Some(": the operation is gone")),
    ("package user_data", "package users", Some(": the operation is gone")),
    ("returns (UserDataResponse)", "returns (stream UserDataResponse)", Some(": is a stream now")),
    // The reader does not use it.
    ("string email = 3", "string mail = 3", None),
    ("string email = 3;", "string email = 3;\n  string phone = 4;", None),
];

#[test]
fn a_proto_file_that_breaks_a_reader_is_named_down_to_the_field() {
    let readers = readers();
    let text = std::fs::read_to_string(proto().join("user_data.proto")).unwrap();
    for (taken_out, put_in, expected) in PROTO_CASES {
        assert_eq!(text.matches(taken_out).count(), 1, "{taken_out}");
        let folder = tempfile::tempdir().unwrap();
        let changed = text.replace(taken_out, put_in);
        std::fs::write(folder.path().join("user_data.proto"), changed).unwrap();
        let offered = Offered { proto: compiled(folder.path()), ..offered() };
        let start = "recommendation reads user_data.proto: user_data.GetUserData/GetUser";
        let expected: Vec<String> = expected.iter().map(|end| format!("{start}{end}")).collect();
        assert_eq!(said(&readers, &offered), expected, "{put_in}");
    }
}

#[test]
fn an_expectation_that_cannot_be_read_is_named() {
    let call = r#"calls = [{ reader = "r", of = "user_data.proto", method = "user_data.GetUserData/GetUser",
                            sends = [], uses = ["name"] }]"#;
    let said = said(&Readers::parse(call).unwrap(), &offered());
    assert_eq!(said.len(), 1);
    assert!(said[0].ends_with("`name`: is not written as `string name = 1`"), "{said:?}");
    let misspelt = Readers::parse("[[reads]]\nreeder = \"x\"").unwrap_err().to_string();
    assert!(misspelt.contains("line 2") && misspelt.contains("reeder"), "{misspelt}");
}

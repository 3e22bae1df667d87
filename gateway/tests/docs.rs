//! The documents tell the truth: every toml block is taken by the parser, and docs/config.md knows every key.
//!
//! A block ```` ```toml ```` is a whole config, or a part of one: what a part lacks of a listener and of the upstreams
//! `users`, `users-v2` and `news` is added. Its `tls/site.pem`, `tls/site.key` and `tls/ca.pem` exist. Secrets that the
//! environment does not have are forgiven. A block that is no config of ours is fenced with another word.
#![allow(clippy::unwrap_used, reason = "a test file")]

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use gateway::config;
use plugins::registry::PluginSettings;
use serde_json::Value;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The documents that are parsed: README.md and docs/*.md.
fn documents() -> Vec<PathBuf> {
    let mut documents = fs::read_dir(root().join("docs"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "md"))
        .collect::<Vec<_>>();
    documents.push(root().join("README.md"));
    documents.sort();
    documents
}

/// The toml blocks of a document with the number of the line before each.
fn blocks(document: &str) -> Vec<(usize, String)> {
    let mut blocks = Vec::new();
    let mut open: Option<(usize, String)> = None;
    for (index, line) in document.lines().enumerate() {
        match &mut open {
            Some((_, block)) if line.trim() != "```" => writeln!(block, "{line}").unwrap(),
            Some(_) => blocks.extend(open.take()),
            None if line == "```toml" => open = Some((index + 1, String::new())),
            None => {}
        }
    }
    blocks
}

/// A part with what it lacks to be a config.
fn completed(block: &str, folder: &Path) -> String {
    let mut text = block.replace("\"tls/", &format!("\"{}/", folder.display()));
    if !text.contains("[[listeners]]") {
        text.push_str("\n[[listeners]]\naddress = \"127.0.0.1:8080\"\n");
    }
    for name in ["users", "users-v2", "news"] {
        if !text.contains(&format!("[upstreams.{name}]")) {
            write!(text, "\n[upstreams.{name}]\nservers = [\"127.0.0.1:3001\"]\n").unwrap();
        }
    }
    text
}

#[test]
fn every_toml_block_is_a_config_or_a_part_of_one() {
    let folder = tempfile::tempdir().unwrap();
    let made = rcgen::generate_simple_self_signed(["example.com".to_owned()]).unwrap();
    for (name, pem) in [
        ("site.pem", made.cert.pem()),
        ("ca.pem", made.cert.pem()),
        ("site.key", made.signing_key.serialize_pem()),
    ] {
        fs::write(folder.path().join(name), pem).unwrap();
    }
    let mut wrong = String::new();
    let mut count = 0;
    for path in documents() {
        for (line, block) in blocks(&fs::read_to_string(&path).unwrap()) {
            count += 1;
            let Err(mut problems) = config::from_text("block", &completed(&block, folder.path()))
            else {
                continue;
            };
            problems.list.retain(|problem| !problem.what.contains("environment variable"));
            if !problems.list.is_empty() {
                writeln!(wrong, "{}, block after line {line}:\n{problems}", path.display())
                    .unwrap();
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
    assert!(count >= 10, "only {count} blocks were found");
}

/// Every table: how it is written, and the name of its schema; none: the keys at the top.
const TABLES: [(&str, Option<&str>); 32] = [
    ("At the top, before the first table", None),
    ("`[server]`", Some("Server")),
    ("`[server.drain]`", Some("Drain")),
    ("`[limits]`", Some("Limits")),
    ("`[overload]`", Some("Overload")),
    ("`[admin]`", Some("Admin")),
    ("`[access-log]`", Some("AccessLog")),
    ("`[[listeners]]`", Some("Listener")),
    ("`tls` of a listener", Some("ListenerTls")),
    ("`certificates` of `tls`", Some("Certificate")),
    ("`[upstreams.NAME]`", Some("Upstream")),
    ("`servers` of an upstream, as tables", Some("ServerTable")),
    ("`tls` of an upstream", Some("UpstreamTls")),
    ("`timeout` of an upstream", Some("UpstreamTimeouts")),
    ("`pool` of an upstream", Some("Pool")),
    ("`consistent-hash` of `balance`", Some("ConsistentHash")),
    ("`sticky` of an upstream", Some("Sticky")),
    ("`subset` of an upstream", Some("Subset")),
    ("`health-check` of an upstream", Some("HealthCheck")),
    ("`ejection` of an upstream", Some("Ejection")),
    ("`retry` of an upstream", Some("Retry")),
    ("`hedge` of an upstream", Some("Hedge")),
    ("`circuit-breaker` of an upstream or a route", Some("CircuitBreaker")),
    ("`limit` of an upstream or a route", Some("Limit")),
    ("`fallback` of an upstream or a route", Some("Fallback")),
    ("`[defaults]`", Some("Defaults")),
    ("`[[routes]]`", Some("Route")),
    ("`redirect` of a route", Some("Redirect")),
    ("`respond` of a route", Some("Respond")),
    ("`[[tests]]`", Some("Test")),
    ("`expect` of a test", Some("Expectation")),
    ("A secret", Some("Secret")),
];

/// The keys of every table with what their doc comments say: the schema as a document.
fn reference() -> String {
    let schema = config::schema::schema();
    let mut text = String::new();
    for (title, name) in TABLES {
        let table = name.map_or(&schema, |name| &schema["$defs"][name]);
        writeln!(text, "### {title}\n").unwrap();
        if let (Some(_), Some(said)) = (name, table["description"].as_str()) {
            writeln!(text, "{said}\n").unwrap();
        }
        let choices = table["oneOf"].as_array().into_iter().flatten();
        let tables = std::iter::once(table).chain(choices.clone());
        for (key, value) in tables.filter_map(|table| table["properties"].as_object()).flatten() {
            let choice = choices.clone().find(|choice| choice["properties"].get(key).is_some());
            let said = value["description"].as_str();
            let said = said.or(choice.and_then(|choice| choice["description"].as_str()));
            // At the top, what is a table has a section of its own.
            if name.is_some() || key == "include" || key == "trusted-proxies" {
                let said = said.unwrap_or_default().replace('\n', " ");
                writeln!(text, "- `{key}` ({}): {said}", kind(value, &schema)).unwrap();
                list_choices(&mut text, value, &schema);
            }
        }
        text.push('\n');
    }
    text
}

/// The words that an enumeration takes.
fn list_choices(text: &mut String, value: &Value, schema: &Value) {
    let target = resolved(value, schema);
    for choice in target["oneOf"].as_array().into_iter().flatten() {
        if let (Some(word), Some(said)) = (choice["const"].as_str(), choice["description"].as_str())
        {
            writeln!(text, "  - `\"{word}\"`: {}", said.replace('\n', " ")).unwrap();
        }
        // Beside words a table stands here; where there are only tables they have a section of their own.
        let tables = choice["properties"].as_object().filter(|_| kind(target, schema) == "word");
        for (key, table) in tables.into_iter().flatten() {
            let said = choice["description"].as_str().unwrap_or_default().replace('\n', " ");
            let braces = if table["$ref"].is_string() { "{ … }" } else { "…" };
            writeln!(text, "  - `{{ {key} = {braces} }}`: {said}").unwrap();
        }
    }
}

/// What a reference in the schema refers to, through lists.
fn resolved<'s>(value: &'s Value, schema: &'s Value) -> &'s Value {
    if let Some(name) = value["$ref"].as_str().and_then(|path| path.strip_prefix("#/$defs/")) {
        return &schema["$defs"][name];
    }
    match (value["items"].is_object(), value["anyOf"].get(0)) {
        (true, _) => resolved(&value["items"], schema),
        (false, Some(first)) => resolved(first, schema),
        (false, None) => value,
    }
}

/// What kind of value it is, in a word or two.
fn kind(value: &Value, schema: &Value) -> String {
    if let Some(name) = value["$ref"].as_str().and_then(|path| path.strip_prefix("#/$defs/")) {
        return match name {
            "Duration" => "duration".to_owned(),
            "Size" => "size".to_owned(),
            "SizeLimit" => "size or \"none\"".to_owned(),
            "OneOrMany" => "text or list of texts".to_owned(),
            "PluginUse" => "plugin or name".to_owned(),
            "UpstreamServer" => "address or table".to_owned(),
            "Secret" => "secret".to_owned(),
            name => kind(&schema["$defs"][name], schema),
        };
    }
    if value["enum"].is_array() {
        return "word".to_owned();
    }
    if let Some(choices) = value["anyOf"].as_array() {
        let or_none = choices.iter().any(|choice| choice["const"] == "none");
        let first = kind(&choices[0], schema);
        return if or_none { format!("{first} or \"none\"") } else { first };
    }
    if let Some(choices) = value["oneOf"].as_array() {
        let is_word =
            choices.iter().any(|choice| choice["const"].is_string() || choice["enum"].is_array());
        return if is_word { "word" } else { "table" }.to_owned();
    }
    let first = value["type"].as_array().map_or(&value["type"], |kinds| &kinds[0]);
    match first.as_str() {
        Some("string") => "text".to_owned(),
        Some("integer" | "number") => "number".to_owned(),
        Some("boolean") => "true or false".to_owned(),
        Some("array") => format!("list of {}", kind(&value["items"], schema)),
        Some(_) | None => "table".to_owned(),
    }
}

/// Where the reference stands in docs/config.md; between the marks nothing is written by hand.
const START: &str = "<!-- From here on written by `UPDATE=1 cargo test --test docs`: change the doc comments in gateway/src/config/file. -->\n\n";

#[test]
fn the_reference_knows_every_key() {
    let path = root().join("docs/config.md");
    let document = fs::read_to_string(&path).unwrap();
    let (by_hand, written) = document.split_once(START).unwrap();
    let expected = reference();
    let expected = expected.trim_end().to_owned() + "\n";
    if std::env::var_os("UPDATE").is_some() {
        fs::write(&path, format!("{by_hand}{START}{expected}")).unwrap();
    } else {
        assert!(written == expected, "docs/config.md is behind; UPDATE=1 rewrites it");
    }
}

#[test]
fn every_table_of_the_schema_has_its_section() {
    let schema = config::schema::schema();
    let known = TABLES.iter().filter_map(|(_, name)| *name).collect::<Vec<_>>();
    let mut tables = vec![&schema];
    let mut seen = Vec::new();
    while let Some(table) = tables.pop() {
        for value in table["properties"].as_object().into_iter().flat_map(|keys| keys.values()) {
            let mut value = value;
            while let Some(inner) = value["anyOf"].get(0).or(value.get("items")) {
                value = inner;
            }
            let value = value.get("additionalProperties").unwrap_or(value);
            let Some(name) = value["$ref"].as_str().and_then(|path| path.rsplit('/').next()) else {
                continue;
            };
            let target = &schema["$defs"][name];
            if target["properties"].is_object() && !seen.contains(&name) {
                assert!(known.contains(&name), "{name} has no section in docs/config.md");
                seen.push(name);
                tables.push(target);
            }
        }
    }
    assert!(seen.len() >= 15, "{seen:?}");
}

#[test]
fn every_plugin_is_named() {
    let document = fs::read_to_string(root().join("docs/config.md")).unwrap();
    for name in PluginSettings::NAMES {
        assert!(document.contains(&format!("| `{name}` |")), "{name}");
    }
}

/// The words in quotes that look like a reason: small letters and dashes.
fn quoted_words(source: &str) -> Vec<String> {
    let is_word = |word: &&str| {
        word.contains('-') && word.chars().all(|c| c.is_ascii_lowercase() || c == '-')
    };
    source.split('"').skip(1).step_by(2).filter(is_word).map(str::to_owned).collect()
}

#[test]
fn every_reason_stands_in_the_manual() {
    let manual = fs::read_to_string(root().join("docs/operate.md")).unwrap();
    // What is quoted in these files and no reason.
    let others = ["grpc-status", "grpc-message"];
    for file in [
        "refusal.rs",
        "reply.rs",
        "limits.rs",
        "routing/path.rs",
        "upstream/response_body.rs",
        "server/workers.rs",
    ] {
        let source = fs::read_to_string(root().join("gateway/src").join(file)).unwrap();
        let before_tests = source.split("#[cfg(test)]").next().unwrap();
        for word in quoted_words(before_tests) {
            let known = others.contains(&word.as_str()) || manual.contains(&format!("`{word}`"));
            assert!(known, "{file} has the reason {word:?}, docs/operate.md has not");
        }
    }
}

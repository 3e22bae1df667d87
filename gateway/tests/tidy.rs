//! What clippy cannot see: where things stand and what they are called. The rules are the project's own.
#![allow(clippy::unwrap_used, reason = "a test file")]

use std::fs;
use std::path::{Path, PathBuf};

/// Lines a file may have before its tests.
const LINES_MAX: usize = 400;
/// Names that say nothing of what is in a file.
const EMPTY_NAMES: [&str; 6] = ["common", "helpers", "misc", "types", "util", "utils"];
/// The only files of the gateway that choose an error's status: replies to clients, the admin's own replies, what
/// `explain` foretells of them, what the log says of a client that has left, and the config, which reads statuses.
const CHOOSE_STATUS: [&str; 6] = [
    "gateway/src/reply.rs",
    "gateway/src/refusal.rs",
    "gateway/src/admin/reply.rs",
    "gateway/src/cli/explain/decide.rs",
    "gateway/src/finish.rs",
    "gateway/src/config/",
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// A file of ours: its path from the root, with slashes, and its text.
struct File {
    path: String,
    text: String,
}

impl File {
    /// The lines before its tests.
    fn code(&self) -> impl Iterator<Item = &str> {
        self.text.lines().take_while(|line| line.trim() != "#[cfg(test)]")
    }

    fn is_source(&self) -> bool {
        self.path.contains("/src/")
    }
}

/// Every Rust file of the workspace.
fn files() -> Vec<File> {
    let mut files = Vec::new();
    let mut folders = vec![root()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if path.is_dir() && name != "target" && !name.starts_with('.') {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                let path = path.strip_prefix(root()).unwrap().to_string_lossy().replace('\\', "/");
                files.push(File { path, text });
            }
        }
    }
    assert!(files.len() > 50, "only {} files were found", files.len());
    files
}

/// Fails with every line of what is wrong.
fn expect_none(rule: &str, wrong: impl Iterator<Item = String>) {
    let mut wrong = wrong.collect::<Vec<_>>();
    wrong.sort();
    assert!(wrong.is_empty(), "{rule}:\n  {}", wrong.join("\n  "));
}

#[test]
fn every_file_says_what_it_is_for() {
    let files = files();
    let silent = files.iter().filter(|file| !file.text.starts_with("//! "));
    expect_none("the first line is `//! ` and one sentence", silent.map(|file| file.path.clone()));
}

#[test]
fn no_file_is_long() {
    let files = files();
    let long = files.iter().filter(|file| file.is_source()).filter_map(|file| {
        let lines = file.code().count();
        (lines > LINES_MAX).then(|| format!("{}: {lines} lines", file.path))
    });
    expect_none("at most 400 lines before the tests", long);
}

#[test]
fn every_file_is_named_for_its_concern() {
    let files = files();
    let nameless = files.iter().filter(|file| {
        let path = Path::new(&file.path);
        path.iter().any(|part| {
            let stem = Path::new(part).file_stem().unwrap_or_default();
            EMPTY_NAMES.iter().any(|name| stem == *name)
        })
    });
    expect_none("such a name says nothing", nameless.map(|file| file.path.clone()));
}

#[test]
fn no_reminder_is_without_its_issue() {
    let word = ["TO", "DO"].concat();
    let files = files();
    let loose = files.iter().flat_map(|file| {
        let lines = file.text.lines().enumerate();
        let loose = lines.filter(|(_, line)| {
            line.split(word.as_str()).skip(1).any(|after| !after.starts_with("(#"))
        });
        loose.map(|(index, _)| format!("{}:{}", file.path, index + 1)).collect::<Vec<_>>()
    });
    expect_none("a reminder names its issue, as in (#7)", loose);
}

#[test]
fn error_statuses_are_chosen_where_replies_are_made() {
    let files = files();
    let chosen = files
        .iter()
        .filter(|file| file.path.starts_with("gateway/src/"))
        .filter(|file| !CHOOSE_STATUS.iter().any(|place| file.path.starts_with(place)))
        .flat_map(|file| {
            let lines = file.code().enumerate();
            let chosen =
                lines.filter(|(_, line)| line.split("StatusCode::").skip(1).any(is_error_status));
            chosen.map(|(index, _)| format!("{}:{}", file.path, index + 1)).collect::<Vec<_>>()
        });
    expect_none("only reply.rs turns an error into a status", chosen);
}

/// Whether a text starts with the name of a 4xx or 5xx status.
fn is_error_status(text: &str) -> bool {
    let name = text.split(|c: char| !c.is_ascii_uppercase() && c != '_').next().unwrap_or("");
    (400..600).any(|code| {
        let reason = http::StatusCode::from_u16(code).ok().and_then(|it| it.canonical_reason());
        reason.is_some_and(|reason| {
            let constant = reason.to_uppercase().replace('\'', "").replace([' ', '-'], "_");
            constant == name
        })
    })
}

#[test]
fn every_plugin_is_in_the_registry() {
    let registry = fs::read_to_string(root().join("plugins/src/registry.rs")).unwrap();
    let files = files();
    let forgotten = files
        .iter()
        .filter(|file| file.path.starts_with("plugins/src/"))
        .filter(|file| file.code().any(|line| line.starts_with("impl Plugin for ")))
        .filter(|file| {
            let module = Path::new(&file.path).file_stem().unwrap().to_string_lossy().into_owned();
            !registry.lines().any(|line| line.split_whitespace().last() == Some(module.as_str()))
        });
    expect_none("add its line to plugins/src/registry.rs", forgotten.map(|file| file.path.clone()));
}

#[test]
fn every_dependency_has_its_reason() {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let table = manifest.split("[workspace.dependencies]").nth(1).unwrap();
    let lines = table.lines().take_while(|line| !line.starts_with('['));
    let dependencies = lines.filter(|line| line.contains('=') && !line.starts_with('#'));
    let (mut count, mut bare) = (0, Vec::new());
    for line in dependencies {
        count += 1;
        let reason = line.rsplit_once('#').map_or("", |(_, reason)| reason);
        if reason.trim().len() < 8 {
            bare.push(line.to_owned());
        }
    }
    assert!(count > 20, "only {count} dependencies were found");
    expect_none("a word of why beside each dependency", bare.into_iter());
}

#[test]
fn plugins_know_nothing_of_the_gateway() {
    let files = files();
    let knowing =
        files.iter().filter(|file| file.path.starts_with("plugins/src/")).filter(|file| {
            file.text.contains("gateway::") || file.text.contains("extern crate gateway")
        });
    expect_none("a plugin sees an Exchange, nothing else", knowing.map(|file| file.path.clone()));
}

#[test]
fn only_the_server_names_pingora() {
    let files = files();
    let naming = files
        .iter()
        .filter(|file| file.path.starts_with("gateway/src/"))
        .filter(|file| !file.path.starts_with("gateway/src/server/"))
        .filter(|file| file.code().any(|line| line.contains("pingora_")));
    expect_none("pingora's server stays in server/", naming.map(|file| file.path.clone()));
}

#[test]
fn only_config_files_and_plugins_are_read_from_text() {
    let files = files();
    let reading = files
        .iter()
        .filter(|file| file.path.starts_with("gateway/src/"))
        .filter(|file| !file.path.starts_with("gateway/src/config/file"))
        .filter(|file| {
            let mut code = file.code();
            code.any(|line| line.contains("derive(") && line.contains("Deserialize"))
        });
    expect_none("only config/file and plugins derive it", reading.map(|file| file.path.clone()));
}

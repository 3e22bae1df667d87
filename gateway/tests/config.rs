//! Config messages as files: a config, a line of dashes, what we say of it. `UPDATE=1` rewrites the lower half.
#![allow(clippy::unwrap_used, reason = "a test file")]

use std::fs;
use std::path::{Path, PathBuf};

use gateway::config::{self, Config};

/// What stands between the config and what we say of it.
const DASHES: &str = "\n----------\n";

/// `good` for a config that is taken, else every problem.
fn said(text: &str) -> String {
    match config::from_text("config.toml", text) {
        Ok(_) => "good\n".to_owned(),
        Err(problems) => problems.to_string(),
    }
}

fn here() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/config")
}

#[test]
fn every_case_says_what_its_file_expects() {
    let update = std::env::var_os("UPDATE").is_some();
    let mut paths = fs::read_dir(here())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "txt"))
        .collect::<Vec<_>>();
    paths.sort();
    assert!(paths.len() >= 40, "only {} cases", paths.len());
    let mut wrong = Vec::new();
    for path in &paths {
        let case = fs::read_to_string(path).unwrap();
        let (text, expected) = case.split_once(DASHES).unwrap_or((case.trim_end(), ""));
        let found = said(text);
        if update {
            fs::write(path, format!("{text}{DASHES}{found}")).unwrap();
        } else if found != expected {
            wrong.push(format!("{}\nexpected:\n{expected}found:\n{found}", path.display()));
        }
    }
    assert!(wrong.is_empty(), "{}\nUPDATE=1 rewrites them", wrong.join("\n"));
}

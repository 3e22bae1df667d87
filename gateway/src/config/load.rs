//! Reads config.toml and its includes into checked types.

use std::path::Path;

use super::error::{Problem, Problems};
use super::source::Sources;
use super::Config;

/// Reads the config file at `path` and the files it includes.
pub fn load(path: &Path) -> Result<Config, Problems> {
    let _ = path;
    Err(Problems::new(Sources::default(), vec![Problem::nowhere("not read yet")]))
}

/// Reads a config from its text; includes are looked for beside `name`.
pub fn from_text(name: &str, text: &str) -> Result<Config, Problems> {
    let _ = text;
    load(Path::new(name))
}

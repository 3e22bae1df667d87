//! Reads config.toml and the files it includes.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::Config;
use super::at::At;
use super::check::check;
use super::environment;
use super::error::{Problem, Problems};
use super::file::{File, Included};
use super::read::{Read, read};
use super::source::{Place, Sources};

/// Reads the config file at `path` and the files it includes. All problems are reported at once.
pub fn load(path: &Path) -> Result<Config, Problems> {
    match read_text(path) {
        Ok(text) => load_text(path, &text),
        Err(problem) => Err(Problems::new(Sources::default(), vec![problem])),
    }
}

/// Reads a config from its text; `name` stands for the file in messages, and includes are relative to it.
pub fn from_text(name: &str, text: &str) -> Result<Config, Problems> {
    load_text(Path::new(name), text)
}

/// The file types of all files, and what was found wrong so far.
#[derive(Default)]
pub(super) struct Files {
    pub(super) sources: Sources,
    pub(super) problems: Vec<Problem>,
    pub(super) main: File,
    pub(super) included: Vec<Included>,
    /// Names of parts that are faulty; they are not missing.
    pub(super) lost: HashSet<String>,
    /// Whole files or tables could not be read; what seems to be missing may be in them.
    pub(super) incomplete: bool,
}

fn load_text(path: &Path, text: &str) -> Result<Config, Problems> {
    let mut files = Files::default();
    if let Some(main) = files.read::<File>(path, text) {
        files.incomplete |= !main.whole && main.value.upstreams.is_none();
        files.main = main.value;
        files.include(path);
        check(files)
    } else {
        Err(Problems::new(files.sources, files.problems))
    }
}

impl Files {
    /// Reads one file; `None` if it is no TOML.
    fn read<T: DeserializeOwned>(&mut self, path: &Path, text: &str) -> Option<At<T>> {
        let base = self.sources.add(path, text);
        let (table, errors) = DeTable::parse_recoverable(text);
        if !errors.is_empty() {
            self.problems.extend(errors.iter().map(|error| syntax_problem(error, text, base)));
            return None;
        }
        let mut document = Spanned::new(table.span(), DeValue::Table(table.into_inner()));
        let unknown = environment::fill_in(&mut document, base, &mut self.problems);
        let Read { value, lost } = read(&document, base, unknown, &mut self.problems)?;
        self.lost.extend(lost);
        Some(value)
    }

    /// Reads what the main file includes.
    fn include(&mut self, main: &Path) {
        let folder = main.parent().unwrap_or(Path::new("")).to_owned();
        let mut paths = Vec::new();
        for pattern in std::mem::take(&mut self.main.include) {
            let matched = matched(&folder, &pattern.value).unwrap_or_else(|problem| {
                self.problems.push(Problem { place: Some(pattern.place), ..problem });
                self.incomplete = true;
                Vec::new()
            });
            paths.extend(matched.into_iter().map(|path| (path, pattern.place)));
        }
        paths.sort();
        paths.dedup_by(|later, earlier| later.0 == earlier.0);
        for (path, place) in paths {
            self.include_file(&path, place);
        }
    }

    fn include_file(&mut self, path: &Path, place: Place) {
        let read = match read_text(path) {
            Ok(text) => self.read::<Included>(path, &text),
            Err(problem) => {
                self.problems.push(Problem { place: Some(place), ..problem });
                None
            }
        };
        self.incomplete |= read.is_none();
        self.included.extend(read.map(|read| read.value));
    }
}

/// The files a pattern matches; at least one.
fn matched(folder: &Path, pattern: &str) -> Result<Vec<PathBuf>, Problem> {
    let folder = glob::Pattern::escape(&folder.to_string_lossy());
    let whole = Path::new(&folder).join(pattern);
    let paths = glob::glob(&whole.to_string_lossy())
        .map_err(|error| {
            Problem::nowhere(format!("{pattern:?} is no file pattern: {}", error.msg))
        })?
        .filter_map(Result::ok)
        .collect::<Vec<_>>();
    if paths.is_empty() {
        return Err(Problem::nowhere(format!("{pattern:?} matches no file")).help(
            "patterns are relative to this file; take it out if there is nothing to include",
        ));
    }
    Ok(paths)
}

fn read_text(path: &Path) -> Result<String, Problem> {
    let shown = path.display();
    if path.is_dir() {
        return Err(Problem::nowhere(format!("{shown} is a directory"))
            .help("name the file in it, such as config.toml"));
    }
    fs::read_to_string(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => {
            Problem::nowhere(format!("{shown} is not there")).help("name a file with --config")
        }
        io::ErrorKind::InvalidData => Problem::nowhere(format!("{shown} is not UTF-8 text")),
        _ => Problem::nowhere(format!("cannot read {shown}: {error}")),
    })
}

fn syntax_problem(error: &toml::de::Error, text: &str, base: usize) -> Problem {
    let span = error.span().unwrap_or_default();
    let mut what = error.message().replace('\n', "; ");
    if what == "duplicate key" {
        what = format!("the key `{}` is there already", text.get(span.clone()).unwrap_or_default());
    }
    Problem::at(Place::new(&(span.start + base..span.end + base)), what)
}

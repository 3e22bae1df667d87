//! The files of a configuration, and places in them.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A range of bytes in all sources laid end to end; [`Sources::at`] turns it into file:line:column.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Place {
    start: usize,
    end: usize,
}

impl Place {
    /// The place of a span.
    pub fn new(span: &Range<usize>) -> Self {
        Self { start: span.start, end: span.end }
    }

    pub(super) fn holds(self, inner: Self) -> bool {
        self.start <= inner.start && inner.end <= self.end
    }

    pub(super) fn start(self) -> usize {
        self.start
    }

    pub(super) fn end(self) -> usize {
        self.end
    }
}

/// All files that were read, laid end to end.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    files: Vec<Source>,
}

#[derive(Clone, Debug)]
struct Source {
    path: PathBuf,
    base: usize,
    text: Arc<str>,
}

/// A position as people write it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Position {
    /// The file.
    pub path: PathBuf,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
}

impl Sources {
    /// Adds a file; its places start at the returned offset.
    pub fn add(&mut self, path: &Path, text: &str) -> usize {
        let base = self.files.last().map_or(0, |last| last.base + last.text.len() + 1);
        self.files.push(Source { path: path.to_owned(), base, text: text.into() });
        base
    }

    /// Where a place is.
    pub fn at(&self, place: Place) -> Position {
        let Some(source) = self.files.iter().rev().find(|source| source.base <= place.start) else {
            return Position { path: PathBuf::new(), line: 1, column: 1 };
        };
        let offset = source.text.floor_char_boundary(place.start - source.base);
        let before = &source.text[..offset];
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        Position {
            path: source.path.clone(),
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
        }
    }

    /// The line of text a place starts in, for messages.
    pub fn line_text(&self, place: Place) -> &str {
        let Some(source) = self.files.iter().rev().find(|source| source.base <= place.start) else {
            return "";
        };
        let offset = source.text.floor_char_boundary(place.start - source.base);
        let start = source.text[..offset].rfind('\n').map_or(0, |newline| newline + 1);
        source.text[start..].lines().next().unwrap_or("")
    }

    /// The files and what they said.
    pub fn files(&self) -> impl Iterator<Item = (&Path, &Arc<str>)> {
        self.files.iter().map(|source| (source.path.as_path(), &source.text))
    }

    /// The files, for the watcher.
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        self.files.iter().map(|source| source.path.as_path())
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.path.display(), self.line, self.column)
    }
}

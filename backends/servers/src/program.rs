//! Finds the programs of the servers, or says which Debian package has them.

use std::path::{Path, PathBuf};

/// A program and the Debian package that brings it.
pub(crate) struct Program {
    pub(crate) name: &'static str,
    pub(crate) package: &'static str,
    /// Where Debian puts it outside the PATH; `*` stands for one folder of any name, the greatest first.
    pub(crate) besides: &'static [&'static str],
}

/// A server's program is nowhere to be found.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{program} is not installed; on Debian: apt-get install {package}")]
pub struct NotInstalled {
    /// The program that was looked for.
    pub program: &'static str,
    /// The Debian package that brings it.
    pub package: &'static str,
}

impl Program {
    /// Where it is.
    pub(crate) fn find(&self) -> Result<PathBuf, NotInstalled> {
        let Self { name, package, besides } = self;
        let path = std::env::var_os("PATH").unwrap_or_default();
        let besides = besides.iter().flat_map(|pattern| folders(pattern));
        let mut candidates = besides.chain(std::env::split_paths(&path)).map(|it| it.join(name));
        let found = candidates.find(|file| file.is_file());
        found.ok_or(NotInstalled { program: name, package })
    }
}

fn folders(pattern: &str) -> Vec<PathBuf> {
    let Some((before, after)) = pattern.split_once("/*/") else {
        return vec![PathBuf::from(pattern)];
    };
    let Ok(entries) = Path::new(before).read_dir() else {
        return Vec::new();
    };
    let mut folders: Vec<PathBuf> =
        entries.flatten().map(|entry| entry.path().join(after)).collect();
    folders.sort_unstable_by(|one, other| other.cmp(one));
    folders
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_is_missing_is_named_with_its_package() {
        let missing = Program { name: "no-such-server", package: "no-such-package", besides: &[] };
        assert_eq!(
            missing.find().unwrap_err().to_string(),
            "no-such-server is not installed; on Debian: apt-get install no-such-package"
        );
        let shell = Program { name: "sh", package: "dash", besides: &["/usr/lib/nowhere/*/bin"] };
        assert!(shell.find().unwrap().ends_with("sh"));
    }
}

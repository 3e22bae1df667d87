//! The programs compared: how each is started, with one worker, in the foreground.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Which proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Nginx,
    Haproxy,
    Gateway,
}

impl Kind {
    pub(super) const ALL: [Self; 3] = [Self::Nginx, Self::Haproxy, Self::Gateway];

    /// Also the name of its program.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Nginx => "nginx",
            Self::Haproxy => "haproxy",
            Self::Gateway => "gateway",
        }
    }

    pub(super) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// A proxy that is on this machine.
pub(super) struct Proxy {
    pub(super) kind: Kind,
    pub(super) program: PathBuf,
}

impl Proxy {
    pub(super) fn new(kind: Kind, program: PathBuf) -> Self {
        Self { kind, program }
    }

    /// Adds the arguments that make it serve `config` in the foreground.
    pub(super) fn add_arguments(&self, command: &mut Command, folder: &Path, config: &Path) {
        match self.kind {
            Kind::Nginx => {
                // -e: without it nginx opens its compiled-in error log before it reads the config.
                command.args(["-e", "stderr", "-p"]).arg(folder).arg("-c").arg(config);
            }
            Kind::Haproxy => {
                command.arg("-db").arg("-f").arg(config);
            }
            Kind::Gateway => {
                command.args(["run", "--config"]).arg(config).current_dir(folder);
            }
        }
    }
}

//! The admin endpoint: health, metrics and the API, on a listener and a runtime of its own, so that it always answers.

mod api;
mod bearer;
mod endpoints;
mod faults;
mod question;
mod redact;
mod reply;
mod server;
#[cfg(test)]
mod tests;
mod upstreams;
mod view;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use serde::Serialize;
use thiserror::Error;

use crate::cli::explain::Explanation;
use crate::cli::explain::decide::Question;
use crate::config::{Config, Problems, UpstreamId};
use crate::observe::reading::Readings;
use crate::upstream::view::prospect::Prospect;
use crate::upstream::view::{Order, ServerNow, UpstreamNow};

pub use server::serve;

/// What the admin endpoint asks of the running gateway. Calls may take a while; they are not made on a worker.
pub trait Control: Send + Sync + 'static {
    /// Whether the gateway takes traffic; else why not, in words (`draining`, `no configuration yet`).
    fn ready(&self) -> Result<(), Vec<String>>;

    /// The configuration in use.
    fn loaded(&self) -> Arc<Loaded>;

    /// The configuration that a reload last refused, unless one was loaded since.
    fn last_refusal(&self) -> Option<Arc<Refused>>;

    /// An upstream of [`Control::loaded`], as it is now.
    fn upstream(&self, upstream: UpstreamId) -> UpstreamNow;

    /// What metrics show of this moment.
    fn readings(&self) -> Readings;

    /// Obeys for a server, called by its address or as the config writes it: what has become of it. Of a name all servers
    /// it stands for now are meant. A reload changes nothing of it.
    fn order(&self, upstream: &str, server: &str, order: Order) -> Result<Vec<ServerNow>, Unknown>;

    /// Explains what becomes of a request, and which server would get it now. Nothing changes by asking.
    fn explain(&self, question: &Question) -> Result<Explained, Problems>;

    /// Checks a configuration as `gateway check` does, its tests included, without loading it.
    fn check(&self, text: &str) -> Result<(), Problems>;

    /// Reads the configuration again, as SIGHUP does; a refused one changes nothing.
    fn reload(&self) -> Result<Reloaded, Problems>;
}

/// What is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Unknown {
    /// The upstream.
    #[error("there is no upstream of this name; /api/v1/upstreams lists them")]
    Upstream,
    /// The server.
    #[error("the upstream has no server at this address; /api/v1/upstreams lists them")]
    Server,
}

/// What becomes of a request now.
#[derive(Clone, Debug, Serialize)]
pub struct Explained {
    /// The number of the configuration in use.
    pub generation: u64,
    /// What follows from the configuration.
    pub explanation: Explanation,
    /// Which server would get it; `None`: no upstream sees it.
    pub live: Option<Prospect>,
}

/// A configuration that is in use.
pub struct Loaded {
    /// Its number, from 1; each successful reload adds one.
    pub generation: u64,
    /// When it was loaded.
    pub at: SystemTime,
    /// The configuration.
    pub config: Arc<Config>,
    /// The files it was read from, as they were read.
    pub files: Vec<ConfigFile>,
    /// The token of `[admin]`, revealed; `None`: the API answers 403.
    pub token: Option<Box<str>>,
}

/// A file of the configuration.
pub struct ConfigFile {
    /// Where it was.
    pub path: PathBuf,
    /// What it said.
    pub text: Arc<str>,
}

/// A configuration that was refused.
pub struct Refused {
    /// When.
    pub at: SystemTime,
    /// Why.
    pub problems: Problems,
}

/// What a reload did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reloaded {
    /// The number of the new configuration.
    pub generation: u64,
    /// What it changes that only `gateway run --upgrade` can apply, such as a listener's address; one sentence each.
    pub not_applied: Vec<String>,
}

//! Scripted servers, a proxy before them, and the load: everything of one trial that runs.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::runtime::Builder;
use tokio::task::LocalSet;

use super::super::configs::{Workspace, WorkspaceError};
use super::super::load::{self, LoadError};
use super::super::process::{LOAD_CORE, PROXY_CORE, ProcessError, Started, free_port, pinned};
use super::super::procfs::{self, ProcfsError};
use super::super::proxies::Proxy;
use super::configs::{self, Front};
use super::trial::Trial;
use crate::connection::fetch;
use crate::failure::{Failure, FileError};

/// Why something could not be tried.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StageError {
    #[error(transparent)]
    Workspace(#[from] WorkspaceError),
    #[error(transparent)]
    Process(#[from] ProcessError),
    #[error(transparent)]
    Procfs(#[from] ProcfsError),
    #[error(transparent)]
    Load(#[from] LoadError),
    #[error(transparent)]
    File(#[from] FileError),
    #[error("loadtest: {0}")]
    Own(io::Error),
    #[error("open files: {0}")]
    Files(Failure),
    #[error("the control of a server: {0}")]
    Control(Failure),
    #[error("what `loadtest run` says has no {0}")]
    Untold(&'static str),
}

/// Clients, and connections to servers: as many as the hungry requests of some seconds.
const FILES: u64 = 20_000;

/// A scripted server in a process of its own.
pub(super) struct Server {
    pub(super) control: SocketAddr,
    port: u16,
    _process: Started,
}

/// Everything that runs; ends with this value.
pub(super) struct Stage<'a> {
    pub(super) servers: Vec<Server>,
    /// What the proxy was told.
    pub(super) config: String,
    proxy: &'a Proxy,
    port: u16,
    folder: PathBuf,
    process: Started,
}

impl<'a> Stage<'a> {
    pub(super) fn start(
        workspace: &Workspace,
        proxy: &'a Proxy,
        trial: Trial,
    ) -> Result<Self, StageError> {
        // Children inherit the limit.
        crate::process::allow_files(FILES).map_err(StageError::Files)?;
        let folder = workspace
            .subfolder(&format!("{}-{}", proxy.kind.name(), trial.name()))
            .map_err(WorkspaceError::from)?;
        let servers: Vec<Server> = (0..trial.servers())
            .map(|number| Server::start(&folder, number))
            .collect::<Result<_, _>>()?;
        let front = Front {
            port: free_port()?,
            admin_port: free_port()?,
            servers: servers.iter().map(|server| server.port).collect(),
            routes: trial.routes(),
            folder: &folder,
        };
        let (file, config) = configs::write(proxy, &front)?;
        let mut command = pinned(PROXY_CORE, &proxy.program);
        proxy.add_arguments(&mut command, &folder, &file, front.port);
        let name = proxy.kind.name();
        let mut process = Started::start(name, &mut command, folder.join("messages"))?;
        process.wait_for_port(front.port, Duration::from_secs(20))?;
        let port = front.port;
        Ok(Self { servers, config, proxy, port, folder, process })
    }

    /// Runs the load that a scenario describes, against the proxy.
    pub(super) fn load(&self, name: &str, mut scenario: Value) -> Result<Value, StageError> {
        scenario["url"] = json!(format!("http://127.0.0.1:{}", self.port));
        let file = self.folder.join(format!("{name}.toml"));
        let text = toml::to_string(&scenario).expect("no null in it, and tables last");
        fs::write(&file, text).map_err(FileError::at(&file))?;
        Ok(load::run_file(&file)?)
    }

    /// Every server does this from now on.
    pub(super) fn tell_all(&self, behaviour: &str) -> Result<(), StageError> {
        self.servers.iter().try_for_each(|server| {
            ask(server.control, "PUT", &format!("/behaviour?{behaviour}")).map(drop)
        })
    }

    /// Requests that have reached the servers so far.
    pub(super) fn arrived(&self) -> Result<u64, StageError> {
        let counts = self.servers.iter().map(|server| {
            let counts = ask(server.control, "GET", "/counts")?;
            counts["requests"].as_u64().ok_or(StageError::Control(Failure::Body))
        });
        counts.sum()
    }

    pub(super) fn resident_mb(&self) -> Result<f64, StageError> {
        Ok(procfs::resident_kib(self.process.pid())? as f64 / 1024.0)
    }

    pub(super) const fn name(&self) -> &'static str {
        self.proxy.kind.name()
    }
}

impl Server {
    fn start(folder: &std::path::Path, number: usize) -> Result<Self, StageError> {
        let (port, control) = (free_port()?, free_port()?);
        let own = std::env::current_exe().map_err(StageError::Own)?;
        let mut command = pinned(LOAD_CORE, &own);
        command
            .args(["origin", "--listen", &format!("127.0.0.1:{port}")])
            .args(["--control", &format!("127.0.0.1:{control}")]);
        let messages = folder.join(format!("server-{number}"));
        let mut process = Started::start("origin", &mut command, messages)?;
        process.wait_for_port(control, Duration::from_secs(10))?;
        process.wait_for_port(port, Duration::from_secs(10))?;
        let control = SocketAddr::from((Ipv4Addr::LOCALHOST, control));
        Ok(Self { control, port, _process: process })
    }
}

/// A request to a control, which is for once not waited for by anything that runs.
fn ask(control: SocketAddr, method: &str, path: &str) -> Result<Value, StageError> {
    let runtime = Builder::new_current_thread().enable_all().build().map_err(StageError::Own)?;
    let answer = LocalSet::new()
        .block_on(&runtime, fetch(control, method, path))
        .map_err(StageError::Control)?;
    match answer.status {
        200 => serde_json::from_slice(&answer.body).map_err(|_| StageError::Control(Failure::Body)),
        status => Err(StageError::Control(Failure::Status(status))),
    }
}

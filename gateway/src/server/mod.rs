//! From the process to HTTP: sockets, workers, signals, drain and hand-over. The only room that names pingora's server.

use std::collections::HashMap;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use async_trait::async_trait;
use pingora_core::server::configuration::ServerConf;
use pingora_core::server::{RunArgs, Server, ShutdownSignal, ShutdownSignalWatch};
use rustls::ServerConfig;
use thiserror::Error;
use tokio::sync::watch;

use crate::certificates;
use crate::config::{Config, ListenAddress, Problems};
use crate::observe::access_log::{AccessLog, LogError, Target};
use crate::observe::metrics::Metrics;
use crate::snapshot::{Heritage, Snapshot};
use crate::worker::Process;
use control::Control;
use listener::Bound;

mod control;
mod driver;
mod handover;
mod http1;
mod http2;
mod linger;
mod listener;
mod proxy_protocol;
mod reload;
mod rounds;
mod slow_client;
mod tunnel;

mod websocket;
mod workers;

pub use handover::HandoverError;
pub use listener::BindError;

/// Why the gateway does not run.
#[derive(Debug, Error)]
pub enum RunError {
    /// The configuration is wrong.
    #[error("{0}")]
    Refused(#[from] Problems),
    /// An address cannot be listened on.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The running process does not hand its sockets over.
    #[error(transparent)]
    Handover(#[from] HandoverError),
    /// The access log cannot be written.
    #[error(transparent)]
    Log(#[from] LogError),
}

/// What the process is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// It serves.
    Running,
    /// It is about to end: not ready any more, but whoever comes is still answered.
    Leaving,
    /// It accepts nothing new and waits for what is under way.
    Draining,
}

/// A listener with its sockets and its certificates, which a reload may change.
pub(crate) struct Gate {
    bound: Bound,
    configured: ListenAddress,
    proxy_protocol: bool,
    tls: ArcSwapOption<ServerConfig>,
}

/// Everything that is needed to run, before anything runs.
struct Prepared {
    snapshot: Arc<Snapshot>,
    metrics: &'static Metrics,
    gates: Vec<Gate>,
    admin: Option<Bound>,
    log: Target,
    /// The process whose sockets were taken over; it drains once it is told.
    predecessor: Option<UnixStream>,
}

/// Serves until the process is told to end. Nothing is started before everything is known to work.
pub fn run(config: Config, path: &Path, upgrade: bool) -> Result<(), RunError> {
    let threads = config.server.threads;
    let Prepared { snapshot, metrics, gates, admin, log, predecessor } = prepare(config, upgrade)?;
    let handover = match (&snapshot.config.server.handover, &predecessor) {
        (Some(path), None) => Some(handover::listen(path)?),
        (Some(_), Some(_)) | (None, _) => None,
    };
    announce(&gates, admin.as_ref());
    let gates: Arc<[Gate]> = gates.into();
    let (phase, phases) = watch::channel(Phase::Running);
    let (ended, end) = watch::channel(false);
    let started = Started { snapshot, metrics, log: std::sync::Mutex::new(Some(log)) };
    let started = Arc::new(started);

    let mut server =
        Server::new_with_opt_and_conf(None, ServerConf { threads: 1, ..ServerConf::default() });
    server.bootstrap();
    let process = Arc::new(std::sync::OnceLock::new());
    server.add_service(workers::Workers {
        started: Arc::clone(&started),
        process: Arc::clone(&process),
        gates: Arc::clone(&gates),
        threads,
        phases: phases.clone(),
        ended: ended.clone(),
    });
    server.add_service(Control {
        started,
        process,
        path: path.to_owned(),
        gates,
        admin,
        handover,
        predecessor,
        phase,
        ended,
    });
    server.run(RunArgs { shutdown_signal: Box::new(WhenEnded(end)) });
    Ok(())
}

/// What starts with pingora's runtimes: before them, no thread may exist.
pub(crate) struct Started {
    snapshot: Arc<Snapshot>,
    metrics: &'static Metrics,
    log: std::sync::Mutex<Option<Target>>,
}

/// The process' shared state, made by whichever service comes first.
pub(crate) type SharedProcess = Arc<std::sync::OnceLock<Result<Arc<Process>, String>>>;

impl Started {
    fn process(&self, shared: &SharedProcess) -> Result<Arc<Process>, String> {
        let made = shared.get_or_init(|| {
            let target = self.log.lock().ok().and_then(|mut log| log.take());
            let target = target.ok_or_else(|| "the access log was taken".to_owned())?;
            let log = AccessLog::start(target, self.metrics).map_err(|error| error.to_string())?;
            self.metrics.config_loaded(self.snapshot.generation);
            Ok(Arc::new(Process::new(Arc::clone(&self.snapshot), self.metrics, log)))
        });
        made.clone()
    }
}

fn prepare(config: Config, upgrade: bool) -> Result<Prepared, RunError> {
    let metrics = Metrics::new(config.server.threads);
    let snapshot = Arc::new(Snapshot::build(config, &Heritage::new(None, metrics))?);
    let config = &snapshot.config;
    let log = Target::open(config.access_log.as_ref())?;
    let (predecessor, mut inherited) = match (upgrade, &config.server.handover) {
        (false, _) => (None, HashMap::new()),
        (true, None) => return Err(HandoverError::NotConfigured.into()),
        (true, Some(path)) => {
            let (stream, inherited) = handover::take(path)?;
            let by_name = inherited.into_iter().map(|one| (one.name, one.sockets)).collect();
            (Some(stream), by_name)
        }
    };
    let mut gates = Vec::new();
    for listener in &config.listeners {
        let sockets = inherited.remove(&listener.address.to_string()).unwrap_or_default();
        let bound = Bound::new(&listener.address, config.server.threads, sockets)?;
        gates.push(Gate {
            bound,
            configured: listener.address.clone(),
            proxy_protocol: listener.proxy_protocol,
            tls: ArcSwapOption::new(tls_of(config, listener)?),
        });
    }
    let admin = match &config.admin {
        Some(admin) => {
            let address = ListenAddress::Tcp(admin.address);
            let sockets = inherited.remove(&address.to_string()).unwrap_or_default();
            Some(Bound::new(&address, 1, sockets)?)
        }
        None => None,
    };
    Ok(Prepared { metrics, gates, admin, log, predecessor, snapshot })
}

fn tls_of(
    config: &Config,
    listener: &crate::config::Listener,
) -> Result<Option<Arc<ServerConfig>>, Problems> {
    let built = listener.tls.as_ref().map(certificates::server_config).transpose();
    built.map_err(|problem| Problems::new(config.sources.clone(), vec![problem]))
}

/// Says where it listens; with port 0 nobody knows it otherwise.
#[expect(clippy::print_stderr, reason = "the one line a person who starts it sees")]
fn announce(gates: &[Gate], admin: Option<&Bound>) {
    for gate in gates {
        eprintln!("listening on {}", gate.bound.address);
    }
    if let Some(admin) = admin {
        eprintln!("admin on {}", admin.address);
    }
}

/// pingora ends when the last worker has.
struct WhenEnded(watch::Receiver<bool>);

#[async_trait]
impl ShutdownSignalWatch for WhenEnded {
    async fn recv(&self) -> ShutdownSignal {
        let mut ended = self.0.clone();
        // An error means that nobody is left to say it: the end as well.
        drop(ended.wait_for(|ended| *ended).await);
        ShutdownSignal::FastShutdown
    }
}

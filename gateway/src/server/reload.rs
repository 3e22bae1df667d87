//! Reload: the whole new snapshot is built, then swapped in; a bad file changes nothing and says why.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, SystemTime};

use hickory_resolver::TokioResolver;
use notify::{RecursiveMode, Watcher};
use tokio::runtime::Handle;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep};

use super::rounds::words;
use super::{Gate, Phase, tls_of};
use crate::admin::{self, ConfigFile, Explained, Loaded, Refused, Reloaded, Unknown};
use crate::cli::explain::decide::{Decision, Outcome, Question};
use crate::cli::explain::explain_by;
use crate::config::{self, Config, Problem, Problems, UpstreamId};
use crate::moment;
use crate::observe::access_log::Target;
use crate::observe::metrics::Metrics;
use crate::observe::reading::Readings;
use crate::snapshot::{Heritage, Snapshot};
use crate::upstream::choice::Asked;
use crate::upstream::resolve::{keep_resolved, system_resolver};
use crate::upstream::view::prospect::Prospect;
use crate::upstream::view::{Order, ServerNow, UpstreamNow};
use crate::worker::Process;

/// Editors write a file in several steps; a change is looked at once it has been quiet for this long.
const QUIET: Duration = Duration::from_millis(200);
/// After the start, names may take this long before readiness stops waiting for them.
const NAMES_PATIENCE: Duration = Duration::from_secs(5);

/// Loads configurations, and answers the admin endpoint's questions.
pub(super) struct Reloader {
    process: Arc<Process>,
    path: PathBuf,
    gates: Arc<[Gate]>,
    phase: watch::Receiver<Phase>,
    state: Mutex<State>,
    resolver: Option<Arc<TokioResolver>>,
    runtime: Handle,
    started: Instant,
}

struct State {
    loaded: Arc<Loaded>,
    refused: Option<Arc<Refused>>,
}

impl Reloader {
    /// Must be made on the control runtime, where names are resolved.
    pub(super) fn new(
        process: Arc<Process>,
        path: PathBuf,
        gates: Arc<[Gate]>,
        phase: watch::Receiver<Phase>,
    ) -> Self {
        let snapshot = process.snapshot();
        let loaded = Arc::new(loaded(&snapshot));
        let reloader = Self {
            process,
            path,
            gates,
            phase,
            state: Mutex::new(State { loaded, refused: None }),
            resolver: system_resolver(),
            runtime: Handle::current(),
            started: Instant::now(),
        };
        reloader.resolve_names(&snapshot, None);
        reloader
    }

    pub(super) fn process(&self) -> &Arc<Process> {
        &self.process
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn build(&self, config: Config, previous: &Snapshot) -> Result<Snapshot, Problems> {
        let sources = config.sources.clone();
        let snapshot =
            Snapshot::build(config, &Heritage::new(Some(previous), self.process.metrics))?;
        let failed = crate::cli::tests_in_config::run(&snapshot.config, &snapshot.router);
        if failed.is_empty() { Ok(snapshot) } else { Err(Problems::new(sources, failed)) }
    }

    /// Reads, builds and swaps. One at a time.
    fn load(&self) -> Result<Reloaded, Problems> {
        let mut state = self.state();
        let result = self.try_load(&mut state);
        match &result {
            Ok(reloaded) => {
                state.refused = None;
                self.process.metrics.config_loaded(reloaded.generation);
            }
            Err(problems) => {
                let problems = problems.clone();
                state.refused = Some(Arc::new(Refused { at: SystemTime::now(), problems }));
                self.process.metrics.config_refused();
            }
        }
        result
    }

    fn try_load(&self, state: &mut State) -> Result<Reloaded, Problems> {
        let previous = self.process.snapshot();
        let config = config::load(&self.path)?;
        let snapshot = Arc::new(self.build(config, &previous)?);
        let config = &snapshot.config;
        let mut tls = Vec::new();
        for gate in self.gates.iter() {
            let same = config.listeners.iter().find(|listener| listener.address == gate.configured);
            if let Some(listener) = same {
                tls.push((gate, tls_of(config, listener)?));
            }
        }
        let log = Target::open(config.access_log.as_ref()).map_err(|error| {
            Problems::new(config.sources.clone(), vec![Problem::nowhere(error.to_string())])
        })?;
        // Nothing can fail from here on.
        for (gate, tls) in tls {
            gate.tls.store(tls);
        }
        self.process.log.reconfigure(log);
        self.process.swap(Arc::clone(&snapshot));
        self.resolve_names(&snapshot, Some(&previous));
        let not_applied = not_applied(&previous.config, config);
        state.loaded = Arc::new(loaded(&snapshot));
        Ok(Reloaded { generation: snapshot.generation, not_applied })
    }

    /// Starts to resolve the names of upstreams that are new.
    fn resolve_names(&self, snapshot: &Snapshot, previous: Option<&Snapshot>) {
        let known = |upstream: &Arc<_>| {
            previous.is_some_and(|previous| {
                previous.upstreams.iter().any(|known| Arc::ptr_eq(known, upstream))
            })
        };
        let Some(resolver) = &self.resolver else { return };
        for upstream in &snapshot.upstreams {
            if upstream.names().next().is_some() && !known(upstream) {
                let resolving = keep_resolved(Arc::downgrade(upstream), Arc::clone(resolver));
                self.runtime.spawn(resolving);
            }
        }
    }
}

impl admin::Control for Reloader {
    fn ready(&self) -> Result<(), Vec<String>> {
        if *self.phase.borrow() != Phase::Running {
            return Err(vec!["draining".to_owned()]);
        }
        if self.started.elapsed() > NAMES_PATIENCE {
            return Ok(());
        }
        let snapshot = self.process.snapshot();
        let waiting = snapshot.upstreams.iter().filter(|upstream| !upstream.is_ready());
        let reasons: Vec<String> = waiting
            .map(|upstream| format!("upstream {} is not resolved yet", upstream.config.name))
            .collect();
        if reasons.is_empty() { Ok(()) } else { Err(reasons) }
    }

    fn loaded(&self) -> Arc<Loaded> {
        Arc::clone(&self.state().loaded)
    }

    fn last_refusal(&self) -> Option<Arc<Refused>> {
        self.state().refused.clone()
    }

    fn upstream(&self, upstream: UpstreamId) -> UpstreamNow {
        let snapshot = self.process.snapshot();
        let upstream = snapshot.upstreams.get(upstream.0);
        upstream.map(|upstream| upstream.view(moment::now(), words)).unwrap_or_default()
    }

    fn readings(&self) -> Readings {
        let snapshot = self.process.snapshot();
        let now = moment::now();
        let upstreams = snapshot.upstreams.iter().map(|upstream| upstream.reading(now));
        let gates = snapshot
            .admissions()
            .map(|(kind, name, admission)| admission.reading(kind, name, now))
            .collect();
        let overload = self.process.overload.level() as u8;
        Readings { upstreams: upstreams.collect(), gates, overload }
    }

    fn order(&self, upstream: &str, server: &str, order: Order) -> Result<Vec<ServerNow>, Unknown> {
        // No reload meanwhile: the snapshot it builds would be drawn as things were before.
        let _state = self.state();
        let snapshot = self.process.snapshot();
        let mut upstreams = snapshot.upstreams.iter();
        let found = upstreams.find(|known| known.config.name == upstream);
        let servers = found.ok_or(Unknown::Upstream)?.order(server, order, moment::now(), words);
        for server in &servers {
            say(&format!(
                "upstream {upstream}: {} is {} by the admin",
                server.address, server.switch
            ));
        }
        if servers.is_empty() { Err(Unknown::Server) } else { Ok(servers) }
    }

    fn explain(&self, question: &Question) -> Result<Explained, Problems> {
        let snapshot = self.process.snapshot();
        let (explanation, decision) = explain_by(&snapshot.config, &snapshot.router, question)?;
        let live = prospect(&snapshot, question, &decision);
        Ok(Explained { generation: snapshot.generation, explanation, live })
    }

    fn check(&self, text: &str) -> Result<(), Problems> {
        let name = self.path.display().to_string();
        let config = config::from_text(&name, text)?;
        let metrics = unused_metrics();
        let sources = config.sources.clone();
        let snapshot = Snapshot::build(config, &Heritage::new(None, metrics))?;
        let failed = crate::cli::tests_in_config::run(&snapshot.config, &snapshot.router);
        if failed.is_empty() { Ok(()) } else { Err(Problems::new(sources, failed)) }
    }

    fn reload(&self) -> Result<Reloaded, Problems> {
        self.load()
    }
}

/// Which server would get a request that has been decided on.
fn prospect(snapshot: &Snapshot, question: &Question, decision: &Decision) -> Option<Prospect> {
    let Outcome::Proxy { upstream, target: _ } = &decision.outcome else { return None };
    let (route, parameters) = decision.route?;
    let path = decision.path.as_deref()?;
    let pattern = &snapshot.config.routes[route].path;
    let parameter = |name: &str| {
        let index = pattern.parameters().position(|known| known == name)?;
        Some(parameters.get(path, index))
    };
    let asked = Asked {
        parts: &decision.request,
        client: question.client.to_canonical(),
        parameter: &parameter,
    };
    Some(snapshot.upstreams.get(upstream.0)?.prospect(&asked, moment::now(), words))
}

/// Metrics for a snapshot that never serves.
fn unused_metrics() -> &'static Metrics {
    static UNUSED: OnceLock<&'static Metrics> = OnceLock::new();
    UNUSED.get_or_init(|| Metrics::new(1))
}

fn loaded(snapshot: &Snapshot) -> Loaded {
    let config = Arc::clone(&snapshot.config);
    let files = config.sources.files();
    let files =
        files.map(|(path, text)| ConfigFile { path: path.to_owned(), text: Arc::clone(text) });
    let token = config.admin.as_ref().and_then(|admin| admin.token.as_ref());
    // A secret that cannot be had was refused by the check; one that has gone since closes the API.
    let token = token.and_then(|token| token.reveal().ok()).map(String::into_boxed_str);
    Loaded {
        generation: snapshot.generation,
        at: SystemTime::now(),
        files: files.collect(),
        token,
        config,
    }
}

/// What a reload cannot change, because it is bound or running.
fn not_applied(before: &Config, after: &Config) -> Vec<String> {
    let mut said = Vec::new();
    let addresses = |config: &Config| -> Vec<String> {
        let mut all: Vec<_> = config.listeners.iter().map(|one| one.address.to_string()).collect();
        all.sort();
        all
    };
    if addresses(before) != addresses(after) {
        said.push("listeners have changed; `gateway run --upgrade` applies it".to_owned());
    }
    if before.server.threads != after.server.threads {
        said.push("server.threads has changed; `gateway run --upgrade` applies it".to_owned());
    }
    let admin = |config: &Config| config.admin.as_ref().map(|admin| admin.address);
    if admin(before) != admin(after) {
        said.push("admin.address has changed; `gateway run --upgrade` applies it".to_owned());
    }
    if before.server.handover != after.server.handover {
        said.push("server.handover has changed; the next start applies it".to_owned());
    }
    said
}

/// A reload that nobody waits for: what comes of it is said on standard error.
pub(super) fn reload_aloud(reloader: &Arc<Reloader>) {
    match reloader.load() {
        Ok(reloaded) => {
            say(&format!("reloaded: generation {}", reloaded.generation));
            for sentence in &reloaded.not_applied {
                say(sentence);
            }
        }
        Err(problems) => say(&format!("not reloaded, the old configuration stays:\n{problems}")),
    }
}

/// Says something to whoever reads the process' standard error.
#[expect(clippy::print_stderr, reason = "the control side's only voice beside the admin endpoint")]
pub(super) fn say(message: &str) {
    eprintln!("{}", message.trim_end());
}

/// Reloads when a config file changes. The watch ends when what is returned is dropped.
pub(super) fn watch_files(reloader: &Arc<Reloader>) -> Option<notify::RecommendedWatcher> {
    let snapshot = reloader.process.snapshot();
    if !snapshot.config.server.watch {
        return None;
    }
    let changed = Arc::new(Notify::new());
    let of_watcher = Arc::clone(&changed);
    let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        if event.is_ok_and(|event| event.kind.is_create() || event.kind.is_modify()) {
            of_watcher.notify_one();
        }
    });
    let mut watcher = match watcher {
        Ok(watcher) => watcher,
        Err(error) => {
            say(&format!("config files are not watched: {error}"));
            return None;
        }
    };
    // Folders, not files: an editor replaces a file, and the new one would not be watched.
    let mut folders: Vec<PathBuf> = snapshot.config.sources.paths().map(folder_of).collect();
    folders.sort();
    folders.dedup();
    for folder in folders {
        if let Err(error) = watcher.watch(&folder, RecursiveMode::NonRecursive) {
            say(&format!("{} is not watched: {error}", folder.display()));
        }
    }
    let reloader = Arc::clone(reloader);
    tokio::spawn(async move {
        let mut seen = texts(&reloader);
        loop {
            changed.notified().await;
            sleep(QUIET).await;
            let now = texts(&reloader);
            if now != seen {
                seen = now;
                reload_aloud(&reloader);
            }
        }
    });
    Some(watcher)
}

fn folder_of(path: &Path) -> PathBuf {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
        Some(_) | None => PathBuf::from("."),
    }
}

/// The files as they are on the disk: other files of the same folder change, too.
fn texts(reloader: &Reloader) -> Vec<Option<Vec<u8>>> {
    let snapshot = reloader.process.snapshot();
    snapshot.config.sources.paths().map(|path| std::fs::read(path).ok()).collect()
}

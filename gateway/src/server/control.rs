//! The control side: signals, the admin endpoint, reload, hand-over and names. Never in the way of a request.

use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use pingora_core::server::{ListenFds, ShutdownWatch};
use pingora_core::services::Service;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::task::spawn_blocking;
use tokio::time::{sleep, timeout};

use super::listener::Bound;
use super::reload::{self, Reloader};
use super::{Gate, Phase, SharedProcess, Started, handover, rounds};
use crate::admin;

/// How long the next process may take from asking for the sockets to accepting on them.
const UPGRADE_PATIENCE: Duration = Duration::from_secs(60);

/// The service beside the workers.
pub(super) struct Control {
    pub(super) started: Arc<Started>,
    pub(super) process: SharedProcess,
    pub(super) path: PathBuf,
    pub(super) gates: Arc<[Gate]>,
    pub(super) admin: Option<Bound>,
    pub(super) handover: Option<UnixListener>,
    pub(super) predecessor: Option<UnixStream>,
    pub(super) phase: watch::Sender<Phase>,
    pub(super) ended: watch::Sender<bool>,
}

#[async_trait]
impl Service for Control {
    async fn start_service(&mut self, _: Option<ListenFds>, _: ShutdownWatch, _: usize) {
        let Ok(process) = self.started.process(&self.process) else { return };
        let reloader = Arc::new(Reloader::new(
            Arc::clone(&process),
            self.path.clone(),
            Arc::clone(&self.gates),
            self.phase.subscribe(),
        ));
        let (stop_admin, admin_stopped) = watch::channel(false);
        if let Some(admin) = &self.admin {
            match admin.share(0, 1).map(|mut sockets| sockets.pop()) {
                Ok(None) => {}
                Ok(Some(socket)) => {
                    let control: Arc<dyn admin::Control> = reloader.clone();
                    let served =
                        admin::serve(socket.into(), control, process.metrics, admin_stopped);
                    tokio::spawn(async move {
                        if let Err(error) = served.await {
                            reload::say(&format!("the admin endpoint has ended: {error}"));
                        }
                    });
                }
                Err(error) => reload::say(&format!("no admin endpoint: {error}")),
            }
        }
        let (upgraded, upgrades) = mpsc::channel(1);
        if let Some(next) = self.succeed().await {
            tokio::spawn(offer_sockets(next, Arc::clone(&self.gates), self.admin.take(), upgraded));
        }
        let watching = reload::watch_files(&reloader);
        let watched = tokio::spawn(rounds::go(Arc::clone(&process)));
        self.obey(&reloader, upgrades).await;
        drop(watching);
        self.drain(&reloader).await;
        watched.abort();
        stop_admin.send_replace(true);
    }

    fn name(&self) -> &str {
        "control"
    }

    fn threads(&self) -> Option<usize> {
        Some(1)
    }
}

impl Control {
    /// Tells the predecessor that we accept now, and listens for a successor.
    async fn succeed(&mut self) -> Option<UnixListener> {
        if let Some(predecessor) = self.predecessor.take() {
            if let Err(error) = handover::say_ready(&predecessor) {
                reload::say(&format!("the former process could not be told to end: {error}"));
            }
            let snapshot = &self.started.snapshot;
            let path = snapshot.config.server.handover.as_ref()?;
            match handover::listen(path) {
                Ok(listener) => self.handover = Some(listener),
                Err(error) => reload::say(&error.to_string()),
            }
        }
        self.handover.take()
    }

    /// Does what signals say, until one says to end.
    async fn obey(&self, reloader: &Arc<Reloader>, mut upgrades: mpsc::Receiver<()>) {
        let Some(mut signals) = Signals::new() else { return };
        loop {
            match signals.next(&mut upgrades).await {
                Told::Reload => reload::reload_aloud(reloader),
                Told::Reopen => reloader.process().log.reopen(),
                Told::Leave => {
                    self.phase.send_replace(Phase::Leaving);
                    let delay = reloader.process().snapshot().config.server.drain.delay;
                    // A second signal is impatience.
                    drop(timeout(delay, signals.leave()).await);
                    return;
                }
                // The next process has the sockets: there is nobody to wait for.
                Told::Upgraded => return,
            }
        }
    }

    /// Waits for the workers; a signal more ends at once.
    async fn drain(&self, reloader: &Arc<Reloader>) {
        self.phase.send_replace(Phase::Draining);
        for gate in self.gates.iter() {
            gate.bound.close();
        }
        let mut ended = self.ended.subscribe();
        let Some(mut signals) = Signals::new() else { return };
        tokio::select! {
            _ = ended.wait_for(|ended| *ended) => {}
            () = signals.leave() => {
                reloader.process().metrics.refused("drain-cut");
                self.ended.send_replace(true);
            }
        }
    }
}

/// Sends the sockets to whoever asks; the first that accepts on them ends this process.
async fn offer_sockets(
    listener: UnixListener,
    gates: Arc<[Gate]>,
    admin: Option<Bound>,
    upgraded: mpsc::Sender<()>,
) {
    let admin = Arc::new(Mutex::new(admin));
    loop {
        let accepting = listener.try_clone();
        let (gates, admin) = (Arc::clone(&gates), Arc::clone(&admin));
        let offered = spawn_blocking(move || -> std::io::Result<()> {
            let (stream, _) = accepting?.accept()?;
            let bound = gates.iter().map(|gate| &gate.bound);
            let admin = admin.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            handover::send_all(&stream, bound.chain(admin.as_ref()))?;
            drop(admin);
            stream.set_read_timeout(Some(UPGRADE_PATIENCE))?;
            handover::wait_ready(&stream)
        });
        match offered.await {
            Ok(Ok(())) => {
                // Nobody listening means that this process ends already.
                return upgraded.send(()).await.unwrap_or_default();
            }
            Ok(Err(error)) => {
                reload::say(&format!(
                    "an upgrade did not come about, this process goes on: {error}"
                ));
                sleep(Duration::from_millis(100)).await;
            }
            Err(_) => return,
        }
    }
}

/// What this process is told to do.
enum Told {
    Reload,
    Reopen,
    Leave,
    Upgraded,
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
    user1: Signal,
}

impl Signals {
    fn new() -> Option<Self> {
        Some(Self {
            terminate: signal(SignalKind::terminate()).ok()?,
            interrupt: signal(SignalKind::interrupt()).ok()?,
            hangup: signal(SignalKind::hangup()).ok()?,
            user1: signal(SignalKind::user_defined1()).ok()?,
        })
    }

    async fn next(&mut self, upgrades: &mut mpsc::Receiver<()>) -> Told {
        tokio::select! {
            _ = self.terminate.recv() => Told::Leave,
            _ = self.interrupt.recv() => Told::Leave,
            _ = self.hangup.recv() => Told::Reload,
            _ = self.user1.recv() => Told::Reopen,
            Some(()) = upgrades.recv() => Told::Upgraded,
        }
    }

    async fn leave(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

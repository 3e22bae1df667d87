//! The workers: one thread, one runtime, its own sockets and its own connections each.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use async_trait::async_trait;
use pingora_core::server::{ListenFds, ShutdownWatch};
use pingora_core::services::Service;
use plugins::exchange::Scheme;
use resilience::overload::Level;
use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::watch;
use tokio::task::spawn_local;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};
use tokio_rustls::{TlsAcceptor, TlsStream};

use super::driver::{self, Protocol};
use super::listener::Acceptor;
use super::{Gate, Phase, SharedProcess, Started, proxy_protocol};
use crate::client::{Peer, is_trusted};
use crate::connection::Connection;
use crate::limits::Full;
use crate::observe::metrics::ListenerMetrics;
use crate::socket::Socket;
use crate::worker::{Date, Process, Worker};

/// How often a worker sweeps its pools, flushes its log and reads the time of day.
const TICK: Duration = Duration::from_millis(250);
/// For how many ticks after connections came to rest the allocator is called, so that it returns their memory.
const RETURNING: u32 = 16;
/// More than the allocator keeps in a page of small blocks; never touched, so it takes no memory.
const LARGE: usize = 1 << 20;
/// After a failed accept (too many open files), so that it is not tried in a loop.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// How often a draining worker looks whether it is empty.
const DRAIN_TICK: Duration = Duration::from_millis(20);

/// The service that runs the workers.
pub(super) struct Workers {
    pub(super) started: Arc<Started>,
    pub(super) process: SharedProcess,
    pub(super) gates: Arc<[Gate]>,
    pub(super) threads: usize,
    pub(super) phases: watch::Receiver<Phase>,
    pub(super) ended: watch::Sender<bool>,
}

#[async_trait]
impl Service for Workers {
    async fn start_service(&mut self, _: Option<ListenFds>, _: ShutdownWatch, _: usize) {
        let process = match self.started.process(&self.process) {
            Ok(process) => process,
            Err(error) => return self.fail(&error),
        };
        let mut running = Vec::new();
        for index in 0..self.threads {
            let (done, wait) = tokio::sync::oneshot::channel::<()>();
            let (gates, process) = (Arc::clone(&self.gates), Arc::clone(&process));
            let (threads, phases) = (self.threads, self.phases.clone());
            let spawned = thread::Builder::new().name(format!("worker-{index}")).spawn(move || {
                // Dropped at the end, also of a panic.
                let _done = done;
                if let Err(error) = run_worker(index, threads, &gates, process, phases) {
                    say(&format!("worker {index} cannot start: {error}"));
                }
            });
            match spawned {
                Ok(_) => running.push(wait),
                Err(error) => return self.fail(&format!("no thread for a worker: {error}")),
            }
        }
        for wait in running {
            // Nothing is ever sent; the channel closes when the worker ends.
            drop(wait.await);
        }
        if process.log.finish(Duration::from_secs(5))
            == crate::observe::access_log::Finish::TimedOut
        {
            say("the access log could not be written to its end");
        }
        self.ended.send_replace(true);
    }

    fn name(&self) -> &str {
        "workers"
    }

    fn threads(&self) -> Option<usize> {
        Some(1)
    }
}

impl Workers {
    fn fail(&self, error: &str) {
        say(error);
        self.ended.send_replace(true);
    }
}

#[expect(clippy::print_stderr, reason = "there is nobody to return it to")]
fn say(message: &str) {
    eprintln!("{message}");
}

fn run_worker(
    index: usize,
    threads: usize,
    gates: &Arc<[Gate]>,
    process: Arc<Process>,
    phases: watch::Receiver<Phase>,
) -> io::Result<()> {
    let runtime = Builder::new_current_thread().enable_all().build_local(LocalOptions::default())?;
    runtime.block_on(async move {
        let worker = Rc::new(Worker::new(process));
        let mut accepting = Vec::new();
        for (position, gate) in gates.iter().enumerate() {
            for socket in gate.bound.share(index, threads)? {
                let acceptor = Acceptor::new(&gate.bound.address, socket)?;
                let (worker, gates) = (Rc::clone(&worker), Arc::clone(gates));
                accepting.push(spawn_local(accept(worker, acceptor, gates, position)));
            }
        }
        let housekeeping = spawn_local(housekeeping(Rc::clone(&worker)));
        live(&worker, phases, accepting).await;
        housekeeping.abort();
        worker.log.flush();
        Ok(())
    })
}

/// Until the process ends, and everything under way has.
async fn live(
    worker: &Rc<Worker>,
    mut phases: watch::Receiver<Phase>,
    accepting: Vec<tokio::task::JoinHandle<()>>,
) {
    // An error means that the control side is gone: then this ends, too.
    drop(phases.wait_for(|phase| *phase != Phase::Running).await);
    worker.draining.set(true);
    drop(phases.wait_for(|phase| *phase == Phase::Draining).await);
    for task in accepting {
        task.abort();
    }
    worker.drain.notify_waiters();
    let drain = worker.current().config.server.drain.clone();
    let end = Instant::now() + drain.requests.max(drain.upgraded).max(drain.idle);
    while worker.open.get() > 0 && Instant::now() < end {
        sleep(DRAIN_TICK).await;
    }
}

async fn housekeeping(worker: Rc<Worker>) {
    let mut tick = interval(TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut returning = 0;
    loop {
        let due = tick.tick().await;
        let now = Instant::now();
        worker.process.overload.came_back_late(now.saturating_duration_since(due));
        worker.pools.sweep(now);
        worker.date.set(Date::now());
        worker.log.flush_if_older(now);
        // A worker without requests must not keep an old snapshot alive.
        drop(worker.current());
        if worker.rested.take() > 0 {
            returning = RETURNING;
        }
        if returning > 0 {
            returning -= 1;
            return_memory();
        }
    }
}

/// mimalloc gives memory back to the system some time after it was freed, but only when it is asked for something: a
/// worker whose connections all rest asks for nothing.
fn return_memory() {
    drop(std::hint::black_box(Vec::<u8>::with_capacity(LARGE)));
}

async fn accept(worker: Rc<Worker>, acceptor: Acceptor, gates: Arc<[Gate]>, position: usize) {
    let metrics = worker.process.metrics.listener(&gates[position].configured.to_string());
    loop {
        let accepted = match &acceptor {
            Acceptor::Tcp(listener) => listener.accept().await.map(|(stream, peer)| {
                // Without it the last segment of a response waits for an acknowledgement; it only fails on a
                // connection that is gone.
                drop(stream.set_nodelay(true));
                (Socket::Tcp(stream), Some(peer))
            }),
            Acceptor::Unix(listener) => {
                listener.accept().await.map(|(stream, _)| (Socket::Unix(stream), None))
            }
        };
        match accepted {
            Ok((socket, peer)) => {
                let arrival = Arrival {
                    worker: Rc::clone(&worker),
                    gates: Arc::clone(&gates),
                    position,
                    metrics,
                };
                arrival.admit(socket, peer);
            }
            Err(_) => sleep(ACCEPT_PAUSE).await,
        }
    }
}

/// A connection that has just been accepted.
struct Arrival {
    worker: Rc<Worker>,
    gates: Arc<[Gate]>,
    position: usize,
    metrics: &'static ListenerMetrics,
}

/// Counts a worker's connections, for the drain.
struct Open(Rc<Worker>);

impl Open {
    fn new(worker: &Rc<Worker>) -> Self {
        worker.open.set(worker.open.get() + 1);
        Self(Rc::clone(worker))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.set(self.0.open.get() - 1);
        // What it had is free now, and may go back to the system.
        self.0.rested.set(self.0.rested.get() + 1);
    }
}

impl Arrival {
    fn admit(self, socket: Socket, peer: Option<SocketAddr>) {
        let gate = &self.gates[self.position];
        if gate.proxy_protocol || gate.tls.load().is_some() {
            let open = Open::new(&self.worker);
            spawn_local(async move {
                let _open = open;
                self.greet(socket, peer).await;
            });
            return;
        }
        let Some(place) = self.enter(peer) else { return };
        let open = (Open::new(&self.worker), self.metrics.accepted(), place);
        let peer = Peer::new(peer, Scheme::Http);
        let connection = Rc::new(Connection::new(self.worker, peer));
        spawn_local(async move {
            let _open = open;
            driver::serve(socket, connection, Protocol::Unknown).await;
        });
    }

    fn enter(&self, peer: Option<SocketAddr>) -> Option<crate::limits::Place> {
        let process = &self.worker.process;
        if process.overload.level() == Level::RefuseConnections {
            process.metrics.refused(Full::Overload.reason());
            return None;
        }
        let client = peer.map_or(IpAddr::V4(Ipv4Addr::LOCALHOST), |peer| peer.ip().to_canonical());
        let limits = &self.worker.current().config.limits;
        match process.connections.enter(client, limits) {
            Ok(place) => Some(place),
            Err(full) => {
                process.metrics.refused(full.reason());
                None
            }
        }
    }

    /// PROXY protocol and TLS, each within the header timeout; then HTTP.
    async fn greet(self, mut socket: Socket, mut peer: Option<SocketAddr>) {
        let gate = &self.gates[self.position];
        let patience = self.worker.current().config.limits.header_timeout;
        if gate.proxy_protocol {
            let trusted = peer.is_none_or(|peer| {
                is_trusted(peer.ip().to_canonical(), &self.worker.current().config.trusted_proxies)
            });
            match timeout(patience, proxy_protocol::read(&mut socket)).await {
                Ok(Ok(source)) if trusted => peer = source.or(peer),
                Ok(Ok(_) | Err(_)) | Err(_) => {
                    self.worker.process.metrics.refused("proxy-protocol");
                    return;
                }
            }
        }
        let Some(place) = self.enter(peer) else { return };
        let _open = (self.metrics.accepted(), place);
        let Some(tls) = gate.tls.load_full() else {
            let connection = Rc::new(Connection::new(self.worker, Peer::new(peer, Scheme::Http)));
            return driver::serve(socket, connection, Protocol::Unknown).await;
        };
        let Socket::Tcp(stream) = socket else {
            return self.worker.process.metrics.refused("tls-not-over-tcp");
        };
        match timeout(patience, Box::pin(TlsAcceptor::from(tls).accept(stream))).await {
            Ok(Ok(stream)) => {
                let http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
                let protocol = if http2 { Protocol::Http2 } else { Protocol::Unknown };
                let peer = Peer::new(peer, Scheme::Https);
                let connection = Rc::new(Connection::new(self.worker, peer));
                let socket = Socket::Tls(Box::new(TlsStream::Server(stream)));
                driver::serve(socket, connection, protocol).await;
            }
            Ok(Err(_)) => self.worker.process.metrics.refused("tls-handshake"),
            Err(_) => self.worker.process.metrics.refused("tls-timeout"),
        }
    }
}

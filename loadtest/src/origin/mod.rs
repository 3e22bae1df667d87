//! The scripted origin: answers by path and script, echoes WebSockets and gRPC, counts what arrives.

mod answers;
mod cacheable;
mod chance;
mod control;
mod grpc;
mod played;
mod script;
mod websocket;
mod wire;

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::sleep;

use self::chance::Chance;
use self::control::Behaviour;
pub(crate) use self::script::HELP;
use self::wire::{Orders, Wire};
use crate::connection::NONCE;
use crate::failure::Failure;
use crate::nonces::Nonces;

/// What is on the way on one HTTP/2 connection at most, and of one stream before it has to wait.
const STREAMS_MAX: u32 = 1_024;
const WINDOW_BYTES: u32 = 1024 * 1024;

/// What all connections of this thread share.
struct Origin {
    arrived: RefCell<Nonces>,
    requests: Cell<u64>,
    chance: Chance,
    behaviour: watch::Sender<Rc<Behaviour>>,
}

impl Default for Origin {
    fn default() -> Self {
        Self {
            arrived: RefCell::default(),
            requests: Cell::default(),
            chance: Chance::default(),
            behaviour: watch::Sender::new(Rc::default()),
        }
    }
}

impl Origin {
    fn note(&self, nonce: u64) {
        self.arrived.borrow_mut().add(nonce);
    }

    /// Counts the request's nonce, if it has one.
    fn note_request(&self, request: &Request<Incoming>) -> Option<u64> {
        self.requests.set(self.requests.get() + 1);
        let nonce = request.headers().get(NONCE)?.to_str().ok()?.parse().ok()?;
        self.note(nonce);
        Some(nonce)
    }
}

/// Starts an origin beside us, on a free port of the loopback.
pub(crate) async fn start() -> Result<SocketAddr, Failure> {
    let (listener, bound) = free_listener().await?;
    tokio::task::spawn_local(serve(listener, None));
    Ok(bound)
}

/// The same with a control: the origin's address, and the control's.
#[cfg(test)]
pub(crate) async fn start_controlled() -> Result<(SocketAddr, SocketAddr), Failure> {
    let (listener, bound) = free_listener().await?;
    let (control, control_bound) = free_listener().await?;
    tokio::task::spawn_local(serve(listener, Some(control)));
    Ok((bound, control_bound))
}

/// Whether a control would understand it.
#[cfg(test)]
pub(crate) fn is_behaviour(text: &str) -> bool {
    Behaviour::parse(text).is_ok()
}

async fn free_listener() -> Result<(TcpListener, SocketAddr), Failure> {
    let address = SocketAddr::from(([127, 0, 0, 1], 0));
    let failed = |source| Failure::Socket { address, source };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    Ok((listener, bound))
}

/// Serves until it is dropped; at `control` its behaviour is changed.
pub(crate) async fn serve(listener: TcpListener, control: Option<TcpListener>) {
    let origin = Rc::new(Origin::default());
    match control {
        Some(control) => {
            tokio::join!(live(listener, &origin), control::serve(control, origin.clone())).0
        }
        None => live(listener, &origin).await,
    }
}

/// How often a port that somebody else has taken meanwhile is asked for again.
const AGAIN: Duration = Duration::from_millis(10);

/// Listens, but for the times when it is dead.
async fn live(mut listener: TcpListener, origin: &Rc<Origin>) {
    let mut behaviour = origin.behaviour.subscribe();
    let address = listener.local_addr();
    loop {
        tokio::select! {
            () = accept_all(&listener, origin) => {}
            // The sender is the origin's own: it is there as long as we are.
            _ = behaviour.wait_for(|behaviour| behaviour.is_dead()) => {}
        }
        drop(listener);
        behaviour.wait_for(|behaviour| !behaviour.is_dead()).await.ok();
        let Ok(address) = address else { return };
        listener = loop {
            match TcpListener::bind(address).await {
                Ok(listener) => break listener,
                Err(_) => sleep(AGAIN).await,
            }
        };
    }
}

/// Takes connections; dropped with it they all end, as a process' do.
async fn accept_all(listener: &TcpListener, origin: &Rc<Origin>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    connections.spawn_local(connection(stream, origin.clone()));
                }
                // Out of descriptors, mostly: the next client may have more luck.
                Err(_) => tokio::task::yield_now().await,
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

/// HTTP/1.1, or HTTP/2 if that is how the client begins.
async fn connection(stream: TcpStream, origin: Rc<Origin>) {
    stream.set_nodelay(true).ok();
    let orders = Arc::new(Orders::default());
    let wire = TokioIo::new(Wire::new(stream, orders.clone()));
    let service =
        service_fn(move |request| answers::answer(request, origin.clone(), orders.clone()));
    let mut builder = auto::Builder::new(OnThisThread);
    builder.http1().timer(TokioTimer::new());
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_MAX)
        .initial_stream_window_size(WINDOW_BYTES)
        .initial_connection_window_size(4 * WINDOW_BYTES);
    // A client that goes away is no concern of the origin's: the other end counts it.
    builder.serve_connection_with_upgrades(wire, service).await.ok();
}

/// Where the streams of an HTTP/2 connection run.
#[derive(Clone)]
struct OnThisThread;

impl<F: Future + 'static> hyper::rt::Executor<F> for OnThisThread {
    fn execute(&self, future: F) {
        tokio::task::spawn_local(future);
    }
}

#[cfg(test)]
mod tests;

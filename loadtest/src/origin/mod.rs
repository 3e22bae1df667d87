//! The scripted origin: answers by path, echoes WebSockets, counts what arrives.

mod answers;
mod websocket;

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;

use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};

use crate::connection::NONCE;
use crate::failure::Failure;
use crate::nonces::Nonces;

/// What has arrived, shared by all connections of this thread.
#[derive(Clone, Default)]
pub(crate) struct Ledger(Rc<RefCell<Nonces>>);

impl Ledger {
    fn note(&self, nonce: u64) {
        self.0.borrow_mut().add(nonce);
    }

    /// Counts the request's nonce, if it has one.
    fn note_request(&self, request: &Request<Incoming>) -> Option<u64> {
        let nonce =
            request.headers().get(NONCE).and_then(|value| value.to_str().ok()?.parse().ok());
        if let Some(nonce) = nonce {
            self.note(nonce);
        }
        nonce
    }
}

/// Starts an origin beside us, on a free port of the loopback.
pub(crate) async fn start() -> Result<SocketAddr, Failure> {
    let address = SocketAddr::from(([127, 0, 0, 1], 0));
    let failed = |source| Failure::Socket { address, source };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    tokio::task::spawn_local(serve(listener, Ledger::default()));
    Ok(bound)
}

/// Serves until it is dropped.
pub(crate) async fn serve(listener: TcpListener, ledger: Ledger) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                tokio::task::spawn_local(connection(stream, ledger.clone()));
            }
            // Out of descriptors, mostly: the next client may have more luck.
            Err(_) => tokio::task::yield_now().await,
        }
    }
}

async fn connection(stream: TcpStream, ledger: Ledger) {
    stream.set_nodelay(true).ok();
    let service = service_fn(move |request| answers::answer(request, ledger.clone()));
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    // A client that goes away is no concern of the origin's: the other end counts it.
    served.await.ok();
}

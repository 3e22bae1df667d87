//! From the admin socket to an answer: few connections, one request each, all within a deadline.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::Control;
use super::api::Api;
use crate::observe::metrics::Metrics;

/// Connections at once; beyond it new ones are closed. Probes and scrapers need a handful.
const CONNECTIONS_MAX: usize = 64;

/// From the accepted connection to the end of the request's head.
const HEADER_TIMEOUT: Duration = Duration::from_secs(5);

/// From the accepted connection to the last byte of the answer; a reload or a long exposition fits.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(30);

/// Header bytes of a request; hyper's own least.
const HEADER_BYTES_MAX: usize = 8 * 1_024;

/// How long to wait when the system gives no socket (no descriptors left).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Answers on this listener until `stop` becomes true (or its sender is gone), then lets begun requests end.
pub async fn serve(
    listener: std::net::TcpListener,
    control: Arc<dyn Control>,
    metrics: &'static Metrics,
    mut stop: watch::Receiver<bool>,
) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let listener = TcpListener::from_std(listener)?;
    let api = Arc::new(Api::new(control, metrics));
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            biased;
            () = stopped(&mut stop) => break,
            Some(_) = connections.join_next() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) if connections.len() < CONNECTIONS_MAX => {
                    connections.spawn(answer_one(stream, Arc::clone(&api)));
                }
                Ok(_) => {}
                Err(_) => sleep(ACCEPT_PAUSE).await,
            },
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
    Ok(())
}

/// Waits for the word to stop, or for nobody being left to give it.
async fn stopped(stop: &mut watch::Receiver<bool>) {
    stop.wait_for(|stop| *stop).await.ok();
}

/// One request, one answer; then the connection is closed, so that none is held.
async fn answer_one(stream: TcpStream, api: Arc<Api>) {
    let service = service_fn(move |request| {
        let api = Arc::clone(&api);
        async move { Ok::<_, Infallible>(api.answer(request).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_buf_size(HEADER_BYTES_MAX)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service);
    // A client that is slow or gone is nobody's problem but its own: there is nothing to tell and no one to tell it.
    timeout(CONNECTION_TIMEOUT, connection).await.ok();
}

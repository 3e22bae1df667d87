//! The life of the service: open the store, read the keys, listen, serve, finish what was begun, close.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::authentication::Authentication;
use crate::housekeeping::keep_house;
use crate::keys::{KeyError, Keys};
use crate::metrics::Metrics;
use crate::provider::discovery;
use crate::routes::{self, Auth};
use crate::settings::Settings;
use crate::store::{self, Store, StoreError};
use crate::tokens::Mint;
use crate::users::Users;

/// How long requests that were begun may take to end once the service is told to stop.
const DRAIN_TIME_MAX: Duration = Duration::from_secs(10);

/// Opens the store, makes the first signing key if there is none, listens, and serves until [`Running::stop`]. The
/// users service need not be there yet.
pub async fn start(settings: Settings) -> Result<Running, StartError> {
    let every = settings.housekeeping_every;
    if every.is_zero() || every > settings.rotation.publish_ahead / 2 {
        return Err(StartError::Housekeeping);
    }
    if !settings.issuer.is_https() {
        tracing::warn!("the issuer is not https: fit for one machine, not for a network");
    }
    let store = store::open(&settings.database).await?;
    let keys = Keys::open(Arc::clone(&store), settings.rotation, settings.clock.clone()).await?;
    let keys = Arc::new(keys);
    let address = settings.listen;
    let listener = TcpListener::bind(address)
        .await
        .map_err(|source| StartError::Listen { address, source })?;
    let address = listener.local_addr().map_err(|source| StartError::Listen { address, source })?;

    let (stop, stopped) = oneshot::channel::<()>();
    let clock = settings.clock.clone();
    let app = routes::app(Arc::new(auth(settings, &store, &keys)?));
    let task = tokio::spawn(async move {
        let until_stopped = async move { drop(stopped.await) };
        let serving = axum::serve(listener, app).with_graceful_shutdown(until_stopped);
        let served = tokio::select! {
            served = serving.into_future() => served,
            never = keep_house(keys, Arc::clone(&store), clock, every) => match never {},
        };
        store.close().await;
        served
    });
    Ok(Running { address, stop, task })
}

fn auth(settings: Settings, store: &Arc<dyn Store>, keys: &Arc<Keys>) -> Result<Auth, StartError> {
    let Settings {
        listen: _,
        database: _,
        issuer,
        users,
        audience,
        clients,
        lifetimes,
        rotation: _,
        login_limit,
        housekeeping_every: _,
        clock,
    } = settings;
    let registry = Arc::new(clients.unwrap_or_default());
    let users = Users::new(users);
    let mint = Mint {
        keys: Arc::clone(keys),
        issuer: issuer.clone(),
        audience,
        registry: Arc::clone(&registry),
        lifetime: lifetimes.access,
        clock: clock.clone(),
    };
    Ok(Auth {
        authentication: Authentication::new(users, Arc::clone(store), login_limit, clock.clone()),
        store: Arc::clone(store),
        mint,
        registry,
        discovery: discovery::document(&issuer),
        issuer,
        lifetimes,
        clock,
        metrics: Arc::new(Metrics::new()?),
    })
}

/// A service that serves. Dropping it lets the service end by itself when its last request has.
#[derive(Debug)]
pub struct Running {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    task: JoinHandle<Result<(), std::io::Error>>,
}

impl Running {
    /// Where the service listens, with the port it really has.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Resolves when the service ends, which by itself it does only on failure.
    pub async fn ended(&mut self) -> Result<(), StopError> {
        Ok((&mut self.task).await??)
    }

    /// Takes no more connections, lets begun requests finish, closes the store.
    pub async fn stop(self) -> Result<(), StopError> {
        let Self { address: _, stop, mut task } = self;
        // The task waits for the sender to go.
        drop(stop);
        match tokio::time::timeout(DRAIN_TIME_MAX, &mut task).await {
            Ok(ended) => Ok(ended??),
            Err(_) => {
                task.abort();
                Err(StopError::StillBusy)
            }
        }
    }
}

/// Why the service did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The database cannot be opened or its schema cannot be brought up to date.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// There is no key to sign with.
    #[error(transparent)]
    Keys(#[from] KeyError),
    /// Housekeeping without a pause, or too late for what other instances have published.
    #[error(
        "the time between two looks at the keys must be more than zero and at most half of what keys are published ahead"
    )]
    Housekeeping,
    /// Counters cannot be set up.
    #[error("metrics: {0}")]
    Metrics(#[from] prometheus::Error),
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address that was asked for.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
}

/// Why the service ended badly.
#[derive(Debug, thiserror::Error)]
pub enum StopError {
    /// The listening socket failed.
    #[error("serving failed: {0}")]
    Serve(#[from] std::io::Error),
    /// The serving task panicked.
    #[error("serving ended: {0}")]
    Task(#[from] tokio::task::JoinError),
    /// Signals cannot be watched.
    #[error("cannot wait for signals: {0}")]
    Signal(#[source] std::io::Error),
    /// Requests were still running when the time to finish them was over.
    #[error("requests were still running after {} s", DRAIN_TIME_MAX.as_secs())]
    StillBusy,
}

//! The life of the service: open the store, listen, serve, finish what was begun, close.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::password::Hasher;
use crate::routes::{self, Users};
use crate::settings::{Database, Settings};
use crate::store::{SqliteStore, Store, StoreError};

/// How long requests that were begun may take to end once the service is told to stop.
const DRAIN_TIME_MAX: Duration = Duration::from_secs(10);

/// Opens the store, listens, and serves until [`Running::stop`].
pub async fn start(settings: Settings) -> Result<Running, StartError> {
    let Settings { address, database, hash_cost } = settings;
    let hasher = Hasher::new(hash_cost)?;
    let store: Arc<dyn Store> = match database {
        Database::Sqlite(file) => Arc::new(SqliteStore::open(&file).await?),
    };
    let listener = TcpListener::bind(address)
        .await
        .map_err(|source| StartError::Listen { address, source })?;
    let address = listener.local_addr().map_err(|source| StartError::Listen { address, source })?;

    let (stop, stopped) = oneshot::channel::<()>();
    let app = routes::app(Users { store: Arc::clone(&store), hasher: Arc::new(hasher) });
    let task = tokio::spawn(async move {
        let until_stopped = async move { drop(stopped.await) };
        let served = axum::serve(listener, app).with_graceful_shutdown(until_stopped).await;
        store.close().await;
        served
    });
    Ok(Running { address, stop, task })
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
    /// The cost of a password hash is not one that argon2 takes.
    #[error("password hashing: {0}")]
    HashCost(#[from] argon2::Error),
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

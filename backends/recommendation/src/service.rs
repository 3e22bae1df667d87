//! The life of the service: open the store, listen, serve, finish what was begun, close.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::broker::{self, Broker, Listener};
use crate::inbox::{self, Worker};
use crate::metrics::Metrics;
use crate::relate::Relater;
use crate::routes::{self, Recommendation};
use crate::settings::{Database, Events, Settings};
use crate::store::{PostgresStore, SqliteStore, Store, StoreError};
use crate::users::Users;

/// How long what was begun may take to end once the service is told to stop.
const DRAIN_TIME_MAX: Duration = Duration::from_secs(10);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Opens the store, listens, and serves until [`Running::stop`].
pub async fn start(settings: Settings) -> Result<Running, StartError> {
    let Settings { listen, database, events, users, users_timeout_ms, remember_days } = settings;
    let store: Arc<dyn Store> = match database {
        Database::Sqlite(file) => Arc::new(SqliteStore::open(&file).await?),
        Database::Postgres(url) => Arc::new(PostgresStore::open(&url).await?),
    };
    let cannot = |source| StartError::Listen { address: listen, source };
    let listener = TcpListener::bind(listen).await.map_err(cannot)?;
    let address = listener.local_addr().map_err(cannot)?;

    let metrics = Arc::new(Metrics::new()?);
    let users = Users::at(users, Duration::from_millis(users_timeout_ms));
    let (store_of_relater, metrics_of_relater) = (Arc::clone(&store), Arc::clone(&metrics));
    let relater =
        Relater { users: users.clone(), store: store_of_relater, metrics: metrics_of_relater };
    let broker = match events {
        Events::Http => None,
        Events::Amqp(url) => Some(Broker::at(url)),
    };
    let (doorbell, worker) = inbox::work(relater.clone(), DAY * remember_days);
    let deliveries = broker.clone().map(|broker| broker::listen(broker, relater));
    let (stop, stopped) = oneshot::channel::<()>();
    let closing = Closing { worker, deliveries, store: Arc::clone(&store) };
    let app = routes::app(Recommendation { store, users, broker, doorbell, metrics });
    let task = tokio::spawn(async move {
        let until_stopped = async move { drop(stopped.await) };
        let served = axum::serve(listener, app).with_graceful_shutdown(until_stopped).await;
        closing.close().await;
        served
    });
    Ok(Running { address, stop, task })
}

/// What ends after the last request has.
struct Closing {
    worker: Worker,
    deliveries: Option<Listener>,
    store: Arc<dyn Store>,
}

impl Closing {
    async fn close(self) {
        let Self { worker, deliveries, store } = self;
        if let Some(deliveries) = deliveries {
            deliveries.stop().await;
        }
        worker.stop().await;
        store.close().await;
    }
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

    /// Takes no more connections and events, finishes and acknowledges what was begun, closes the store.
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
    /// The metrics cannot be set up.
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

//! The life of an instance: open both stores, bring the read side up to date, serve, finish what was begun, close.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::event_log::{EventLog, LogError, SqliteEventLog};
use crate::latest::{Latest, LatestError, SqliteLatest};
use crate::projector::{self, ProjectionError, Projector};
use crate::routes::{self, News};
use crate::settings::{Database, ReadSide, Settings};

/// How long requests that were begun may take to end once the service is told to stop.
const DRAIN_TIME_MAX: Duration = Duration::from_secs(10);

/// Opens the stores, brings the read side up to date, listens, and serves until [`Running::stop`].
pub async fn start(settings: Settings) -> Result<Running, StartError> {
    let Settings { theme, address, event_log, latest, read_side } = settings;
    let log: Arc<dyn EventLog> = match event_log {
        Database::Sqlite(file) => Arc::new(SqliteEventLog::open(&file).await?),
    };
    let latest: Arc<dyn Latest> = match latest {
        Database::Sqlite(file) => Arc::new(SqliteLatest::open(&file).await?),
    };
    let listener = TcpListener::bind(address)
        .await
        .map_err(|source| StartError::Listen { address, source })?;
    let address = listener.local_addr().map_err(|source| StartError::Listen { address, source })?;

    let projector = Projector { log: Arc::clone(&log), latest: Arc::clone(&latest) };
    if read_side == ReadSide::Rebuild || projector.is_ahead().await? {
        tracing::info!(theme = theme.as_str(), "rebuilding the read side");
        projector.latest.clear().await?;
    }
    let position = projector.catch_up().await?;
    let (feed, follower) = projector::follow(projector, position);

    let (stop, stopped) = oneshot::channel::<()>();
    let app = routes::app(News {
        theme: Arc::new(theme),
        log: Arc::clone(&log),
        latest: Arc::clone(&latest),
        feed,
    });
    let task = tokio::spawn(async move {
        let until_stopped = async move { drop(stopped.await) };
        let served = axum::serve(listener, app).with_graceful_shutdown(until_stopped).await;
        follower.stop().await;
        latest.close().await;
        log.close().await;
        served
    });
    Ok(Running { address, stop, task })
}

/// An instance that serves. Dropping it lets the instance end by itself when its last request has.
#[derive(Debug)]
pub struct Running {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    task: JoinHandle<Result<(), std::io::Error>>,
}

impl Running {
    /// Where the instance listens, with the port it really has.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Resolves when the instance ends, which by itself it does only on failure.
    pub async fn ended(&mut self) -> Result<(), StopError> {
        Ok((&mut self.task).await??)
    }

    /// Takes no more connections, lets begun requests finish, closes the stores.
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

/// Why an instance did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The event log cannot be used.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The read side cannot be used.
    #[error(transparent)]
    Latest(#[from] LatestError),
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address that was asked for.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
}

impl From<ProjectionError> for StartError {
    fn from(error: ProjectionError) -> Self {
        match error {
            ProjectionError::Log(error) => Self::Log(error),
            ProjectionError::Latest(error) => Self::Latest(error),
        }
    }
}

/// Why an instance ended badly.
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

//! The life of an instance: open both stores, bring the read side up to date, serve, finish what was begun, close.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::{Notify, oneshot, watch};
use tokio::task::{JoinHandle, JoinSet};

use crate::broker::{self, Broker, Outbox, Subscription};
use crate::event_log::{EventLog, LogError, PostgresEventLog, SqliteEventLog};
use crate::latest::{Latest, LatestError, PostgresLatest, SqliteLatest};
use crate::metrics::Metrics;
use crate::projector::{self, Feed, ProjectionError, Projector};
use crate::routes::{self, News};
use crate::settings::{Database, Events, Settings};

/// How long requests that were begun may take to end once the service is told to stop.
const DRAIN_TIME_MAX: Duration = Duration::from_secs(10);

/// Opens the stores, brings the read side up to date, listens, and serves until [`Running::stop`]; events stay in the
/// process.
pub async fn start(settings: Settings) -> Result<Running, StartError> {
    start_with(settings, Events::InProcess).await
}

/// As [`start`], with events going over a broker if `events` says so.
pub async fn start_with(settings: Settings, events: Events) -> Result<Running, StartError> {
    let Settings { theme, address, event_log, latest, read_side } = settings;
    let log = open_log(event_log).await?;
    let latest = open_latest(latest).await?;
    let cannot = |source| StartError::Listen { address, source };
    let listener = TcpListener::bind(address).await.map_err(cannot)?;
    let address = listener.local_addr().map_err(cannot)?;

    let projector = Arc::new(Projector::new(Arc::clone(&log), Arc::clone(&latest)));
    projector.prepare(read_side).await?;
    let broker = match events {
        Events::InProcess => None,
        Events::Amqp(url) => Some(Broker::new(url, &theme)),
    };
    let appended = Arc::new(Notify::new());
    let feed = Feed::new(&projector, Arc::clone(&appended));
    let news = News {
        theme: Arc::new(theme),
        log,
        latest,
        projector,
        feed,
        broker,
        metrics: Arc::new(Metrics::new()?),
    };
    let followers = Followers::start(&news, appended);
    let (stop, stopped) = oneshot::channel::<()>();
    let task = tokio::spawn(async move {
        let (log, latest) = (Arc::clone(&news.log), Arc::clone(&news.latest));
        let until_stopped = async move { drop(stopped.await) };
        let app = routes::app(news);
        let served = axum::serve(listener, app).with_graceful_shutdown(until_stopped).await;
        followers.stop().await;
        latest.close().await;
        log.close().await;
        served
    });
    Ok(Running { address, stop, task })
}

async fn open_log(database: Database) -> Result<Arc<dyn EventLog>, LogError> {
    Ok(match database {
        Database::Sqlite(file) => Arc::new(SqliteEventLog::open(&file).await?),
        Database::Postgres(url) => Arc::new(PostgresEventLog::open(&url).await?),
    })
}

async fn open_latest(database: Database) -> Result<Arc<dyn Latest>, LatestError> {
    Ok(match database {
        Database::Sqlite(file) => Arc::new(SqliteLatest::open(&file).await?),
        Database::Postgres(url) => Arc::new(PostgresLatest::open(&url).await?),
    })
}

/// The tasks that bring events from one side to the other.
struct Followers {
    stop: watch::Sender<bool>,
    tasks: JoinSet<()>,
}

impl Followers {
    fn start(news: &News, appended: Arc<Notify>) -> Self {
        let (stop, stopped) = watch::channel(false);
        let mut tasks = JoinSet::new();
        let projector = Arc::clone(&news.projector);
        match &news.broker {
            None => {
                tasks.spawn(projector::follow(projector, appended, stopped));
            }
            Some(broker) => {
                let log = Arc::clone(&news.log);
                let outbox = Outbox { broker: broker.clone(), log, appended };
                let subscription = Subscription { broker: broker.clone(), projector };
                tasks.spawn(broker::keep(outbox, stopped.clone()));
                tasks.spawn(broker::keep(subscription, stopped));
            }
        }
        Self { stop, tasks }
    }

    /// Lets them finish what they began. The rest is taken in at the next start.
    async fn stop(self) {
        let Self { stop, mut tasks } = self;
        stop.send_replace(true);
        while tasks.join_next().await.is_some() {}
    }
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

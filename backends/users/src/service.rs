//! The life of the service: open the stores, listen, serve, finish what was begun, close.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use tokio::net::TcpListener;
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::accounts::Accounts;
use crate::database::{self, DatabaseError};
use crate::index;
use crate::intake::{self, IntakeError};
use crate::metrics::Metrics;
use crate::password::Hasher;
use crate::settings::Configuration;
use crate::worker::{WorkError, Worker};
use crate::{grpc, routes};

/// How long requests that were begun and jobs that are queued may take to end once the service is told to stop.
const DRAIN_TIME_MAX: Duration = Duration::from_secs(10);
/// How much of that the jobs may have. What is left stays in the queue for the next start.
const JOBS_TIME_MAX: Duration = Duration::from_secs(4);

/// Opens the stores, listens, and serves until [`Running::stop`]. Takes [`crate::Settings`] too.
pub async fn start(configuration: impl Into<Configuration>) -> Result<Running, StartError> {
    let configuration = configuration.into();
    let metrics = Arc::new(Metrics::new()?);
    let hasher = Hasher::new(configuration.hash_cost)?;
    let database = database::open(&configuration.database).await?;
    let intake = intake::open(&configuration).await?;
    let bell = Arc::new(Notify::new());
    let worker = Arc::new(Worker { database, intake, metrics, bell });
    index::complete(&worker).await?;
    let accounts = Arc::new(Accounts { worker: Arc::clone(&worker), hasher });

    let (listener, address) = listen(configuration.listen).await?;
    let (grpc_listener, grpc_address) = listen(configuration.grpc_listen).await?;
    let (stop, stopped) = watch::channel(());
    let http = serve(listener, routes::app(Arc::clone(&accounts)), stopped.clone());
    let grpc = serve(grpc_listener, grpc::app(accounts), stopped.clone());
    let task = tokio::spawn(async move {
        let (served, ()) =
            tokio::join!(async { tokio::try_join!(http, grpc) }, worker.run(stopped));
        finish(&worker).await;
        served.map(|((), ())| ())
    });
    Ok(Running { address, grpc_address, stop, task })
}

async fn listen(address: SocketAddr) -> Result<(TcpListener, SocketAddr), StartError> {
    let failed = |source| StartError::Listen { address, source };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    Ok((listener, address))
}

async fn serve(
    listener: TcpListener,
    app: Router,
    mut stopped: watch::Receiver<()>,
) -> Result<(), std::io::Error> {
    // The sender is dropped to stop; nothing is ever sent.
    let until_stopped = async move { drop(stopped.changed().await) };
    axum::serve(listener, app).with_graceful_shutdown(until_stopped).await
}

/// Brings the last jobs to the database and lets go of everything.
async fn finish(worker: &Worker) {
    let left = match timeout(JOBS_TIME_MAX, worker.drain()).await {
        Ok(Ok(())) => None,
        Ok(Err(error)) => Some(error.to_string()),
        Err(elapsed) => Some(elapsed.to_string()),
    };
    if let Some(reason) = left {
        tracing::warn!(reason, "jobs stay in the queue for the next start");
    }
    worker.intake.close().await;
    worker.database.close().await;
}

/// A service that serves. Dropping it lets the service end by itself when its last request has.
#[derive(Debug)]
pub struct Running {
    address: SocketAddr,
    grpc_address: SocketAddr,
    stop: watch::Sender<()>,
    task: JoinHandle<Result<(), std::io::Error>>,
}

impl Running {
    /// Where the service listens for HTTP, with the port it really has.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where the service listens for gRPC, with the port it really has.
    pub fn grpc_address(&self) -> SocketAddr {
        self.grpc_address
    }

    /// Resolves when the service ends, which by itself it does only on failure.
    pub async fn ended(&mut self) -> Result<(), StopError> {
        Ok((&mut self.task).await??)
    }

    /// Takes no more connections, lets begun requests finish, brings queued jobs to the database, closes the stores.
    pub async fn stop(self) -> Result<(), StopError> {
        let Self { address: _, grpc_address: _, stop, mut task } = self;
        // The task waits for the sender to go.
        drop(stop);
        match timeout(DRAIN_TIME_MAX, &mut task).await {
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
    Database(#[from] DatabaseError),
    /// Cache and queue cannot be opened or reached.
    #[error(transparent)]
    Intake(#[from] IntakeError),
    /// The queue's index of emails cannot be filled from the database.
    #[error("cannot fill the index of emails: {0}")]
    Index(#[from] WorkError),
    /// The cost of a password hash is not one that argon2 takes.
    #[error("password hashing: {0}")]
    HashCost(#[from] argon2::Error),
    /// A metric is described wrongly.
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

//! Events over RabbitMQ: the `outbox` publishes what is in the log, the `subscription` has it taken into the read side.
//!
//! Exchange `portal.events` (topic, durable), key `news.appended.THEME` → queue `news.THEME.latest` (durable, one active
//! consumer, so that events stay in order when several instances wait). A message is an event as JSON. There is no dead
//! letter: what cannot be read is still in the log, and is taken from there.

mod connection;
mod outbox;
mod subscription;

use async_trait::async_trait;
use tokio::sync::watch;

pub(crate) use connection::Broker;
pub(crate) use outbox::Outbox;
pub(crate) use subscription::Subscription;

use crate::event_log::LogError;
use crate::projector::{ProjectionError, RETRY_AFTER};

/// The time of one connection to the broker, and what is done in it.
#[async_trait]
pub(crate) trait Session: Send + Sync {
    /// Returns `Ok` when `stopped` says so, after finishing what was begun.
    async fn run(&self, stopped: &mut watch::Receiver<bool>) -> Result<(), SessionError>;
}

/// Begins a session again whenever it broke, until `stopped`.
pub(crate) async fn keep(session: impl Session, mut stopped: watch::Receiver<bool>) {
    while let Err(error) = session.run(&mut stopped).await {
        tracing::error!(%error, "the broker or a store is away");
        tokio::select! {
            () = tokio::time::sleep(RETRY_AFTER) => {}
            _ = stopped.wait_for(|stopped| *stopped) => return,
        }
    }
}

/// Why a session broke.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SessionError {
    #[error(transparent)]
    Broker(#[from] BrokerError),
    #[error(transparent)]
    Log(#[from] LogError),
    #[error(transparent)]
    Projection(#[from] ProjectionError),
    #[error("event as JSON: {0}")]
    Json(#[from] serde_json::Error),
}

impl From<lapin::Error> for SessionError {
    fn from(error: lapin::Error) -> Self {
        Self::Broker(error.into())
    }
}

/// Why the broker did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BrokerError {
    #[error("broker: {0}")]
    Amqp(#[from] lapin::Error),
    #[error("broker: an event was not confirmed")]
    NotConfirmed,
    #[error("broker: deliveries ended")]
    Ended,
    #[error("broker: no answer in time")]
    TooSlow,
}

//! The events that come over RabbitMQ: each is acknowledged after it is counted, or after it is with the dead letters.
//!
//! Exchange `portal.events` (topic, durable), key `news.viewed` → queue `recommendation.viewed` (durable). Dead letters
//! go to the durable queue `recommendation.viewed.dead`, with the reason in the header `reason`.

mod connection;
mod dead_letters;
mod delivery;
mod listener;

pub(crate) use connection::Broker;
pub(crate) use listener::{Listener, listen};

pub(crate) const EXCHANGE: &str = "portal.events";
pub(crate) const KEY: &str = "news.viewed";
pub(crate) const QUEUE: &str = "recommendation.viewed";
pub(crate) const DEAD_QUEUE: &str = "recommendation.viewed.dead";
/// The header of a dead letter that says why it is one.
pub(crate) const REASON: &str = "reason";

/// Why the broker did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum BrokerError {
    /// There is no connection, or it broke, or the broker refused.
    #[error("broker: {0}")]
    Amqp(#[from] lapin::Error),
    /// The broker took a message and did not say that it keeps it.
    #[error("broker: a message was not confirmed")]
    NotConfirmed,
    /// The broker ended the deliveries.
    #[error("broker: deliveries ended")]
    Ended,
    /// The broker is silent.
    #[error("broker: no answer in time")]
    TooSlow,
}

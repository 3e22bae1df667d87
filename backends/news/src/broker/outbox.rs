//! Publishes what is in the log, in order, and remembers how far the broker has it.
//!
//! An event that was appended is published even if the process ended in between: the log is read, not a list of what is
//! still to be sent. Between the broker's confirmation and the note of it a failure makes an event go out twice.

use std::sync::Arc;

use async_trait::async_trait;
use lapin::options::BasicPublishOptions;
use lapin::{BasicProperties, PublisherConfirm};
use tokio::sync::{Notify, watch};

use crate::broker::connection::{ANSWER_TIME_MAX, EXCHANGE, Link};
use crate::broker::{Broker, BrokerError, Session, SessionError};
use crate::event_log::{Event, EventLog};
use crate::latest::BATCH_EVENTS_MAX;
use crate::projector::LOOK_EVERY;

/// AMQP's number for a message that outlives the broker.
const PERSISTENT: u8 = 2;

/// The publishing end.
pub(crate) struct Outbox {
    pub(crate) broker: Broker,
    pub(crate) log: Arc<dyn EventLog>,
    /// Wakes the outbox when something was appended.
    pub(crate) appended: Arc<Notify>,
}

#[async_trait]
impl Session for Outbox {
    async fn run(&self, stopped: &mut watch::Receiver<bool>) -> Result<(), SessionError> {
        let link = self.broker.connect().await?;
        tracing::info!(key = self.broker.key, "publishing");
        while !*stopped.borrow() {
            if self.publish_next(&link).await? == Left::More {
                continue;
            }
            tokio::select! {
                () = self.appended.notified() => {}
                () = tokio::time::sleep(LOOK_EVERY) => {}
                _ = stopped.changed() => {}
            }
        }
        // What was appended last; the rest of a long queue waits for the next start.
        self.publish_next(&link).await?;
        link.close().await;
        Ok(())
    }
}

/// Whether there may be more in the log.
#[derive(PartialEq, Eq)]
enum Left {
    More,
    Nothing,
}

impl Outbox {
    async fn publish_next(&self, link: &Link) -> Result<Left, SessionError> {
        let published = self.log.published().await?;
        let events = self.log.after(published, BATCH_EVENTS_MAX).await?;
        let Some(last) = events.last() else { return Ok(Left::Nothing) };
        let mut confirms = Vec::with_capacity(events.len());
        for event in &events {
            confirms.push(self.send(link, event).await?);
        }
        for confirm in confirms {
            confirmed(confirm).await?;
        }
        self.log.set_published(last.sequence).await?;
        Ok(Left::More)
    }

    async fn send(&self, link: &Link, event: &Event) -> Result<PublisherConfirm, SessionError> {
        let id = format!("{}.{}", self.broker.key, event.sequence);
        let mut properties = BasicProperties::default()
            .with_delivery_mode(PERSISTENT)
            .with_content_type("application/json".into())
            .with_message_id(id.into());
        if let Some(correlation_id) = &event.correlation_id {
            properties = properties.with_correlation_id(correlation_id.as_str().into());
        }
        let body = serde_json::to_vec(event)?;
        let key = self.broker.key.as_str().into();
        let options = BasicPublishOptions { mandatory: true, ..Default::default() };
        let sent = link.channel.basic_publish(EXCHANGE.into(), key, options, &body, properties);
        Ok(sent.await?)
    }
}

async fn confirmed(confirm: PublisherConfirm) -> Result<(), BrokerError> {
    let confirmation = tokio::time::timeout(ANSWER_TIME_MAX, confirm)
        .await
        .map_err(|_| BrokerError::TooSlow)??;
    // A message that came back found no queue: declared again at the next connection.
    if confirmation.is_ack() && confirmation.take_message().is_none() {
        Ok(())
    } else {
        Err(BrokerError::NotConfirmed)
    }
}

//! Publishes what is in the log, in order, and remembers how far the broker has it.
//!
//! An event that was appended is published even if the process ended in between: the log is read, not a list of what is
//! still to be sent. Between the broker's confirmation and the note of it a failure makes an event go out twice.

use std::sync::Arc;

use async_trait::async_trait;
use futures_util::stream::FuturesOrdered;
use futures_util::{FutureExt, StreamExt};
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

/// Events that are sent and not confirmed: the broker confirms when its disk has them, which it does not ask to do for
/// each alone.
const UNCONFIRMED_MAX: usize = 500;

#[async_trait]
impl Session for Outbox {
    async fn run(&self, stopped: &mut watch::Receiver<bool>) -> Result<(), SessionError> {
        let link = self.broker.connect().await?;
        tracing::info!(key = self.broker.key, "publishing");
        let mut sent = self.log.published().await?;
        let mut unconfirmed = FuturesOrdered::new();
        while !*stopped.borrow() {
            while unconfirmed.len() < UNCONFIRMED_MAX {
                let events = self.log.after(sent, BATCH_EVENTS_MAX).await?;
                let Some(last) = events.last() else { break };
                sent = last.sequence;
                for event in &events {
                    unconfirmed
                        .push_back(confirmed(event.sequence, self.send(&link, event).await?));
                }
            }
            tokio::select! {
                Some(first) = unconfirmed.next() => self.note(first?, &mut unconfirmed).await?,
                () = self.appended.notified() => {}
                () = tokio::time::sleep(LOOK_EVERY) => {}
                _ = stopped.changed() => {}
            }
        }
        // What was appended after the last look is published at the next start.
        while let Some(first) = unconfirmed.next().await {
            self.note(first?, &mut unconfirmed).await?;
        }
        link.close().await;
        Ok(())
    }
}

impl Outbox {
    /// Notes that the broker has the event `first`, and all that are confirmed after it by now.
    async fn note<F>(
        &self,
        first: i64,
        unconfirmed: &mut FuturesOrdered<F>,
    ) -> Result<(), SessionError>
    where
        F: Future<Output = Result<i64, BrokerError>> + Send,
    {
        let mut last = first;
        while let Some(Some(next)) = unconfirmed.next().now_or_never() {
            last = next?;
        }
        Ok(self.log.set_published(last).await?)
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

/// The event's sequence, once the broker has it on disk.
async fn confirmed(sequence: i64, confirm: PublisherConfirm) -> Result<i64, BrokerError> {
    let confirmation = tokio::time::timeout(ANSWER_TIME_MAX, confirm)
        .await
        .map_err(|_| BrokerError::TooSlow)??;
    // A message that came back found no queue: declared again at the next connection.
    if confirmation.is_ack() && confirmation.take_message().is_none() {
        Ok(sequence)
    } else {
        Err(BrokerError::NotConfirmed)
    }
}

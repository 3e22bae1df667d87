//! Has the events that the broker delivers taken into the read side, and acknowledges them when that is committed.

use std::sync::Arc;

use async_trait::async_trait;
use futures_util::{FutureExt, StreamExt};
use lapin::message::Delivery;
use lapin::options::{BasicAckOptions, BasicCancelOptions, BasicConsumeOptions, BasicQosOptions};
use lapin::types::FieldTable;
use lapin::{Channel, Consumer};
use tokio::sync::watch;

use crate::broker::connection::Link;
use crate::broker::{Broker, BrokerError, Session, SessionError};
use crate::event_log::Event;
use crate::projector::Projector;

/// Events that are delivered and not acknowledged; one batch.
const UNACKNOWLEDGED_MAX: u16 = 50;

/// The receiving end.
pub(crate) struct Subscription {
    pub(crate) broker: Broker,
    pub(crate) projector: Arc<Projector>,
}

#[async_trait]
impl Session for Subscription {
    async fn run(&self, stopped: &mut watch::Receiver<bool>) -> Result<(), SessionError> {
        let link = self.broker.connect().await?;
        let taken = self.take(&link, stopped).await;
        link.close().await;
        taken
    }
}

impl Subscription {
    async fn take(
        &self,
        link: &Link,
        stopped: &mut watch::Receiver<bool>,
    ) -> Result<(), SessionError> {
        let mut consumer = self.consume(&link.channel).await?;
        // A broker that lost its disk tells nothing of what it lost.
        self.projector.catch_up().await?;
        while !*stopped.borrow() {
            tokio::select! {
                _ = stopped.changed() => {}
                first = consumer.next() => {
                    let deliveries = batch(first, &mut consumer)?;
                    self.settle(&deliveries).await?;
                }
            }
        }
        link.channel.basic_cancel(consumer.tag(), BasicCancelOptions::default()).await?;
        Ok(())
    }

    async fn consume(&self, channel: &Channel) -> Result<Consumer, BrokerError> {
        let Broker { queue, .. } = &self.broker;
        channel.basic_qos(UNACKNOWLEDGED_MAX, BasicQosOptions::default()).await?;
        let (options, table) = (BasicConsumeOptions::default(), FieldTable::default());
        let queue_name = queue.as_str().into();
        let consumer = channel.basic_consume(queue_name, "".into(), options, table).await?;
        tracing::info!(queue, "listening");
        Ok(consumer)
    }

    /// Deliveries are acknowledged all or none: their events went into one transaction.
    async fn settle(&self, deliveries: &[Delivery]) -> Result<(), SessionError> {
        let read = |delivery: &Delivery| serde_json::from_slice(&delivery.data);
        let events: Result<Vec<Event>, serde_json::Error> = deliveries.iter().map(read).collect();
        match events {
            Ok(events) => self.projector.take(&events).await?,
            Err(error) => {
                tracing::error!(%error, "a message is no event; the log has what it should have told");
                self.projector.catch_up().await?;
            }
        }
        if let Some(last) = deliveries.last() {
            last.ack(BasicAckOptions { multiple: true }).await?;
        }
        Ok(())
    }
}

/// What has arrived by now, beginning with `first`.
fn batch(
    first: Option<Result<Delivery, lapin::Error>>,
    consumer: &mut Consumer,
) -> Result<Vec<Delivery>, BrokerError> {
    let mut deliveries = vec![first.ok_or(BrokerError::Ended)??];
    while deliveries.len() < usize::from(UNACKNOWLEDGED_MAX) {
        let Some(next) = consumer.next().now_or_never() else { break };
        deliveries.push(next.ok_or(BrokerError::Ended)??);
    }
    Ok(deliveries)
}

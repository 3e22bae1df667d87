//! A publisher, and a look into the queues.

use lapin::options::{
    BasicPublishOptions, ConfirmSelectOptions, ExchangeDeclareOptions, QueueDeclareOptions,
    QueuePurgeOptions,
};
use lapin::types::FieldTable;
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties, ExchangeKind};

use crate::rig::eventually;

const EXCHANGE: &str = "portal.events";
const KEY: &str = "news.viewed";
const QUEUE: &str = "recommendation.viewed";
const DEAD_QUEUE: &str = "recommendation.viewed.dead";

/// Where the broker is.
#[derive(Clone)]
pub(crate) struct Broker {
    url: String,
}

/// An open connection of a publisher.
pub(crate) struct Publisher {
    _connection: Connection,
    channel: Channel,
}

/// What is in a queue.
pub(crate) struct Queue {
    pub(crate) messages: u32,
    pub(crate) consumers: u32,
}

impl Broker {
    pub(crate) fn at(url: &str) -> Self {
        Self { url: url.to_owned() }
    }

    pub(crate) async fn publisher(&self) -> Result<Publisher, lapin::Error> {
        let properties = ConnectionProperties::default();
        let connection = Connection::connect(&self.url, properties).await?;
        let channel = connection.create_channel().await?;
        let exchange = ExchangeDeclareOptions { durable: true, ..Default::default() };
        let table = FieldTable::default();
        channel.exchange_declare(EXCHANGE.into(), ExchangeKind::Topic, exchange, table).await?;
        channel.confirm_select(ConfirmSelectOptions::default()).await?;
        Ok(Publisher { _connection: connection, channel })
    }

    /// Publishes with a connection of its own.
    pub(crate) async fn publish(&self, body: &[u8], correlation_id: &str) {
        self.publisher().await.unwrap().publish(body, correlation_id).await.unwrap();
    }

    /// The queue for events, and that for dead letters.
    pub(crate) async fn queues(&self) -> [Queue; 2] {
        let publisher = self.publisher().await.unwrap();
        [publisher.queue(QUEUE).await, publisher.queue(DEAD_QUEUE).await]
    }

    /// Waits until no service listens any more, and empties the queues.
    pub(crate) async fn forget_all(&self) {
        eventually("nobody listens", async || self.queues().await[0].consumers == 0).await;
        let publisher = self.publisher().await.unwrap();
        for queue in [QUEUE, DEAD_QUEUE] {
            let options = QueuePurgeOptions::default();
            publisher.channel.queue_purge(queue.into(), options).await.unwrap();
        }
    }
}

impl Publisher {
    /// Returns when the broker has the message on disk and in a queue.
    pub(crate) async fn publish(&self, body: &[u8], correlation_id: &str) -> Result<(), NotKept> {
        let properties = BasicProperties::default()
            .with_delivery_mode(2)
            .with_correlation_id(correlation_id.into());
        let options = BasicPublishOptions { mandatory: true, ..Default::default() };
        let (exchange, key) = (EXCHANGE.into(), KEY.into());
        let sent = self.channel.basic_publish(exchange, key, options, body, properties).await;
        let confirmed = sent.map_err(|_| NotKept)?.await.map_err(|_| NotKept)?;
        let kept = confirmed.is_ack() && confirmed.take_message().is_none();
        if kept { Ok(()) } else { Err(NotKept) }
    }

    async fn queue(&self, name: &str) -> Queue {
        let options = QueueDeclareOptions::durable();
        let queue = self.channel.queue_declare(name.into(), options, FieldTable::default());
        let queue = queue.await.unwrap();
        Queue { messages: queue.message_count(), consumers: queue.consumer_count() }
    }
}

/// The broker may or may not have the message.
#[derive(Debug)]
pub(crate) struct NotKept;

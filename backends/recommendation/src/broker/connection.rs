//! A connection to the broker with everything declared on it that the service speaks to.

use std::time::Duration;

use lapin::options::{
    BasicPublishOptions, ConfirmSelectOptions, ExchangeDeclareOptions, QueueBindOptions,
    QueueDeclareOptions,
};
use lapin::types::FieldTable;
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties, ExchangeKind};

use crate::broker::{BrokerError, DEAD_QUEUE, EXCHANGE, KEY, QUEUE};
use crate::settings::AmqpUrl;

/// How long the broker may take to connect, to declare, or to confirm.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(5);
/// AMQP's number for a message that outlives the broker.
pub(super) const PERSISTENT: u8 = 2;
/// AMQP's number for an orderly goodbye.
const GOODBYE: u16 = 200;

/// Where the broker is.
#[derive(Clone)]
pub(crate) struct Broker {
    url: AmqpUrl,
}

impl Broker {
    pub(crate) fn at(url: AmqpUrl) -> Self {
        Self { url }
    }

    /// Connects and declares; declaring again what is there changes nothing.
    pub(super) async fn connect(&self) -> Result<Link, BrokerError> {
        let connecting = async {
            let properties =
                ConnectionProperties::default().with_connection_name("recommendation".into());
            let connection = Connection::connect(self.url.dangerous_text(), properties).await?;
            let channel = connection.create_channel().await?;
            declare(&channel).await?;
            Ok(Link { connection, channel })
        };
        tokio::time::timeout(ANSWER_TIME_MAX, connecting).await.map_err(|_| BrokerError::TooSlow)?
    }

    /// Whether the broker answers and has the queue.
    pub(crate) async fn probe(&self) -> Result<(), BrokerError> {
        self.connect().await?.close().await;
        Ok(())
    }
}

/// A connection, and the one channel that is used of it.
pub(super) struct Link {
    connection: Connection,
    pub(super) channel: Channel,
}

impl Link {
    /// Says goodbye; what was not acknowledged the broker delivers again.
    pub(super) async fn close(self) {
        let closing = self.connection.close(GOODBYE, "done".into());
        // Whether the broker hears it makes no difference to us.
        drop(tokio::time::timeout(ANSWER_TIME_MAX, closing).await);
    }
}

async fn declare(channel: &Channel) -> Result<(), BrokerError> {
    let exchange = ExchangeDeclareOptions { durable: true, ..Default::default() };
    let table = FieldTable::default;
    channel.exchange_declare(EXCHANGE.into(), ExchangeKind::Topic, exchange, table()).await?;
    for queue in [QUEUE, DEAD_QUEUE] {
        channel.queue_declare(queue.into(), QueueDeclareOptions::durable(), table()).await?;
    }
    let bind = QueueBindOptions::default();
    channel.queue_bind(QUEUE.into(), EXCHANGE.into(), KEY.into(), bind, table()).await?;
    Ok(channel.confirm_select(ConfirmSelectOptions::default()).await?)
}

/// Puts a message straight into a queue, and returns when the broker has it on disk.
pub(super) async fn put(
    channel: &Channel,
    queue: &str,
    body: &[u8],
    properties: BasicProperties,
) -> Result<(), BrokerError> {
    let properties = properties.with_delivery_mode(PERSISTENT);
    // An empty exchange name is the one that knows every queue by its name.
    let options = BasicPublishOptions { mandatory: true, ..Default::default() };
    let sending = async {
        channel.basic_publish("".into(), queue.into(), options, body, properties).await?.await
    };
    let confirmed = tokio::time::timeout(ANSWER_TIME_MAX, sending)
        .await
        .map_err(|_| BrokerError::TooSlow)??;
    // A message that came back found no queue.
    if confirmed.is_ack() && confirmed.take_message().is_none() {
        Ok(())
    } else {
        Err(BrokerError::NotConfirmed)
    }
}

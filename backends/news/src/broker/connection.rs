//! A connection to the broker with everything declared on it that the service speaks to.

use std::time::Duration;

use lapin::options::{
    ConfirmSelectOptions, ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Channel, Connection, ConnectionProperties, ExchangeKind};

use crate::broker::BrokerError;
use crate::settings::{AmqpUrl, Theme};

pub(super) const EXCHANGE: &str = "portal.events";
/// How long the broker may take to connect, to declare, or to confirm.
pub(super) const ANSWER_TIME_MAX: Duration = Duration::from_secs(5);
/// AMQP's number for an orderly goodbye.
const GOODBYE: u16 = 200;

/// Where the broker is, and what this theme's events are called there.
#[derive(Clone)]
pub(crate) struct Broker {
    url: AmqpUrl,
    pub(super) key: String,
    pub(super) queue: String,
}

impl Broker {
    pub(crate) fn new(url: AmqpUrl, theme: &Theme) -> Self {
        let theme = theme.as_str();
        let key = format!("news.appended.{theme}");
        Self { url, key, queue: format!("news.{theme}.latest") }
    }

    /// Connects and declares; declaring again what is there changes nothing.
    pub(super) async fn connect(&self) -> Result<Link, BrokerError> {
        let connecting = async {
            let properties = ConnectionProperties::default().with_connection_name("news".into());
            let connection = Connection::connect(self.url.dangerous_text(), properties).await?;
            let channel = connection.create_channel().await?;
            self.declare(&channel).await?;
            Ok(Link { connection, channel })
        };
        tokio::time::timeout(ANSWER_TIME_MAX, connecting).await.map_err(|_| BrokerError::TooSlow)?
    }

    async fn declare(&self, channel: &Channel) -> Result<(), BrokerError> {
        let exchange = ExchangeDeclareOptions { durable: true, ..Default::default() };
        let none = FieldTable::default;
        channel.exchange_declare(EXCHANGE.into(), ExchangeKind::Topic, exchange, none()).await?;
        let mut ordered = FieldTable::default();
        ordered.insert("x-single-active-consumer".into(), AMQPValue::Boolean(true));
        let queue = self.queue.as_str();
        channel.queue_declare(queue.into(), QueueDeclareOptions::durable(), ordered).await?;
        let key = self.key.as_str().into();
        let bind = QueueBindOptions::default();
        channel.queue_bind(queue.into(), EXCHANGE.into(), key, bind, none()).await?;
        Ok(channel.confirm_select(ConfirmSelectOptions::default()).await?)
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

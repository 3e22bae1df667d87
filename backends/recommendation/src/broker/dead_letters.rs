//! The dead letters at the broker: seen, and put back to be tried again.

use lapin::options::{BasicAckOptions, BasicGetOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel};

use crate::broker::{Broker, BrokerError, DEAD_QUEUE, QUEUE, REASON, connection};
use crate::store::DeadLetter;

impl Broker {
    /// At most `count` dead letters, the oldest first. They stay where they are: what is fetched and not acknowledged
    /// goes back to its place when the connection ends.
    pub(crate) async fn dead(&self, count: u32) -> Result<Vec<DeadLetter>, BrokerError> {
        let link = self.connect().await?;
        let mut letters = Vec::new();
        for _ in 0..count {
            let got = link.channel.basic_get(DEAD_QUEUE.into(), BasicGetOptions::default()).await?;
            let Some(message) = got else { break };
            letters.push(DeadLetter {
                event: String::from_utf8_lossy(&message.data).into_owned(),
                reason: reason(&message.properties),
            });
        }
        link.close().await;
        Ok(letters)
    }

    /// Puts all that are dead now back into the queue, and says how many those are. One that was put back and not yet
    /// taken away when the connection broke is there twice, and counted once.
    pub(crate) async fn revive(&self) -> Result<u64, BrokerError> {
        let link = self.connect().await?;
        let dead = dead_number(&link.channel).await?;
        let mut revived = 0;
        while revived < u64::from(dead) && revive_one(&link.channel).await? {
            revived += 1;
        }
        link.close().await;
        Ok(revived)
    }
}

async fn dead_number(channel: &Channel) -> Result<u32, BrokerError> {
    let options = QueueDeclareOptions::durable();
    let queue = channel.queue_declare(DEAD_QUEUE.into(), options, FieldTable::default()).await?;
    Ok(queue.message_count())
}

/// Says whether there was one.
async fn revive_one(channel: &Channel) -> Result<bool, BrokerError> {
    let got = channel.basic_get(DEAD_QUEUE.into(), BasicGetOptions::default()).await?;
    let Some(message) = got else { return Ok(false) };
    let properties = message.properties.clone().with_headers(FieldTable::default());
    connection::put(channel, QUEUE, &message.data, properties).await?;
    message.ack(BasicAckOptions::default()).await?;
    Ok(true)
}

fn reason(properties: &BasicProperties) -> String {
    let headers = properties.headers().as_ref();
    match headers.and_then(|headers| headers.inner().get(REASON)) {
        Some(AMQPValue::LongString(reason)) => reason.to_string(),
        _ => String::new(),
    }
}

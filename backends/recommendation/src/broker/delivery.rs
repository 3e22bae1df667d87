//! One delivery: counted and acknowledged, or put with the dead letters and acknowledged, or given back.

use lapin::message::Delivery;
use lapin::options::{BasicAckOptions, BasicNackOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel};
use tokio::sync::watch;
use tracing::Instrument;

use crate::broker::{BrokerError, DEAD_QUEUE, REASON, connection};
use crate::correlation::CorrelationId;
use crate::relate::{Relater, Remedy, retry_after};
use crate::viewed::{EVENT_BYTES_MAX, Message, Viewed};

/// Works on a delivery until the broker need not keep it any more, or the service stops.
pub(super) async fn settle(
    channel: Channel,
    relater: Relater,
    delivery: Delivery,
    stopped: watch::Receiver<bool>,
) -> Result<(), BrokerError> {
    let correlation_id = correlation_id(&delivery.properties);
    let span = tracing::info_span!(
        "event",
        correlation_id = correlation_id.as_str(),
        redelivered = delivery.redelivered
    );
    async {
        let end = match read(&delivery.data) {
            Ok(viewed) => relate(&relater, &viewed, &correlation_id, stopped).await,
            Err(reason) => {
                relater.metrics.events.with_label_values(&["dead"]).inc();
                End::Dead(reason)
            }
        };
        close(&channel, &delivery, end).await
    }
    .instrument(span)
    .await
}

/// How work on a delivery ended.
enum End {
    /// It is in the counts.
    Counted,
    /// It never will be, for this reason.
    Dead(String),
    /// The service stops; somebody else shall try.
    GivenBack,
}

async fn relate(
    relater: &Relater,
    viewed: &Viewed,
    correlation_id: &CorrelationId,
    mut stopped: watch::Receiver<bool>,
) -> End {
    let mut attempts = 0;
    loop {
        let Err(error) = relater.relate(viewed, correlation_id).await else { return End::Counted };
        let reason = error.to_string();
        match error.remedy() {
            Remedy::Never => return End::Dead(reason),
            Remedy::Later => {
                attempts += 1;
                tracing::warn!(reason, attempts, "event waits");
            }
        }
        tokio::select! {
            () = tokio::time::sleep(retry_after(attempts)) => {}
            _ = stopped.wait_for(|stopped| *stopped) => return End::GivenBack,
        }
    }
}

async fn close(channel: &Channel, delivery: &Delivery, end: End) -> Result<(), BrokerError> {
    match end {
        End::Counted => {}
        End::Dead(reason) => {
            tracing::warn!(reason, "event is dead");
            // Not by the broker's own dead-lettering, which is not confirmed and would not say why.
            let properties = dead(&delivery.properties, &reason);
            connection::put(channel, DEAD_QUEUE, &delivery.data, properties).await?;
        }
        End::GivenBack => {
            let requeue = BasicNackOptions { requeue: true, ..Default::default() };
            delivery.nack(requeue).await?;
            return Ok(());
        }
    }
    delivery.ack(BasicAckOptions::default()).await?;
    Ok(())
}

fn dead(properties: &BasicProperties, reason: &str) -> BasicProperties {
    let mut headers = FieldTable::default();
    headers.insert(REASON.into(), AMQPValue::LongString(reason.into()));
    properties.clone().with_headers(headers)
}

fn read(body: &[u8]) -> Result<Viewed, String> {
    if body.len() > EVENT_BYTES_MAX {
        return Err(format!("longer than {EVENT_BYTES_MAX} bytes"));
    }
    let message: Message = serde_json::from_slice(body).map_err(|error| error.to_string())?;
    Viewed::try_from(message).map_err(|error| error.to_string())
}

fn correlation_id(properties: &BasicProperties) -> CorrelationId {
    let sent = properties.correlation_id().as_ref().and_then(|id| id.as_str().parse().ok());
    sent.unwrap_or_else(CorrelationId::random)
}

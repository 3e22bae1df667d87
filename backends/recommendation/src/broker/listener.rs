//! Takes deliveries for as long as the service runs, connecting again whenever the broker went away.

use std::time::Duration;

use futures_util::StreamExt;
use lapin::options::{BasicCancelOptions, BasicConsumeOptions, BasicQosOptions};
use lapin::types::FieldTable;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

use crate::broker::connection::Link;
use crate::broker::{Broker, BrokerError, QUEUE, delivery};
use crate::relate::{Relater, retry_after};

/// Deliveries that are worked on at the same time; the rest wait at the broker.
const TOGETHER_MAX: u16 = 16;
/// The name under which the broker knows our subscription.
const CONSUMER: &str = "recommendation";

/// Listens until [`Listener::stop`].
pub(crate) fn listen(broker: Broker, relater: Relater) -> Listener {
    let (stop, stopped) = watch::channel(false);
    let task = tokio::spawn(run(broker, relater, stopped));
    Listener { stop, task }
}

/// The task that listens.
pub(crate) struct Listener {
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Listener {
    /// Takes no more, finishes and acknowledges what was begun, gives back what waits for users.
    pub(crate) async fn stop(self) {
        self.stop.send_replace(true);
        drop(self.task.await);
    }
}

async fn run(broker: Broker, relater: Relater, mut stopped: watch::Receiver<bool>) {
    let mut failures = 0;
    while !*stopped.borrow() {
        let session = Session { relater: &relater, stopped: &mut stopped, failures: &mut failures };
        let Err(error) = session.run(&broker).await else { return };
        failures += 1;
        tracing::error!(%error, failures, "the broker is away");
        wait(retry_after(failures), &mut stopped).await;
    }
}

async fn wait(time: Duration, stopped: &mut watch::Receiver<bool>) {
    tokio::select! {
        () = tokio::time::sleep(time) => {}
        _ = stopped.changed() => {}
    }
}

/// The time of one connection.
struct Session<'a> {
    relater: &'a Relater,
    stopped: &'a mut watch::Receiver<bool>,
    failures: &'a mut u32,
}

impl Session<'_> {
    /// Returns `Ok` when the service stops.
    async fn run(self, broker: &Broker) -> Result<(), BrokerError> {
        let Self { relater, stopped, failures } = self;
        let link = broker.connect().await?;
        *failures = 0;
        tracing::info!(queue = QUEUE, "listening");
        let ended = take(&link, relater, stopped).await;
        link.close().await;
        ended
    }
}

/// Works on deliveries until the service stops (`Ok`) or the connection breaks. Then what was begun is dropped with
/// its transactions: the broker delivers it again.
async fn take(
    link: &Link,
    relater: &Relater,
    stopped: &mut watch::Receiver<bool>,
) -> Result<(), BrokerError> {
    let Link { channel, .. } = link;
    channel.basic_qos(TOGETHER_MAX, BasicQosOptions::default()).await?;
    let options = BasicConsumeOptions::default();
    let table = FieldTable::default();
    let mut consumer = channel.basic_consume(QUEUE.into(), CONSUMER.into(), options, table).await?;
    let mut begun = JoinSet::new();
    while !*stopped.borrow() {
        tokio::select! {
            _ = stopped.changed() => {}
            Some(ended) = begun.join_next() => settled(ended)?,
            next = consumer.next() => {
                let delivery = next.ok_or(BrokerError::Ended)??;
                let work = delivery::settle(channel.clone(), relater.clone(), delivery, stopped.clone());
                begun.spawn(work);
            }
        }
    }
    channel.basic_cancel(CONSUMER.into(), BasicCancelOptions::default()).await?;
    while let Some(ended) = begun.join_next().await {
        settled(ended)?;
    }
    Ok(())
}

/// A panic in one delivery is for the broker to deliver again, as if the connection had broken.
fn settled(
    ended: Result<Result<(), BrokerError>, tokio::task::JoinError>,
) -> Result<(), BrokerError> {
    ended.unwrap_or(Err(BrokerError::Ended))
}

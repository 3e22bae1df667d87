//! A request that waits for a place of a bulkhead: a future that may be dropped at any time.

use std::future::{Future, poll_fn};
use std::ops::Deref;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use super::queue::{Outcome, Ticket};
use super::{Bulkhead, Place};
use crate::criticality::Criticality;

/// Why no place came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// A more critical request took its place in the queue.
    Displaced,
    /// It waited for as long as it may.
    TooLate,
}

/// One in the queue. Ready with a place, or with why there will be none; dropping it leaves the queue, and gives the place
/// on if one was handed over in that moment.
#[must_use]
#[derive(Debug)]
pub struct Waiting<H: Deref<Target = Bulkhead>> {
    /// None once it is ready.
    turn: Option<(H, Ticket)>,
    criticality: Criticality,
    patience: Duration,
}

impl<H: Deref<Target = Bulkhead>> Waiting<H> {
    pub(super) fn new(
        hold: H,
        ticket: Ticket,
        criticality: Criticality,
        patience: Duration,
    ) -> Self {
        Self { turn: Some((hold, ticket)), criticality, patience }
    }

    /// How long it may wait, by the settings of when it began to.
    pub fn patience(&self) -> Duration {
        self.patience
    }

    /// Waits until `too_late` is ready: a timer of [`Waiting::patience`], of the runtime of who waits. A place that comes
    /// in the same moment wins.
    pub async fn until(mut self, too_late: impl Future<Output = ()>) -> Result<Place<H>, Refused> {
        let mut too_late = pin!(too_late);
        poll_fn(move |context| match self.poll_turn(context) {
            Poll::Ready(outcome) => Poll::Ready(outcome),
            Poll::Pending => too_late.as_mut().poll(context).map(|()| Err(Refused::TooLate)),
        })
        .await
    }

    fn poll_turn(&mut self, context: &mut Context<'_>) -> Poll<Result<Place<H>, Refused>> {
        let outcome = match &self.turn {
            Some((_, ticket)) => ticket.poll(context.waker()),
            // Asked again after it was ready: nothing more comes.
            None => Poll::Pending,
        };
        match (outcome, self.turn.take()) {
            (Poll::Ready(Outcome::Given), Some((hold, _))) => Poll::Ready(Ok(Place { hold })),
            (Poll::Ready(Outcome::Displaced), _) => Poll::Ready(Err(Refused::Displaced)),
            (Poll::Ready(Outcome::Given) | Poll::Pending, turn) => {
                self.turn = turn;
                Poll::Pending
            }
        }
    }
}

/// Nothing in it is pinned: it may be moved between polls.
impl<H: Deref<Target = Bulkhead>> Unpin for Waiting<H> {}

impl<H: Deref<Target = Bulkhead>> Future for Waiting<H> {
    type Output = Result<Place<H>, Refused>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        self.poll_turn(context)
    }
}

impl<H: Deref<Target = Bulkhead>> Drop for Waiting<H> {
    fn drop(&mut self) {
        if let Some((hold, ticket)) = self.turn.take() {
            hold.withdraw(&ticket, self.criticality);
        }
    }
}

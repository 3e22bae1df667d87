//! Hedging: a safe request that waits longer than most is sent to a second server; the first answer wins, the other request
//! is cancelled (Dean and Barroso, "The tail at scale", 2013).

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use http::{Response, request};
use tokio::time::Instant;

use super::call::{Attempted, Caller, Failed, attempt as attempt_one};
use super::choice::Choice;
use super::request_body::RequestBody;
use super::retry::Resend;
use super::server::InFlight;
use crate::config::HedgeAfter;
use crate::deadline::{Timer, within};
use crate::moment::moment;

/// How long the first server has, if this request is hedged at all.
pub(super) fn delay(caller: &Caller<'_>, resend: &Resend) -> Option<Duration> {
    let hedge = caller.upstream.config.resilience.hedge.as_ref()?;
    if !matches!(resend, Resend::Empty) {
        return None;
    }
    match hedge.after {
        HedgeAfter::Time(delay) => Some(delay),
        HedgeAfter::Quantile(_) => caller.upstream.times.as_ref()?.present(moment(caller.now)),
    }
}

/// Asks one server, and after `delay` a second one beside it.
pub(super) async fn attempt(
    caller: &mut Caller<'_>,
    server: InFlight,
    parts: &request::Parts,
    body: &mut Option<RequestBody>,
    delay: Duration,
) -> Result<Attempted, Box<Failed>> {
    let safe = parts.method.is_safe();
    let (upstream, pools, deadline) = (caller.upstream, caller.pools, caller.deadline);
    let begun = caller.now;
    let tried = [server.id];
    let mut own = caller.timer.sibling();
    let (mut head, ()) = Response::new(()).into_parts();
    let mut other_body = Some(RequestBody::Empty);
    let choice = caller.choice.clone();
    let hedged = {
        let mut first = pin!(attempt_one(caller, server, parts, body));
        let waited = within(&mut own, begun + delay, first.as_mut()).await;
        if let Ok(output) = waited {
            return output;
        }
        let now = Instant::now();
        let other = upstream.choose(&choice, moment(now), &tried);
        let other = other.filter(|other| safe && !tried.contains(&other.id));
        let Some(other) = other.filter(|_| upstream.budget.try_take(moment(now))) else {
            return first.await;
        };
        upstream.metrics.hedged();
        let mut timer = Timer::Own(None);
        let mut second = Caller {
            upstream,
            pools,
            timer: &mut timer,
            deadline,
            now,
            head: &mut head,
            choice: Choice::default(),
            resends: false,
        };
        let second = pin!(attempt_one(&mut second, other, parts, &mut other_body));
        race(first, second).await
    };
    match hedged {
        Winner::First(output) => output,
        Winner::Second(attempted) => {
            *caller.head = head;
            upstream.metrics.hedge_won();
            Ok(attempted)
        }
    }
}

enum Winner {
    First(Result<Attempted, Box<Failed>>),
    Second(Attempted),
}

/// The first response; the other request is dropped, and its connection closed with it. A failure only counts if both
/// fail, and then it is the first one's.
async fn race<F, S>(mut first: std::pin::Pin<&mut F>, mut second: std::pin::Pin<&mut S>) -> Winner
where
    F: Future<Output = Result<Attempted, Box<Failed>>>,
    S: Future<Output = Result<Attempted, Box<Failed>>>,
{
    let mut first_failed = None;
    let mut second_failed = false;
    poll_fn(|cx| {
        if first_failed.is_none()
            && let Poll::Ready(output) = first.as_mut().poll(cx)
        {
            match output {
                Ok(attempted) => return Poll::Ready(Winner::First(Ok(attempted))),
                Err(failed) => first_failed = Some(failed),
            }
        }
        if !second_failed && let Poll::Ready(output) = second.as_mut().poll(cx) {
            match output {
                Ok(attempted) => return Poll::Ready(Winner::Second(attempted)),
                Err(_) => second_failed = true,
            }
        }
        match first_failed.take() {
            Some(failed) if second_failed => Poll::Ready(Winner::First(Err(failed))),
            waiting => {
                first_failed = waiting;
                Poll::Pending
            }
        }
    })
    .await
}

//! What stands before an upstream or a route: a circuit breaker, and a limit of requests in flight with a queue.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use resilience::Moment;
use resilience::adaptive::{self, Adaptive, End};
use resilience::breaker::{self, Breaker, Open, Pass};
use resilience::bulkhead::{self, Bulkhead, Entry, Place, Refused, Reserve};
use resilience::criticality::Criticality;
use thiserror::Error;
use tokio::time::Instant;

use crate::config::{self, InFlightLimit};
use crate::deadline::Timer;
use crate::moment::moment;
use crate::observe::reading::{GateReading, LimitReading};

/// Changes kept for the control side; it comes by several times a second.
const CHANGES_MAX: usize = 64;

/// What stands before an upstream or a route. Survives reloads by the name of what it stands before.
#[derive(Debug, Default)]
pub(crate) struct Admission {
    pub(crate) breaker: Option<Arc<Breaker>>,
    pub(crate) limit: Option<Arc<Limited>>,
    pub(crate) fallback: Option<config::Fallback>,
    /// What the breaker became, for the control side to tell.
    changes: Mutex<Vec<breaker::Change>>,
    /// How often the breaker has opened.
    opened: Arc<AtomicU64>,
}

/// A limit of requests in flight.
#[derive(Debug)]
pub(crate) struct Limited {
    pub(crate) bulkhead: Arc<Bulkhead>,
    settings: bulkhead::Settings,
    configured: InFlightLimit,
    /// What finds the limit out by itself.
    adaptive: Option<Arc<Adaptive>>,
}

/// Why a request is not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub(crate) enum Turned {
    /// The breaker is open.
    #[error("most requests fail at the moment")]
    Open(Open),
    /// All places are taken, and all in the queue.
    #[error("too many requests are under way, and wait")]
    Full,
    /// A more important request took the place in the queue.
    #[error("too many requests are under way, and more important ones wait")]
    Displaced,
    /// No place came within `queue-time`.
    #[error("too many requests are under way, and it took too long until one ended")]
    Waited,
}

impl Turned {
    /// The short word for log and metrics.
    pub(crate) fn reason(self) -> &'static str {
        match self {
            Self::Open(_) => "circuit-open",
            Self::Full => "limit-full",
            Self::Displaced => "limit-displaced",
            Self::Waited => "limit-waited",
        }
    }
}

/// A request that was let in. What it holds is given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Admitted {
    pass: Option<(Arc<Breaker>, Pass)>,
    place: Option<Place<Arc<Bulkhead>>>,
    /// Where the limit learns from how it went.
    limit: Option<Arc<Limited>>,
}

impl Admission {
    /// Builds it; what is open or in flight in `previous` stays so.
    pub(crate) fn build(guards: &config::Guards, previous: Option<&Self>, now: Moment) -> Self {
        let breaker = guards.circuit_breaker.as_ref().map(breaker_settings).map(|settings| {
            match previous.and_then(|previous| previous.breaker.as_ref()) {
                Some(same) if *same.settings() == settings => Arc::clone(same),
                Some(other) => Arc::new(other.successor(settings, now)),
                None => Arc::new(Breaker::new(settings)),
            }
        });
        let limit = guards.limit.as_ref().map(|limit| {
            let before = previous.and_then(|previous| previous.limit.as_deref());
            Arc::new(Limited::build(limit, before, now))
        });
        Self {
            breaker,
            limit,
            fallback: guards.fallback.clone(),
            changes: Mutex::default(),
            opened: previous.map(|previous| Arc::clone(&previous.opened)).unwrap_or_default(),
        }
    }

    /// The snapshot it belongs to is in use from now on.
    pub(crate) fn settle(&self) {
        if let Some(limit) = &self.limit {
            limit.bulkhead.change(limit.settings.clone());
        }
    }

    fn note(&self, change: breaker::Change) {
        if matches!(change, breaker::Change::Opened(..)) {
            self.opened.fetch_add(1, Ordering::Relaxed);
        }
        let mut changes = self.changes();
        if changes.len() < CHANGES_MAX {
            changes.push(change);
        }
    }

    /// What the admin and Prometheus see of it.
    pub(crate) fn reading(&self, kind: &'static str, name: &str, now: Moment) -> GateReading {
        let circuit = self.breaker.as_ref().map(|breaker| match breaker.state(now).phase {
            breaker::Phase::Closed => "closed",
            breaker::Phase::Open(_) => "open",
            breaker::Phase::HalfOpen { .. } => "half-open",
        });
        let limit = self.limit.as_ref().map(|limit| {
            let bulkhead::View { in_flight, waiting, limit, queue: _ } = limit.bulkhead.view();
            LimitReading { in_flight, limit, waiting }
        });
        let opened = self.opened.load(Ordering::Relaxed);
        GateReading { kind, name: name.to_owned(), circuit, opened, limit }
    }

    /// What would keep a request out now, in words.
    pub(crate) fn held_by(&self, now: Moment) -> Option<String> {
        let circuit = self.breaker.as_ref().and_then(|breaker| match breaker.state(now).phase {
            breaker::Phase::Open(until) if until > now => {
                let left = until.since(now);
                Some(format!("the circuit breaker, which is open for another {left:.1?}"))
            }
            breaker::Phase::HalfOpen { out, good: _ } if out >= breaker.settings().probes => {
                Some("the circuit breaker, whose probes are under way".to_owned())
            }
            breaker::Phase::Closed | breaker::Phase::Open(_) | breaker::Phase::HalfOpen { .. } => {
                None
            }
        });
        circuit.or_else(|| {
            let view = self.limit.as_ref()?.bulkhead.view();
            let full = view.in_flight >= view.limit;
            full.then(|| format!("the limit: {} in flight, {} wait", view.in_flight, view.waiting))
        })
    }

    /// What the breaker became since this was asked last.
    pub(crate) fn take_changes(&self) -> Vec<breaker::Change> {
        std::mem::take(&mut *self.changes())
    }

    fn changes(&self) -> MutexGuard<'_, Vec<breaker::Change>> {
        self.changes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether there is nothing to ask.
    pub(crate) fn is_open_to_all(&self) -> bool {
        self.breaker.is_none() && self.limit.is_none()
    }

    /// Lets a request in, or says why not. It may have to wait for others.
    pub(crate) async fn enter(
        &self,
        criticality: Criticality,
        timer: &mut Timer,
        now: Instant,
    ) -> Result<Admitted, Turned> {
        let pass = match &self.breaker {
            None => None,
            Some(breaker) => {
                let pass = breaker.try_pass(moment(now)).map_err(Turned::Open)?;
                if let Some(change) = pass.change() {
                    self.note(change);
                }
                Some((Arc::clone(breaker), pass))
            }
        };
        let mut admitted = Admitted { pass, place: None, limit: None };
        if let Some(limit) = &self.limit {
            admitted.place = Some(limit.enter(criticality, timer, now).await?);
            admitted.limit = limit.adaptive.is_some().then(|| Arc::clone(limit));
        }
        Ok(admitted)
    }
}

impl Limited {
    fn build(limit: &config::Limit, before: Option<&Self>, now: Moment) -> Self {
        let (in_flight, adaptive) = match limit.in_flight {
            InFlightLimit::Fixed(count) => (count, None),
            InFlightLimit::Adaptive { min, max } => {
                let settings = adaptive::Settings {
                    min,
                    max,
                    window: Duration::from_millis(100),
                    // A third longer than its own time when it is full: what waits in the server is there for nothing.
                    tolerance: 1.2,
                    probe_every: Duration::from_secs(30),
                };
                let same = before.filter(|before| before.configured == limit.in_flight);
                let adaptive = match same.and_then(|before| before.adaptive.as_ref()) {
                    Some(same) => Arc::clone(same),
                    None => Arc::new(Adaptive::new(settings, now)),
                };
                (adaptive.limit(), Some(adaptive))
            }
        };
        let settings = bulkhead::Settings {
            in_flight,
            queue: limit.queue,
            queue_time: limit.queue_time,
            reserve: Reserve { critical: 0.1, normal: 0.2 },
        };
        let bulkhead = match before {
            Some(before) => Arc::clone(&before.bulkhead),
            None => Arc::new(Bulkhead::new(settings.clone())),
        };
        Self { bulkhead, settings, configured: limit.in_flight, adaptive }
    }

    /// An adaptive limit sees how long a request took.
    fn learn(&self, (failed, took): (bool, Duration), now: Moment) {
        let Some(adaptive) = &self.adaptive else { return };
        let end = if failed { End::Dropped } else { End::Answered(took) };
        let in_flight = self.bulkhead.view().in_flight;
        if let Some(limit) = adaptive.record(now, end, in_flight) {
            self.bulkhead.set_limit(limit);
        }
    }

    async fn enter(
        &self,
        criticality: Criticality,
        timer: &mut Timer,
        now: Instant,
    ) -> Result<Place<Arc<Bulkhead>>, Turned> {
        match Bulkhead::try_enter(Arc::clone(&self.bulkhead), criticality) {
            Entry::Entered(place) => Ok(place),
            Entry::Full => Err(Turned::Full),
            Entry::MustWait(waiting) => {
                let end = now + waiting.patience();
                let too_late = std::future::poll_fn(|cx| timer.poll(cx, end));
                // Boxed: most do not wait.
                Box::pin(waiting.until(too_late)).await.map_err(|refused| match refused {
                    Refused::Displaced => Turned::Displaced,
                    Refused::TooLate => Turned::Waited,
                })
            }
        }
    }
}

impl Admitted {
    /// The request has ended.
    pub(crate) fn finish(mut self, admission: &Admission, ended: (bool, Duration), now: Moment) {
        let (failed, took) = ended;
        if let Some(limit) = &self.limit {
            limit.learn(ended, now);
        }
        let Some((breaker, pass)) = self.pass.take() else { return };
        if let Some(change) = breaker.finish(pass, breaker::Call { failed, took }, now) {
            admission.note(change);
        }
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        if let Some((breaker, pass)) = self.pass.take() {
            breaker.abandon(pass);
        }
    }
}

fn breaker_settings(breaker: &config::CircuitBreaker) -> breaker::Settings {
    breaker::Settings {
        error_rate: breaker.error_rate,
        slow_rate: breaker.slow_rate,
        slow: breaker.slow,
        window: breaker.window,
        minimum: breaker.minimum,
        open_for: breaker.open_for,
        probes: breaker.probes,
    }
}

/// The config's word for it in that of the crate `resilience`.
pub(crate) fn criticality(criticality: config::Criticality) -> Criticality {
    match criticality {
        config::Criticality::Critical => Criticality::Critical,
        config::Criticality::Normal => Criticality::Normal,
        config::Criticality::Sheddable => Criticality::Sheddable,
    }
}

//! Checks what stands before an upstream or a route: circuit breaker, limit and fallback.

use std::num::NonZeroU32;

use http::{HeaderValue, StatusCode};

use super::resilience::said;
use super::route::header_value;
use super::{Checking, Names};
use crate::config::at::At;
use crate::config::source::Place;
use crate::config::{CircuitBreaker, Fallback, Guards, InFlightLimit, Limit, file};

/// More requests than any server answers at once.
const IN_FLIGHT_MAX: u32 = 1_000_000;
/// More are no probes.
const PROBES_MAX: u32 = 1_000;
/// Each waiting request costs some KiB.
const QUEUE_MAX: u32 = 100_000;

impl Checking {
    /// What stands before an upstream or a route.
    pub(super) fn guards(
        &mut self,
        circuit_breaker: Option<At<file::CircuitBreaker>>,
        limit: Option<At<file::Limit>>,
        fallback: Option<At<file::Fallback>>,
        names: &Names,
    ) -> Guards {
        Guards {
            circuit_breaker: circuit_breaker.and_then(|breaker| self.circuit_breaker(&breaker)),
            limit: limit.map(|limit| self.limit(&limit.value)),
            fallback: fallback.and_then(|fallback| self.fallback(fallback, names)),
        }
    }

    fn circuit_breaker(&mut self, breaker: &At<file::CircuitBreaker>) -> Option<CircuitBreaker> {
        let file::CircuitBreaker { error_rate, slow_rate, slow, window, minimum, .. } =
            &breaker.value;
        let file::CircuitBreaker { open_for, probes, .. } = &breaker.value;
        if error_rate.value.0.is_none() && slow_rate.0.is_none() {
            self.refuse(
                error_rate.place,
                "a circuit breaker that nothing opens",
                "give it an `error-rate` or a `slow-rate`, or leave it out",
            );
            return None;
        }
        self.bounded("probes", probes.place, probes.value.get(), PROBES_MAX);
        Some(CircuitBreaker {
            error_rate: error_rate.value.0.map(|rate| rate.0),
            slow_rate: slow_rate.0.map(|rate| rate.0),
            slow: slow.0,
            window: window.0,
            minimum: minimum.get(),
            open_for: open_for.0,
            probes: probes.value.get(),
        })
    }

    fn limit(&mut self, limit: &file::Limit) -> Limit {
        let file::Limit { in_flight, adaptive, min, max, queue, queue_time } = limit;
        let given = |at: &Option<At<NonZeroU32>>, default: u32| {
            at.as_ref().map_or((default, Place::default()), |at| (at.value.get(), at.place))
        };
        let (fixed, fixed_place) = given(in_flight, 512);
        let ((min_count, min_place), (max_count, max_place)) = (given(min, 8), given(max, 1_024));
        match (adaptive, in_flight) {
            (true, Some(in_flight)) => self.refuse(
                in_flight.place,
                "`in-flight` beside `adaptive`",
                "`min` and `max` bound what is found out",
            ),
            (true, None) if min_count > max_count => self.refuse(
                said(min_place, max_place),
                format!("`min` is {min_count} and `max` {max_count}"),
                "make `min` the smaller one",
            ),
            (true, None) => self.bounded("max", max_place, max_count, IN_FLIGHT_MAX),
            (false, _) => self.bounded("in-flight", fixed_place, fixed, IN_FLIGHT_MAX),
        }
        for (name, bound) in [("min", min), ("max", max)] {
            if let (Some(bound), false) = (bound, adaptive) {
                let what = format!("`{name}` without `adaptive`");
                self.refuse(bound.place, what, "write adaptive = true, or in-flight alone");
            }
        }
        self.bounded("queue", queue.place, queue.value, QUEUE_MAX);
        Limit {
            in_flight: match adaptive {
                true => InFlightLimit::Adaptive { min: min_count, max: max_count },
                false => InFlightLimit::Fixed(fixed),
            },
            queue: queue.value,
            queue_time: queue_time.0,
        }
    }

    fn fallback(&mut self, fallback: At<file::Fallback>, names: &Names) -> Option<Fallback> {
        let At { place, whole, value: file::Fallback { status, body, content_type, upstream } } =
            fallback;
        let places = [status.as_ref().map(|at| at.place), body.as_ref().map(|at| at.place)];
        let own =
            places.into_iter().chain([content_type.as_ref().map(|at| at.place)]).flatten().min();
        match (upstream, own) {
            (Some(_), Some(own)) => {
                self.refuse(own, "a fixed answer beside an upstream", "give one of them");
                None
            }
            (Some(upstream), None) => {
                self.named("upstream", &upstream, &names.upstreams)?;
                Some(Fallback::Upstream(upstream.value))
            }
            (None, None) if !whole => None,
            (None, None) => {
                let help = "write { status = 503, body = \"…\" } or { upstream = \"name\" }";
                self.refuse(place, "a fallback that says nothing", help);
                None
            }
            (None, Some(_)) => self.answer(status, body, content_type),
        }
    }

    fn answer(
        &mut self,
        status: Option<At<u16>>,
        body: Option<At<String>>,
        content_type: Option<At<String>>,
    ) -> Option<Fallback> {
        let status = match status {
            None => Some(StatusCode::SERVICE_UNAVAILABLE),
            Some(status) => self.status(&status),
        };
        let content_type = match (content_type, &body) {
            (Some(given), Some(_)) => self.take(given.place, header_value(&given.value)),
            (Some(given), None) => {
                self.refuse(given.place, "`content-type` without `body`", "give it a body");
                None
            }
            (None, Some(_)) => Some(HeaderValue::from_static("text/plain; charset=utf-8")),
            (None, None) => None,
        };
        let body = body.map(|body| body.value).unwrap_or_default();
        Some(Fallback::Answer { status: status?, content_type, body })
    }
}

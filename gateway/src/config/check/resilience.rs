//! Checks what keeps failures of an upstream small: balance, ejection, retries and the like, and `[overload]`.

use std::collections::BTreeMap;

use http::{HeaderName, StatusCode};
use plugins::units::Time;

use super::Checking;
use crate::config::at::At;
use crate::config::error::Problem;
use crate::config::fault::{quoted, suggestion};
use crate::config::source::Place;
use crate::config::{
    Balance, Criticality, Ejection, Hedge, HedgeAfter, KeyOf, Otherwise, Overload, Resilience,
    Retry, RetryBudget, RetryOn, Sticky, Subset, UpstreamServer, file,
};

/// Beyond it a client waits in vain.
const ATTEMPTS_MAX: u32 = 10;
/// Kept for each request in flight.
const RESEND_BYTES_MAX: u64 = 16 << 20;

impl Checking {
    /// How a server is chosen.
    pub(super) fn balance(&mut self, balance: file::Balance) -> Option<Balance> {
        Some(match balance {
            file::Balance::RoundRobin => Balance::RoundRobin,
            file::Balance::LeastRequests => Balance::LeastRequests,
            file::Balance::TwoChoices => Balance::TwoChoices,
            file::Balance::LeastTime => Balance::LeastTime,
            file::Balance::ConsistentHash(hash) => {
                let file::ConsistentHash { by, bounded_load } = hash.value;
                let by = self.take(by.place, key_of(&by.value))?;
                Balance::ConsistentHash { by, bounded_load: bounded_load.0.map(|load| load.0) }
            }
        })
    }

    /// Health and failed tries of an upstream with these servers.
    pub(super) fn resilience(
        &mut self,
        upstream: &mut file::Upstream,
        servers: &[UpstreamServer],
    ) -> Option<Resilience> {
        let sticky = upstream.sticky.take().map(|sticky| self.sticky(sticky.value));
        let subset = upstream.subset.take();
        let subset = subset.map(|subset| self.subset(subset.value, servers, &upstream.servers));
        let health_check = upstream.health_check.take();
        let health_check = health_check.map(|check| self.health_check(check, upstream, servers));
        let hedge = upstream.hedge.take().map(|hedge| self.hedge(&hedge, upstream));
        self.budget_is_used(&upstream.retry, hedge.as_ref());
        Some(Resilience {
            sticky: all(sticky)?,
            subset: all(subset)?,
            failover_below: upstream.failover_below.0,
            panic_below: upstream.panic_below.0,
            slow_start: upstream.slow_start.0,
            health_check: all(health_check)?,
            ejection: self.ejection(&upstream.ejection),
            hedge,
            budget: RetryBudget {
                share: upstream.retry.budget.value.0,
                floor: upstream.retry.floor.0,
            },
            retry: self.retry(&upstream.retry),
        })
    }

    fn sticky(&mut self, sticky: file::Sticky) -> Option<Sticky> {
        let file::Sticky { cookie, ttl } = sticky;
        let cookie = self.take(cookie.place, cookie_name(&cookie.value))?;
        Some(Sticky { cookie, ttl: ttl.map(|ttl| ttl.0) })
    }

    fn subset(
        &mut self,
        subset: file::Subset,
        servers: &[UpstreamServer],
        said: &At<Vec<At<file::UpstreamServer>>>,
    ) -> Option<Subset> {
        let file::Subset { by, label, otherwise } = subset;
        let by = self.take(by.place, key_of(&by.value).and_then(label_of));
        let known = servers.iter().flat_map(|server| server.labels.keys());
        let known = known.map(|label| (label.clone(), ())).collect();
        // A server that could not be read may have it.
        if said.whole && !self.has_problem_in(said.place) {
            self.known_label(&label, &known);
        }
        Some(Subset {
            by: by?,
            label: label.value,
            otherwise: match otherwise {
                file::Otherwise::Any => Otherwise::Any,
                file::Otherwise::None => Otherwise::None,
            },
        })
    }

    fn known_label(&mut self, label: &At<String>, known: &BTreeMap<String, ()>) {
        if known.contains_key(&label.value) {
            return;
        }
        let names = known.keys().collect::<Vec<_>>();
        let help = match names.is_empty() {
            true => format!("write {{ address = \"…\", labels = {{ {} = \"…\" }} }}", label.value),
            false => suggestion(&label.value, &names, "labels are"),
        };
        self.refuse(label.place, format!("no server has a label `{}`", label.value), help);
    }

    fn ejection(&mut self, ejection: &file::Ejection) -> Option<Ejection> {
        let file::Ejection { consecutive_failures, error_rate, minimum, slower_than, .. } =
            ejection;
        let file::Ejection { stalled, window, base, max, at_most, .. } = ejection;
        self.not_more(
            ("base", base.place, Time(base.value.0)),
            ("max", max.place, Time(max.value.0)),
        );
        (at_most.0 > 0.0).then(|| Ejection {
            consecutive_failures: consecutive_failures.0.map(|count| count.get()),
            error_rate: error_rate.0.map(|rate| rate.0),
            minimum: minimum.get(),
            slower_than: slower_than.0.map(|factor| factor.0),
            stalled: stalled.0.map(|time| time.0),
            window: window.0,
            base: base.value.0,
            max: max.value.0,
            at_most: at_most.0,
        })
    }

    fn retry(&mut self, retry: &file::Retry) -> Option<Retry> {
        let file::Retry { attempts, on, backoff, backoff_max, budget: _, floor: _, body } = retry;
        self.bounded("attempts", attempts.place, attempts.value.get(), ATTEMPTS_MAX);
        self.not_more(
            ("backoff", backoff.place, Time(backoff.value.0)),
            ("backoff-max", backoff_max.place, Time(backoff_max.value.0)),
        );
        self.no_twins("this reason", on.value.iter().map(|reason| (reason.value, reason.place)));
        if on.value.is_empty() && on.whole {
            self.refuse(on.place, "nothing is sent again", "attempts = 1 turns retries off");
        }
        let body_bytes = self.size(body, 0, RESEND_BYTES_MAX);
        (attempts.value.get() > 1).then(|| Retry {
            attempts: attempts.value.get(),
            on: on.value.iter().filter_map(|reason| retry_on(reason.value)).collect(),
            backoff: backoff.value.0,
            backoff_max: backoff_max.value.0,
            body_bytes,
        })
    }

    fn hedge(&mut self, hedge: &At<file::Hedge>, upstream: &file::Upstream) -> Hedge {
        let after = match hedge.value.after {
            file::PointOrTime::Point(share) => HedgeAfter::Quantile(share),
            file::PointOrTime::Time(time) => HedgeAfter::Time(time),
        };
        let response = upstream.timeout.response.0;
        if let HedgeAfter::Time(time) = after
            && time >= response
        {
            self.refuse(
                hedge.place,
                format!("no second request is ever sent: `timeout.response` is {}", Time(response)),
                "make `after` shorter",
            );
        }
        Hedge { after }
    }

    /// A budget of nothing beside what needs it.
    fn budget_is_used(&mut self, retry: &file::Retry, hedge: Option<&Hedge>) {
        if retry.budget.value.0 > 0.0 || retry.floor.0 > 0.0 {
            return;
        }
        let needed = match (retry.attempts.value.get() > 1, hedge.is_some()) {
            (true, _) => "retry",
            (false, true) => "hedge",
            (false, false) => return,
        };
        self.refuse(
            retry.budget.place,
            format!("a budget and a floor of 0 leave nothing to {needed} with"),
            "raise one of them, or write attempts = 1 and leave `hedge` out",
        );
    }

    /// A name of letters, digits and a few signs.
    pub(super) fn plain(&mut self, kind: &str, name: At<String>) -> Option<String> {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if name.value.is_empty() || !name.value.chars().all(is_plain) {
            let what = format!("the {kind} {} is not plain", quoted(&name.value));
            self.refuse(name.place, what, "names have letters, digits, -, _ and dots");
            return None;
        }
        Some(name.value)
    }

    /// Refuses a number beyond its bound.
    pub(super) fn bounded(&mut self, key: &str, place: Place, number: u32, max: u32) {
        if number > max {
            self.refuse(place, format!("`{key}` is {number}"), format!("it takes up to {max}"));
        }
    }

    /// Refuses a lower bound above its upper bound; each with its key and where it is said.
    pub(super) fn not_more(&mut self, low: (&str, Place, Time), high: (&str, Place, Time)) {
        let ((low_key, low_place, low), (high_key, high_place, high)) = (low, high);
        if low > high {
            self.refuse(
                said(low_place, high_place),
                format!("`{low_key}` is {low} and `{high_key}` {high}"),
                format!("make `{low_key}` the shorter one"),
            );
        }
    }
}

/// Of two places the one that is in a file; a default is in none.
pub(super) fn said(first: Place, second: Place) -> Place {
    if first == Place::default() { second } else { first }
}

/// `Some(None)`: nothing was asked for; `None`: it was, and is faulty.
fn all<T>(checked: Option<Option<T>>) -> Option<Option<T>> {
    match checked {
        None => Some(None),
        Some(None) => None,
        Some(Some(value)) => Some(Some(value)),
    }
}

/// When the process sheds load.
pub(super) fn overload(overload: &file::Overload) -> Overload {
    let file::Overload { loop_delay, memory, connections, descriptors } = overload;
    Overload {
        loop_delay: loop_delay.0.map(|time| time.0),
        memory: memory.0.map(|share| share.0),
        connections: connections.0.map(|share| share.0),
        descriptors: descriptors.0.map(|share| share.0),
    }
}

pub(super) fn criticality(criticality: file::Criticality) -> Criticality {
    match criticality {
        file::Criticality::Critical => Criticality::Critical,
        file::Criticality::Normal => Criticality::Normal,
        file::Criticality::Sheddable => Criticality::Sheddable,
    }
}

fn retry_on(reason: file::RetryOn) -> Option<RetryOn> {
    match reason {
        file::RetryOn::Connect => Some(RetryOn::Connect),
        file::RetryOn::Reset => Some(RetryOn::Reset),
        file::RetryOn::Status(status) => StatusCode::from_u16(status).ok().map(RetryOn::Status),
    }
}

/// `header:NAME`, `cookie:NAME`, `path:PARAMETER`, `query:NAME` or `client`.
pub(super) fn key_of(text: &str) -> Result<KeyOf, Problem> {
    let wrong = || {
        Problem::nowhere(format!("{} is nothing of a request", quoted(text))).help(
            "write \"header:x-user\", \"cookie:name\", \"path:parameter\", \"query:name\" or \"client\"",
        )
    };
    match text.split_once(':') {
        None if text == "client" => Ok(KeyOf::Client),
        Some((_, "")) | None => Err(wrong()),
        Some(("header", name)) => {
            HeaderName::from_bytes(name.as_bytes()).map(KeyOf::Header).map_err(|_| wrong())
        }
        Some(("cookie", name)) => cookie_name(name).map(KeyOf::Cookie),
        Some(("path", name)) => Ok(KeyOf::Path(name.to_owned())),
        Some(("query", name)) => Ok(KeyOf::Query(name.to_owned())),
        Some((_, _)) => Err(wrong()),
    }
}

/// What may be the value of a label.
fn label_of(key: KeyOf) -> Result<KeyOf, Problem> {
    match key {
        KeyOf::Client => Err(Problem::nowhere("no label is a client's address")
            .help("use balance = { consistent-hash = { by = \"client\" } }")),
        KeyOf::Header(_) | KeyOf::Cookie(_) | KeyOf::Path(_) | KeyOf::Query(_) => Ok(key),
    }
}

/// A token, as RFC 6265 section 4.1.1 asks for.
fn cookie_name(text: &str) -> Result<String, Problem> {
    let is_token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    if text.is_empty() || !text.chars().all(is_token) {
        return Err(Problem::nowhere(format!("{} is no name of a cookie", quoted(text)))
            .help("names have letters, digits, - and _"));
    }
    Ok(text.to_owned())
}

//! Whether a request may be sent once more, to whom, and when.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, header};
use resilience::{Moment, random};
use tokio::time::Instant;

use super::Upstream;
use super::call::{Attempted, CallError, CallFailure, Caller};
use super::request_body::RequestBody;
use super::server::{InFlight, Server};
use crate::config::{self, RetryOn};
use crate::moment::moment;

/// Fresh connections tried for one request after kept ones turned out to be closed.
const FRESH_MAX: u32 = 2;

/// What can be sent a second time.
pub(super) enum Resend {
    /// Nothing: the request is not idempotent, or its body has gone by.
    Nothing,
    /// The request has no body.
    Empty,
    /// The body is here.
    Whole(Bytes),
}

impl Resend {
    pub(super) fn of(method: &Method, body: &RequestBody) -> Self {
        match body {
            _ if !is_idempotent(method) => Self::Nothing,
            RequestBody::Empty => Self::Empty,
            RequestBody::Whole(Some(bytes)) => Self::Whole(bytes.clone()),
            RequestBody::Whole(None) | RequestBody::Streaming(_) => Self::Nothing,
        }
    }

    /// The body once more.
    pub(super) fn body(&self) -> Option<RequestBody> {
        match self {
            Self::Nothing => None,
            Self::Empty => Some(RequestBody::Empty),
            Self::Whole(bytes) => Some(RequestBody::Whole(Some(bytes.clone()))),
        }
    }

    pub(super) fn is_possible(&self) -> bool {
        !matches!(self, Self::Nothing)
    }
}

/// The tries of one request.
#[derive(Default)]
pub(super) struct Tries {
    /// After the first.
    pub(super) count: u32,
    /// Servers that failed: others are asked first.
    tried: Vec<u64>,
    /// Kept connections that turned out to be closed.
    stale: u32,
}

/// The next try.
pub(super) struct Next {
    pub(super) server: InFlight,
    /// Before it.
    pub(super) wait: Duration,
}

impl Tries {
    /// What ends the call.
    pub(super) fn give_up(
        &self,
        error: CallError,
        server: Option<InFlight>,
        unsent: Option<RequestBody>,
    ) -> Box<CallFailure> {
        Box::new(CallFailure { error, server, retries: self.count, unsent })
    }

    /// Whether an answer is none that the client should see, as long as there is another way.
    pub(super) fn after_answer(
        &mut self,
        caller: &mut Caller<'_>,
        attempted: &Attempted,
        resend: &Resend,
    ) -> Option<Next> {
        let status = caller.head.status;
        if status.as_u16() < 400 || !resend.is_possible() {
            return None;
        }
        let policy = caller.upstream.config.resilience.retry.as_ref()?;
        if !policy.on.contains(&RetryOn::Status(status)) {
            return None;
        }
        let asked = retry_after(&caller.head.headers);
        if asked.is_some_and(|asked| asked > policy.backoff_max) {
            return None;
        }
        let wait = self.backoff(policy).max(asked.unwrap_or_default());
        caller.now = Instant::now();
        let next = self.another(caller, &attempted.server, wait)?;
        caller.upstream.has_failed(&attempted.server, attempted.sent_at, caller.now);
        Some(next)
    }

    /// What is done about an error. `unsent`: nothing of the request has gone out, or nobody can have seen it.
    pub(super) fn after_error(
        &mut self,
        caller: &mut Caller<'_>,
        (error, server): (&CallError, &InFlight),
        unsent: bool,
        resend: &Resend,
    ) -> Option<Next> {
        let began = caller.now;
        caller.now = Instant::now();
        let (on, possible) = match error {
            CallError::Broken(_) if unsent => return self.fresh(caller, server),
            CallError::Connect(_) => (RetryOn::Connect, unsent),
            CallError::Broken(_) | CallError::TakenOut => (RetryOn::Reset, resend.is_possible()),
            CallError::ResponseTimeout => (RetryOn::Reset, false),
            CallError::NoServer | CallError::Deadline | CallError::Body(_) => return None,
        };
        if !matches!(error, CallError::TakenOut) {
            caller.upstream.has_failed(server, began, caller.now);
        }
        let policy = caller.upstream.config.resilience.retry.as_ref()?;
        if !possible || !policy.on.contains(&on) {
            return None;
        }
        // Another server may be well: the first time there is nothing to wait for.
        let wait = if self.count == 0 { Duration::ZERO } else { self.backoff(policy) };
        self.another(caller, server, wait)
    }

    /// A kept connection that was just being closed says nothing about its server.
    fn fresh(&mut self, caller: &Caller<'_>, server: &InFlight) -> Option<Next> {
        if self.stale >= FRESH_MAX {
            return None;
        }
        self.stale += 1;
        self.count += 1;
        Some(Next { server: server.again(), wait: Duration::ZERO })
            .filter(|_| !is_over(caller, Duration::ZERO))
    }

    /// Another server than those that failed, if attempts, time and budget allow it.
    fn another(&mut self, caller: &Caller<'_>, failed: &Server, wait: Duration) -> Option<Next> {
        let upstream = caller.upstream;
        let attempts = upstream.config.resilience.retry.as_ref()?.attempts;
        if self.count - self.stale + 1 >= attempts || is_over(caller, wait) {
            return None;
        }
        self.tried.push(failed.id);
        let now = moment(caller.now);
        let server = upstream.choose(&caller.choice, now, &self.tried)?;
        if self.tried.contains(&server.id) {
            return None;
        }
        if !upstream.budget.try_take(now) {
            upstream.metrics.over_budget();
            return None;
        }
        upstream.metrics.retried();
        self.count += 1;
        Some(Next { server, wait })
    }

    /// Doubles with each try, and is drawn between half of it and all of it, so that those who failed together do not
    /// come back together.
    fn backoff(&self, policy: &config::Retry) -> Duration {
        let doubled = policy.backoff.saturating_mul(1 << self.count.min(16));
        doubled.min(policy.backoff_max).mul_f64(0.5 + random::share() / 2.0)
    }
}

impl Upstream {
    /// Whether a request may be sent again at the moment.
    pub(super) fn can_retry(&self, now: Moment) -> bool {
        let left = self.budget.view(now);
        self.config.resilience.retry.is_some() && left.share + left.floor >= 1.0
    }
}

fn is_over(caller: &Caller<'_>, wait: Duration) -> bool {
    caller.deadline.is_some_and(|deadline| caller.now + wait >= deadline)
}

/// `Retry-After` in seconds (RFC 9110, section 10.2.3); a date is as good as too late.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let value = headers.get(header::RETRY_AFTER)?;
    let seconds = value.to_str().ok().and_then(|text| text.trim().parse().ok());
    Some(seconds.map_or(Duration::MAX, Duration::from_secs))
}

/// Whether asking twice does what asking once does (RFC 9110, section 9.2.2).
pub(crate) fn is_idempotent(method: &Method) -> bool {
    matches!(
        *method,
        Method::GET | Method::HEAD | Method::OPTIONS | Method::PUT | Method::DELETE | Method::TRACE
    )
}

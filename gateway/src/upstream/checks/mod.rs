//! Asks servers how they are, each at its own time, and takes out those whose answers are bad. On the control side: no
//! request waits for it.

use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use resilience::Moment;
use resilience::checks::{Change, Checked, Settings};
use resilience::random;
use thiserror::Error;
use tokio::sync::Semaphore;
use tokio::task::{self, AbortHandle};
use tokio::time::{sleep, timeout};

use super::Upstream;
use super::connect::{ConnectError, connect};
use super::server::Server;
use crate::config::{HealthCheck, Probe};
use crate::moment;

mod exchange;
mod grpc;
mod http_answer;

use grpc::GrpcError;
use http_answer::HttpError;

/// Checks at a time in the process, each with a descriptor of its own. Servers beyond that wait for the next round.
const AT_A_TIME: usize = 256;

/// What of an answer is looked at.
const BODY_MAX: usize = 64 * 1024;

/// Starts the checks that are due.
pub(crate) struct Checker {
    places: Arc<Semaphore>,
    /// How long it is until the next round: what is due before that is started now, and waits for its time.
    ahead: Duration,
    /// Where changes are told.
    say: fn(&str),
}

/// The health checks of one server. The check that is under way ends with it.
#[derive(Debug)]
pub(super) struct Checks {
    state: Checked,
    /// As it was set when `due` was reckoned.
    config: HealthCheck,
    /// When it is asked next.
    due: Moment,
    /// The check that is under way. A server is never asked twice at once.
    running: Option<AbortHandle>,
    /// What the last answer was.
    last: Option<Box<str>>,
}

/// One check.
struct Asking {
    upstream: Arc<Upstream>,
    server: Arc<Server>,
    config: HealthCheck,
    say: fn(&str),
}

/// Why an answer is bad.
#[derive(Debug, Error)]
enum CheckError {
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error("no answer within {0:?}")]
    TimedOut(Duration),
    /// What was to be sent is no request.
    #[error("it cannot be asked: {0}")]
    Request(#[from] http::Error),
    /// The connection ended, or what came is not the protocol's.
    #[error("no answer: {0}")]
    Exchange(#[from] hyper::Error),
    #[error(transparent)]
    Http(#[from] HttpError),
    #[error(transparent)]
    Grpc(#[from] GrpcError),
}

impl Checker {
    /// Rounds are `ahead` apart.
    pub(crate) fn new(ahead: Duration, say: fn(&str)) -> Self {
        Self { places: Arc::new(Semaphore::new(AT_A_TIME)), ahead, say }
    }

    /// Asks the servers of an upstream whose time has come, or forgets what was known of them when nobody asks any more.
    pub(crate) fn visit(&self, upstream: &Arc<Upstream>, now: Moment) {
        let lineup = upstream.lineup.load();
        match &upstream.config.resilience.health_check {
            Some(config) => {
                for server in &lineup.servers {
                    self.ask_if_due(upstream, server, config, now);
                }
            }
            None => {
                let mut forgotten = false;
                for server in &lineup.servers {
                    forgotten |= server.condition.forget_health(now);
                }
                if forgotten {
                    upstream.redraw(now);
                }
            }
        }
    }

    fn ask_if_due(
        &self,
        upstream: &Arc<Upstream>,
        server: &Arc<Server>,
        config: &HealthCheck,
        now: Moment,
    ) {
        // Held until the task is noted: it must not end before.
        let mut known = server.condition.checks();
        let checks = known.get_or_insert_with(|| {
            server.condition.begins_to_be_asked();
            Checks::new(config, now)
        });
        checks.obey(config, now);
        if checks.is_running() || checks.due > now + self.ahead {
            return;
        }
        let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else { return };
        let asking = Asking {
            upstream: Arc::clone(upstream),
            server: Arc::clone(server),
            config: config.clone(),
            say: self.say,
        };
        let pause = checks.due.since(now);
        let task = task::spawn(async move {
            let _place = place;
            sleep(pause).await;
            let begun = moment::now();
            asking.end(asking.ask().await, begun);
        });
        checks.running = Some(task.abort_handle());
        // Unless the check tells otherwise.
        checks.due = now + pause + config.interval;
    }
}

impl Checks {
    fn new(config: &HealthCheck, now: Moment) -> Self {
        let state = Checked::new(settings(config), now);
        let due = state.next(now, random::share());
        Self { state, config: config.clone(), due, running: None, last: None }
    }

    /// What is known stays when a reload asks otherwise, but the new question is soon put, and the old one no longer.
    fn obey(&mut self, config: &HealthCheck, now: Moment) {
        if self.config == *config {
            return;
        }
        if let Some(running) = &self.running {
            running.abort();
        }
        self.state.change(settings(config));
        self.config = config.clone();
        self.due = Checked::new(settings(config), now).next(now, random::share());
    }

    fn is_running(&self) -> bool {
        self.running.as_ref().is_some_and(|running| !running.is_finished())
    }

    /// The check of the calling task has ended. The result of one whose question is no longer put does not count.
    fn end(&mut self, asked: &HealthCheck, ok: bool, begun: Moment, words: &str) -> Option<Change> {
        if self.running.as_ref().map(AbortHandle::id) != task::try_id() {
            return None;
        }
        self.running = None;
        if self.config != *asked {
            return None;
        }
        self.last = Some(words.into());
        let change = self.state.result(ok, moment::now());
        self.due = self.state.next(begun, random::share());
        change
    }

    /// What the last answer was.
    pub(super) fn last(&self) -> Option<Box<str>> {
        self.last.clone()
    }
}

impl Drop for Checks {
    fn drop(&mut self) {
        if let Some(running) = &self.running {
            running.abort();
        }
    }
}

impl Asking {
    async fn ask(&self) -> Result<String, CheckError> {
        let time = self.config.timeout;
        timeout(time, self.ask_now()).await.map_err(|_| CheckError::TimedOut(time))?
    }

    async fn ask_now(&self) -> Result<String, CheckError> {
        let other_port;
        let server = match self.config.port {
            None => &*self.server,
            Some(port) => {
                other_port = self.server.at_port(port);
                &other_port
            }
        };
        match &self.config.probe {
            Probe::Tcp => {
                connect(server).await?;
                Ok("connected".to_owned())
            }
            Probe::Http { path, status, body, host } => {
                let request = exchange::get(server, path, self.host(host.as_ref()))?;
                let (response, _driver) = exchange::send(server, request).await?;
                http_answer::judge(response, status, body.as_deref()).await
            }
            Probe::Grpc { service, host } => {
                let host = self.host(host.as_ref());
                let request = grpc::request(server, service, host, self.config.timeout)?;
                let (response, _driver) = exchange::send(server, request).await?;
                grpc::judge(response).await
            }
        }
    }

    /// The `Host` the server sees: its own where the upstream would pass the client's on.
    fn host<'a>(&'a self, of_check: Option<&'a HeaderValue>) -> &'a HeaderValue {
        let host = of_check.or_else(|| self.upstream.host(&self.server));
        host.unwrap_or(&self.server.host)
    }

    fn end(&self, answer: Result<String, CheckError>, begun: Moment) {
        let ok = answer.is_ok();
        let words = answer.unwrap_or_else(|error| error.to_string());
        let condition = &self.server.condition;
        let mut known = condition.checks();
        let Some(checks) = known.as_mut() else { return };
        let was_down = condition.is_down();
        let Some(change) = checks.end(&self.config, ok, begun, &words) else { return };
        let now = moment::now();
        condition.set_health(change);
        if was_down {
            condition.is_back(now);
        }
        drop(known);
        self.upstream.redraw(now);
        let (upstream, server) = (&self.upstream.config.name, &self.server.text);
        match change {
            Change::Down => (self.say)(&format!(
                "upstream {upstream}: {server} is taken out: its health checks fail: {words}"
            )),
            Change::Up if was_down => (self.say)(&format!(
                "upstream {upstream}: {server} is back: its health checks go well"
            )),
            // Nobody had doubted it.
            Change::Up => {}
        }
    }
}

fn settings(config: &HealthCheck) -> Settings {
    Settings { interval: config.interval, up: config.up, down: config.down }
}

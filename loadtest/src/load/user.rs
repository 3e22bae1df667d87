//! A virtual user: logs in, then sends a request whenever it gets a ticket, and checks what comes back.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::header::{COOKIE, SET_COOKIE};
use http::{HeaderValue, Request};
use tokio::time::{Instant, Sleep, sleep};

use super::answer::{Answer, Reading};
use super::connect::Connector;
use super::http::Piece;
use super::link::{Link, Shared};
use super::request::Requests;
use super::scenario::{Reuse, Scenario, Step};
use super::schedule::{Schedule, Ticket};
use super::tally::{Ended, Tally};
use super::template::Values;
use super::trouble::Trouble;
use crate::body::Body;
use crate::connection::NONCE;

/// What all users of a thread share.
pub(super) struct Load {
    pub(super) scenario: Scenario,
    pub(super) connector: Connector,
    pub(super) requests: Requests,
    pub(super) tally: RefCell<Tally>,
}

/// After a refusal a user waits so long: a dead server is asked again, not flooded.
pub(super) const BREATH: Duration = Duration::from_millis(10);

pub(super) struct User {
    load: Rc<Load>,
    number: u64,
    link: Link,
    deadline: Deadline,
    logged_in: Result<(), Trouble>,
    saved: BTreeMap<String, String>,
    cookies: BTreeMap<String, String>,
    /// The request to be sent and the answer it got stay here: handing them on would copy them at every step.
    request: Request<Body>,
    answer: Answer,
}

impl User {
    pub(super) fn new(load: Rc<Load>, number: u64, shared: Shared) -> Self {
        let link = Link::new(load.scenario.protocol, load.scenario.reuse, shared);
        Self {
            load,
            number,
            link,
            deadline: Deadline::default(),
            logged_in: Ok(()),
            saved: BTreeMap::new(),
            cookies: BTreeMap::new(),
            request: Request::default(),
            answer: Answer::default(),
        }
    }

    /// Connects and logs in, before the load begins.
    pub(super) async fn prepare(&mut self) {
        let load = self.load.clone();
        self.logged_in = self.log_in(&load).await;
        if load.scenario.reuse == Reuse::Kept {
            let (patience, link) = (load.scenario.patience, &mut self.link);
            let connected = async { link.ready(&load.connector).await.map(drop) };
            // Who cannot connect now tries again with the first request, which then counts it.
            self.deadline.within(patience, connected).await.ok();
        }
    }

    /// Works until the time is over.
    pub(super) async fn run(mut self, schedule: Rc<Schedule>) {
        let load = self.load.clone();
        while let Some(ticket) = schedule.ticket().await {
            let ended = self.request(&load, ticket).await;
            let refused =
                matches!(ended.trouble, Some(Trouble::Connect | Trouble::Tls | Trouble::Login));
            load.tally.borrow_mut().add(ended);
            if refused {
                sleep(BREATH).await;
            }
            if let Some((low, high)) = load.scenario.think_time {
                sleep(Duration::from_millis(fastrand::u64(low..=high))).await;
            }
        }
    }

    async fn log_in(&mut self, load: &Load) -> Result<(), Trouble> {
        for step in &load.scenario.login {
            let values = Values { user: self.number, count: 0, saved: &self.saved };
            self.request = load.requests.build(step, &values)?;
            self.exchange(load, Reading::whole()).await?;
            self.answer.check(step)?;
            self.keep(step);
        }
        Ok(())
    }

    async fn request(&mut self, load: &Load, ticket: Ticket) -> Ended {
        let place = load.requests.choose();
        let mut ended =
            Ended { step: place, due: ticket.due, trouble: None, bytes_in: 0, bytes_out: 0 };
        if self.logged_in.is_err() {
            ended.trouble = Some(Trouble::Login);
            return ended;
        }
        let values = Values { user: self.number, count: ticket.number, saved: &self.saved };
        match load.requests.request(place, &values) {
            Ok(request) => self.request = request,
            Err(trouble) => {
                ended.trouble = Some(trouble);
                return ended;
            }
        }
        ended.bytes_out = hyper::body::Body::size_hint(self.request.body()).lower();
        let step = &load.scenario.requests[place];
        ended.trouble = self.answered(load, step, ticket).await.err();
        ended.bytes_in = self.answer.bytes;
        ended
    }

    /// Sends the request, keeps the ledger, and checks the answer.
    async fn answered(&mut self, load: &Load, step: &Step, ticket: Ticket) -> Result<(), Trouble> {
        let in_ledger = !load.scenario.ledgers.is_empty();
        if in_ledger {
            self.request.headers_mut().insert(NONCE, ticket.number.into());
            load.note(|ledger| ledger.sent.add(ticket.number));
        }
        let mut result = self.exchange(load, Reading::of(step, in_ledger)).await;
        if in_ledger {
            result = load.enter(ticket.number, result, &self.answer);
        }
        result?;
        if !load.scenario.login.is_empty() || !step.save.is_empty() {
            self.keep(step);
        }
        self.answer.check(step)
    }

    /// One request and its whole answer, within the scenario's patience.
    async fn exchange(&mut self, load: &Load, reading: Reading) -> Result<(), Trouble> {
        if !self.cookies.is_empty() {
            let cookie = self.cookie()?;
            self.request.headers_mut().insert(COOKIE, cookie);
        }
        let Self { link, deadline, request, answer, .. } = self;
        answer.begin(reading);
        let exchange = exchange(link, &load.connector, request, answer);
        let result = deadline.within(load.scenario.patience, exchange).await;
        if result.is_err() || load.scenario.reuse == Reuse::New {
            self.link.close();
        }
        result
    }

    fn cookie(&self) -> Result<HeaderValue, Trouble> {
        let pairs: Vec<String> =
            self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        HeaderValue::from_str(&pairs.join("; ")).map_err(|_| Trouble::Request)
    }

    /// Remembers cookies and what the scenario wants saved.
    fn keep(&mut self, step: &Step) {
        let answer = &self.answer;
        for value in answer.headers.get_all(SET_COOKIE) {
            let pair = value.to_str().ok().and_then(|text| text.split(';').next()?.split_once('='));
            if let Some((name, value)) = pair {
                self.cookies.insert(name.trim().to_owned(), value.trim().to_owned());
            }
        }
        if step.save.is_empty() {
            return;
        }
        let document = answer.json().unwrap_or_default();
        for (name, pointer) in &step.save {
            let value = document.pointer(pointer).map(|value| match value.as_str() {
                Some(text) => text.to_owned(),
                None => value.to_string(),
            });
            self.saved.extend(value.map(|value| (name.clone(), value)));
        }
    }
}

impl Load {
    fn note(&self, entry: impl FnOnce(&mut super::tally::Ledger)) {
        if let Some(ledger) = &mut self.tally.borrow_mut().ledger {
            entry(ledger);
        }
    }

    /// Writes an answer into the ledger, and tells what is wrong with it.
    fn enter(
        &self,
        nonce: u64,
        result: Result<(), Trouble>,
        answer: &Answer,
    ) -> Result<(), Trouble> {
        let result = result.and_then(|()| {
            let theirs = answer.field(NONCE).and_then(|text| text.parse::<u64>().ok());
            if theirs.is_some_and(|theirs| theirs != nonce) {
                return Err(Trouble::Swapped);
            }
            match answer.is_unchanged() {
                true => Ok(()),
                false => Err(Trouble::Changed),
            }
        });
        self.note(|ledger| match &result {
            Ok(()) => ledger.answered.add(nonce),
            Err(Trouble::Swapped) => ledger.swapped += 1,
            Err(Trouble::Changed) => ledger.changed += 1,
            Err(Trouble::Truncated) => ledger.truncated += 1,
            Err(_) => ledger.unanswered.add(nonce),
        });
        result
    }
}

async fn exchange(
    link: &mut Link,
    connector: &Connector,
    request: &mut Request<Body>,
    answer: &mut Answer,
) -> Result<(), Trouble> {
    let connection = link.ready(connector).await?;
    let (head, mut body) = connection.send(request).await?.into_parts();
    answer.head(head.status, head.headers);
    // Where the length is known nobody has to ask whether there is more.
    while !hyper::body::Body::is_end_stream(&body) {
        match connection.piece(&mut body).await? {
            Piece::Data(bytes) => answer.add(&bytes),
            Piece::Trailers(trailers) => answer.end(trailers),
            Piece::End => break,
        }
    }
    Ok(())
}

/// One timer for all requests of a user: set anew only when its old time has come.
pub(super) struct Deadline(Pin<Box<Sleep>>);

impl Default for Deadline {
    fn default() -> Self {
        Self(Box::pin(sleep(Duration::ZERO)))
    }
}

impl Deadline {
    pub(super) async fn within<T>(
        &mut self,
        patience: Duration,
        work: impl Future<Output = Result<T, Trouble>>,
    ) -> Result<T, Trouble> {
        let end = Instant::now() + patience;
        let mut work = pin!(work);
        poll_fn(|context| match work.as_mut().poll(context) {
            Poll::Ready(result) => Poll::Ready(result),
            Poll::Pending => self.poll_end(end, context).map(|()| Err(Trouble::Timeout)),
        })
        .await
    }

    fn poll_end(&mut self, end: Instant, context: &mut Context<'_>) -> Poll<()> {
        while self.0.as_mut().poll(context).is_ready() {
            if Instant::now() >= end {
                return Poll::Ready(());
            }
            self.0.as_mut().reset(end);
        }
        Poll::Pending
    }
}

//! A client that registers, changes and removes users, and remembers what it was answered.

use std::net::SocketAddr;
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use crate::ledger::{Ledger, Stored};
use crate::random;

/// Between two writes of one client, so that the machine is left for others.
const PAUSE: Duration = Duration::from_millis(10);
const ANSWER_TIME_MAX: Duration = Duration::from_secs(10);
/// Emails that all clients want.
const CONTESTED_EMAILS: u64 = 200;

/// See the file's own words.
pub(crate) struct Writer {
    number: usize,
    count: usize,
    address: SocketAddr,
    /// Ids of users who are there as far as this client knows.
    present: Vec<String>,
    ledger: Ledger,
}

impl Writer {
    pub(crate) fn new(number: usize, address: SocketAddr) -> Self {
        Self { number, count: 0, address, present: Vec::new(), ledger: Ledger::default() }
    }

    pub(crate) async fn write_until(mut self, ended: watch::Receiver<bool>) -> Ledger {
        while !*ended.borrow() {
            self.count += 1;
            let user = usize::try_from(random(self.present.len().max(1) as u64)).unwrap();
            match random(10) {
                0..5 => self.create().await,
                5..8 if !self.present.is_empty() => self.change(user).await,
                8..10 if !self.present.is_empty() => self.remove(user).await,
                _ => {}
            }
            sleep(PAUSE).await;
        }
        self.ledger
    }

    async fn ask(&self, method: &str, path: &str, body: Option<Value>) -> Option<Answer> {
        let answer = ask(self.address, method, path, body).await?;
        // Whether it did or not, the service itself does not know.
        (!answer.status.is_server_error()).then_some(answer)
    }

    /// Half of them want an email that others want too.
    fn new_email(&self) -> String {
        if random(2) == 0 {
            return format!("contested-{}@example.org", random(CONTESTED_EMAILS));
        }
        format!("{}-{}@example.org", self.number, self.count)
    }

    async fn create(&mut self) {
        let (name, email) = (format!("{} {}", self.number, self.count), self.new_email());
        let draft = json!({ "name": name, "email": email, "password": "s3cret" });
        let Some(answer) = self.ask("POST", "/user", Some(draft)).await else {
            return self.ledger.doubt_new(email);
        };
        match answer.status.as_u16() {
            201 => {
                let stored: Stored = serde_json::from_str(&answer.text).unwrap();
                let id = stored.id.clone();
                self.ledger.acknowledge(&id, Some(stored));
                self.present.push(id.clone());
                self.read_back(&id).await;
            }
            409 => self.ledger.sums.refused += 1,
            status => panic!("{status} {}", answer.text),
        }
    }

    async fn change(&mut self, user: usize) {
        let id = self.present[user].clone();
        let (name, email) = (format!("{} {}", self.number, self.count), self.new_email());
        let stored = Stored { id: id.clone(), name: name.clone(), email: email.clone() };
        let draft = json!({ "name": name, "email": email });
        let Some(answer) = self.ask("PUT", &format!("/user/{id}"), Some(draft)).await else {
            return self.ledger.doubt(&id, Some(stored));
        };
        match answer.status.as_u16() {
            200 => {
                self.ledger.acknowledge(&id, Some(stored));
                self.read_back(&id).await;
            }
            409 => self.ledger.sums.refused += 1,
            404 => self.must_be_gone(user),
            status => panic!("{status} {}", answer.text),
        }
    }

    async fn remove(&mut self, user: usize) {
        let id = self.present[user].clone();
        let Some(answer) = self.ask("DELETE", &format!("/user/{id}"), None).await else {
            return self.ledger.doubt(&id, None);
        };
        match answer.status.as_u16() {
            204 => {
                self.ledger.acknowledge(&id, None);
                self.present.swap_remove(user);
                self.read_back(&id).await;
            }
            404 => self.must_be_gone(user),
            status => panic!("{status} {}", answer.text),
        }
    }

    /// A user who is not there was removed by a request that got no answer.
    fn must_be_gone(&mut self, user: usize) {
        let id = self.present.swap_remove(user);
        assert!(self.ledger.states(&id).contains(&None), "{id} is lost while we write");
    }

    /// Read your writes, if there is anybody to read from.
    async fn read_back(&mut self, id: &str) {
        let Some(answer) = self.ask("GET", &format!("/user/{id}"), None).await else { return };
        let found: Option<Stored> = match answer.status.as_u16() {
            200 => Some(serde_json::from_str(&answer.text).unwrap()),
            404 => None,
            status => panic!("{status} {}", answer.text),
        };
        assert_eq!(self.ledger.states(id), [found], "{id} is not what was just written");
        self.ledger.sums.reads_checked += 1;
    }
}

/// What came back.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) text: String,
}

/// Asks once; no answer in time is none.
pub(crate) async fn ask(
    address: SocketAddr,
    method: &str,
    path: &str,
    body: Option<Value>,
) -> Option<Answer> {
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("host", "users")
        .header("content-type", "application/json")
        .body(Full::new(Bytes::from(body.map(|it| it.to_string()).unwrap_or_default())))
        .unwrap();
    let answered = timeout(ANSWER_TIME_MAX, async {
        let stream = tokio::net::TcpStream::connect(address).await.ok()?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.ok()?;
        let connection = tokio::spawn(connection);
        let response = sender.send_request(request).await.ok()?;
        let status = response.status();
        let bytes = response.into_body().collect().await.ok()?.to_bytes();
        connection.abort();
        Some(Answer { status, text: String::from_utf8(bytes.to_vec()).unwrap() })
    });
    answered.await.ok().flatten()
}

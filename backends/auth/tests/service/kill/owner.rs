//! Somebody who logs in by password and by browser, changes tokens, logs out, and tries what is spent.

use std::net::SocketAddr;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::{Request, header};
use serde_json::json;
use tokio::sync::watch;
use tokio::time::sleep;

use super::ledger::{Door, Ledger, Reply, Standing, Token};
use super::random;
use crate::browser::{CALLBACK, VERIFIER, hidden, usual};
use crate::rig::{Answer, form_request, json_request, try_send};
use crate::users_stub::PASSWORD;

/// Between two requests of one owner, so that the machine is left for others.
const PAUSE: Duration = Duration::from_millis(10);
/// Of logins and of sessions, unanswered ones not counted: the service ends the oldest of more than a hundred.
const HELD_MAX: usize = 20;

/// See the file's own words.
pub(crate) struct Owner {
    address: SocketAddr,
    email: &'static str,
    ledger: Ledger,
}

impl Owner {
    pub(crate) fn new(address: SocketAddr, email: &'static str) -> Self {
        Self { address, email, ledger: Ledger::default() }
    }

    pub(crate) async fn work_until(mut self, ended: watch::Receiver<bool>) -> Self {
        while !*ended.borrow() {
            match random(10) {
                0 if self.ledger.tokens.len() < HELD_MAX => self.log_in().await,
                1..4 if self.ledger.tokens.len() < HELD_MAX => self.use_browser().await,
                4..7 => self.rotate().await,
                7 => self.replay_token().await,
                8 => self.replay_code().await,
                _ => self.log_out().await,
            }
            sleep(PAUSE).await;
        }
        self
    }

    /// Asks about everything once more. What must be good first: what is tried twice ends it.
    pub(crate) async fn settle(mut self) -> Ledger {
        let unanswered = self.ledger.sums.unanswered;
        for code in std::mem::take(&mut self.ledger.codes) {
            self.redeem(code, Standing::Doubtful).await;
        }
        for (token, standing) in std::mem::take(&mut self.ledger.tokens) {
            let reply = self.exchange(&token).await;
            self.ledger.sums.found_again += usize::from(matches!(reply, Reply::Given(_)));
            self.ledger.exchanged(token, standing, reply);
        }
        for session in self.ledger.sessions.clone() {
            let found = self.code_of(&session).await.is_some();
            self.ledger.sums.found_again += usize::from(found);
        }
        for token in self.ledger.spent_tokens.clone() {
            let reply = self.exchange(&token).await;
            self.ledger.replayed(&token.text, &reply);
        }
        for (code, _) in self.ledger.spent_codes.clone() {
            let reply = self.present(&code).await;
            self.ledger.replayed(&code, &reply);
        }
        assert_eq!(self.ledger.sums.unanswered, unanswered, "nobody is killed any more");
        self.ledger
    }

    /// What was answered; that the service or its database cannot be reached is no answer.
    async fn ask(&self, request: Request<Full<Bytes>>) -> Option<Answer> {
        let answer = try_send(self.address, request).await?;
        let told = answer.headers.get(header::LOCATION).and_then(|it| it.to_str().ok());
        let cannot = told.is_some_and(|it| it.contains("error=temporarily_unavailable"));
        (!answer.status.is_server_error() && !cannot).then_some(answer)
    }

    async fn log_in(&mut self) {
        let body = json!({ "email": self.email, "password": PASSWORD });
        let Some(answer) = self.ask(json_request("/login", &body)).await else {
            self.ledger.sums.unanswered += 1;
            return;
        };
        assert_eq!(answer.status, 200, "{}", answer.text);
        self.ledger.sums.logins += 1;
        let token = Token { door: Door::Password, text: refresh_token(&answer) };
        self.ledger.tokens.push((token, Standing::Good));
    }

    /// Gets a code, of a new session or of one that is there, and exchanges it; first one that is in doubt.
    async fn use_browser(&mut self) {
        if let Some(code) = self.ledger.codes.pop() {
            return self.redeem(code, Standing::Doubtful).await;
        }
        let session = pick(&self.ledger.sessions);
        let code = match session {
            Some(place) if self.ledger.sessions.len() >= HELD_MAX || random(2) == 0 => {
                let session = self.ledger.sessions[place].clone();
                self.code_of(&session).await
            }
            Some(_) | None => self.code_of_new_session().await,
        };
        match code {
            Some(code) => self.redeem(code, Standing::Good).await,
            None => self.ledger.sums.unanswered += 1,
        }
    }

    async fn code_of(&mut self, session: &str) -> Option<String> {
        let request = Request::get(usual()).header(header::COOKIE, session);
        let answer = self.ask(request.body(Full::default()).unwrap()).await?;
        if answer.status != 303 {
            self.ledger.broken.push(format!("not logged in any more: {session}"));
            return None;
        }
        Some(code(&answer))
    }

    async fn code_of_new_session(&mut self) -> Option<String> {
        let form = self.ask(Request::get(usual()).body(Full::default()).unwrap()).await?;
        let (csrf, authorization) = (hidden(&form, "csrf"), hidden(&form, "authorization"));
        let pairs = [
            ("csrf", csrf.as_str()),
            ("authorization", &authorization),
            ("email", self.email),
            ("password", PASSWORD),
        ];
        let mut request = form_request("/authorize/login", &pairs);
        let cookie = cookie_of(&form).parse().unwrap();
        request.headers_mut().insert(header::COOKIE, cookie);
        let answer = self.ask(request).await?;
        assert_eq!(answer.status, 303, "{}", answer.text);
        self.ledger.sums.logins += 1;
        self.ledger.sessions.push(cookie_of(&answer));
        Some(code(&answer))
    }

    async fn redeem(&mut self, code: String, standing: Standing) {
        let reply = self.present(&code).await;
        self.ledger.redeemed(code, standing, reply);
    }

    async fn rotate(&mut self) {
        let Some(place) = pick(&self.ledger.tokens) else { return };
        let (token, standing) = self.ledger.tokens.swap_remove(place);
        let reply = self.exchange(&token).await;
        self.ledger.exchanged(token, standing, reply);
    }

    async fn log_out(&mut self) {
        let Some(place) = pick(&self.ledger.tokens) else { return };
        let (token, _) = self.ledger.tokens.swap_remove(place);
        let body = json!({ "refresh_token": token.text });
        match self.ask(json_request("/logout", &body)).await {
            Some(answer) => {
                assert_eq!(answer.status, 204, "{}", answer.text);
                self.ledger.sums.logouts += 1;
                self.ledger.spent_tokens.push(token);
            }
            None => self.ledger.exchanged(token, Standing::Doubtful, Reply::Unanswered),
        }
    }

    /// A spent token ends its login, so what is held of that login ends with it.
    async fn replay_token(&mut self) {
        let Some(place) = pick(&self.ledger.spent_tokens) else { return };
        let token = self.ledger.spent_tokens[place].clone();
        let reply = self.exchange(&token).await;
        self.ledger.replayed(&token.text, &reply);
        let is_of_it = |held: &mut (Token, Standing)| held.0.login() == token.login();
        let ended: Vec<_> = self.ledger.tokens.extract_if(.., is_of_it).collect();
        for (token, _) in ended {
            if reply == Reply::Refused {
                self.ledger.spent_tokens.push(token);
            } else {
                self.ledger.tokens.push((token, Standing::Doubtful));
            }
        }
    }

    /// A spent code ends its login unless the service has forgotten the code, of which a user has a hundred.
    async fn replay_code(&mut self) {
        let Some(place) = pick(&self.ledger.spent_codes) else { return };
        let (code, login) = self.ledger.spent_codes[place].clone();
        let reply = self.present(&code).await;
        self.ledger.replayed(&code, &reply);
        for (token, standing) in &mut self.ledger.tokens {
            if Some(token.login()) == login.as_deref() {
                *standing = Standing::Doubtful;
            }
        }
    }

    async fn exchange(&self, token: &Token) -> Reply {
        let request = match token.door {
            Door::Password => json_request("/refresh", &json!({ "refresh_token": token.text })),
            Door::Browser => {
                let kind = ("grant_type", "refresh_token");
                form_request(
                    "/token",
                    &[kind, ("client_id", "web"), ("refresh_token", &token.text)],
                )
            }
        };
        reply(self.ask(request).await)
    }

    async fn present(&self, code: &str) -> Reply {
        let pairs = [
            ("grant_type", "authorization_code"),
            ("client_id", "web"),
            ("redirect_uri", CALLBACK),
            ("code_verifier", VERIFIER),
            ("code", code),
        ];
        reply(self.ask(form_request("/token", &pairs)).await)
    }
}

fn reply(answer: Option<Answer>) -> Reply {
    match answer {
        None => Reply::Unanswered,
        Some(answer) if answer.status == 200 => Reply::Given(refresh_token(&answer)),
        Some(_) => Reply::Refused,
    }
}

fn refresh_token(answer: &Answer) -> String {
    answer.json()["refresh_token"].as_str().unwrap().to_owned()
}

fn code(answer: &Answer) -> String {
    answer.answered(CALLBACK).of("code").unwrap().to_owned()
}

/// The cookie that an answer sets, as it is sent back.
fn cookie_of(answer: &Answer) -> String {
    answer.header("set-cookie").split(';').next().unwrap().to_owned()
}

/// A place in a list that is not empty.
fn pick<T>(list: &[T]) -> Option<usize> {
    let length = u64::try_from(list.len()).ok().filter(|length| *length > 0)?;
    usize::try_from(random(length)).ok()
}

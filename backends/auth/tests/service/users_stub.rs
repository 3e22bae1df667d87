//! A users service as far as auth needs one: it keeps its contract, and can be told to fail.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::{Value, json};

pub(crate) const ANN_ID: &str = "8d5e7a52-2f9b-4b0c-9a55-0d3d8d3f3f5e";
pub(crate) const BOB_ID: &str = "1c2a4f6e-52d7-4a8e-8a53-9f1f6f0f7a11";
pub(crate) const PASSWORD: &str = "correct-horse-battery-staple";

/// What the stub knows and was asked.
pub(crate) struct Known {
    /// Id, name, email.
    pub(crate) users: Vec<(&'static str, &'static str, &'static str)>,
    pub(crate) answers: bool,
    pub(crate) correlation_ids: Vec<String>,
}

/// A running stub; it ends with the test's runtime.
#[derive(Clone)]
pub(crate) struct UsersStub {
    pub(crate) address: SocketAddr,
    known: Arc<Mutex<Known>>,
}

impl UsersStub {
    pub(crate) async fn start() -> Self {
        let users = vec![(ANN_ID, "Ann", "ann@example.org"), (BOB_ID, "Bob", "bob@example.org")];
        let known = Known { users, answers: true, correlation_ids: Vec::new() };
        let known = Arc::new(Mutex::new(known));
        let app = Router::new()
            .route("/user/verify", post(verify))
            .route("/user/{id}", get(find))
            .route("/health", get(health))
            .with_state(Arc::clone(&known));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, app).await });
        Self { address, known }
    }

    /// Changes what the stub knows.
    pub(crate) fn change<T>(&self, change: impl FnOnce(&mut Known) -> T) -> T {
        change(&mut self.known.lock().unwrap())
    }
}

type Shared = State<Arc<Mutex<Known>>>;

fn down() -> Response {
    (StatusCode::SERVICE_UNAVAILABLE, Json(json!({ "error": "not now" }))).into_response()
}

async fn verify(State(known): Shared, headers: HeaderMap, Json(asked): Json<Value>) -> Response {
    let mut known = known.lock().unwrap();
    if !known.answers {
        return down();
    }
    let id = headers["x-correlation-id"].to_str().unwrap().to_owned();
    known.correlation_ids.push(id);
    let email = asked["email"].as_str().unwrap();
    let found = known.users.iter().find(|(_, _, known)| known.eq_ignore_ascii_case(email));
    match found {
        Some((id, name, email)) if asked["password"] == PASSWORD => {
            Json(json!({ "id": id, "name": name, "email": email })).into_response()
        }
        _ => (StatusCode::UNAUTHORIZED, Json(json!({ "error": "no" }))).into_response(),
    }
}

async fn find(State(known): Shared, Path(id): Path<String>) -> Response {
    let known = known.lock().unwrap();
    if !known.answers {
        return down();
    }
    match known.users.iter().find(|(known, _, _)| *known == id) {
        Some((id, name, email)) => {
            Json(json!({ "id": id, "name": name, "email": email })).into_response()
        }
        None => (StatusCode::NOT_FOUND, Json(json!({ "error": "no" }))).into_response(),
    }
}

async fn health(State(known): Shared) -> Response {
    if known.lock().unwrap().answers {
        Json(json!({ "status": "ok" })).into_response()
    } else {
        down()
    }
}

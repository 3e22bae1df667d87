//! The answers of the admin endpoint; the only room here that chooses an error's status.

use bytes::Bytes;
use http::header::{
    ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, WWW_AUTHENTICATE,
    X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderValue, Response, StatusCode};
use http_body_util::Full;
use serde::Serialize;

use super::Unknown;
use super::view::{NotReady, ProblemView, problem_views};
use crate::config::Problems;

/// An answer.
pub(super) type Reply = Response<Full<Bytes>>;

/// Why a request is not granted.
pub(super) enum Denial {
    NotFound,
    MethodNotAllowed {
        allow: &'static str,
    },
    WrongToken,
    NoToken,
    BodyTooLarge {
        bytes_max: usize,
    },
    BodyNotText,
    BodyBroken,
    /// The body does not say what it should; what would have done.
    Body(String),
    Unknown(Unknown),
    Failed,
}

/// RFC 9457, with the config's problems where there are some.
#[derive(Serialize)]
struct Problem<'a> {
    title: &'a str,
    status: u16,
    detail: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    problems: Option<Vec<ProblemView>>,
}

/// 200 with text.
pub(super) fn text(content_type: &'static str, body: impl Into<Bytes>) -> Reply {
    with_type(StatusCode::OK, content_type, body.into())
}

/// 200 with JSON.
pub(super) fn json(value: &impl Serialize) -> Reply {
    json_as(StatusCode::OK, "application/json", value)
}

/// 503 for whoever asks whether to send traffic.
pub(super) fn not_ready(reasons: Vec<String>) -> Reply {
    let body = NotReady { ready: false, reasons };
    json_as(StatusCode::SERVICE_UNAVAILABLE, "application/json", &body)
}

/// 422: the configuration is refused.
pub(super) fn refused_config(problems: &Problems) -> Reply {
    let status = StatusCode::UNPROCESSABLE_ENTITY;
    let body = Problem {
        title: "The configuration is refused",
        status: status.as_u16(),
        detail: "nothing was changed",
        problems: Some(problem_views(problems)),
    };
    json_as(status, "application/problem+json", &body)
}

/// The reply to a request that is not granted.
pub(super) fn denied(denial: &Denial) -> Reply {
    let worked_out;
    let (status, detail) = match denial {
        Denial::NotFound => {
            (StatusCode::NOT_FOUND, "there is nothing here; /api/v1/openapi.json lists what is")
        }
        Denial::MethodNotAllowed { .. } => {
            (StatusCode::METHOD_NOT_ALLOWED, "this path takes other methods; see Allow")
        }
        Denial::WrongToken => {
            (StatusCode::UNAUTHORIZED, "send the token of [admin] as Authorization: Bearer TOKEN")
        }
        Denial::NoToken => (
            StatusCode::FORBIDDEN,
            "the configuration has no admin.token; with one the API can be used",
        ),
        Denial::BodyTooLarge { bytes_max } => {
            worked_out = format!("the body may have {bytes_max} bytes");
            (StatusCode::PAYLOAD_TOO_LARGE, &*worked_out)
        }
        Denial::BodyNotText => (StatusCode::BAD_REQUEST, "the body is not UTF-8 text"),
        Denial::BodyBroken => (StatusCode::BAD_REQUEST, "the body did not arrive as a whole"),
        Denial::Body(why) => (StatusCode::BAD_REQUEST, &**why),
        Denial::Unknown(unknown) => {
            worked_out = unknown.to_string();
            (StatusCode::NOT_FOUND, &*worked_out)
        }
        Denial::Failed => {
            (StatusCode::INTERNAL_SERVER_ERROR, "the gateway failed here; its log says more")
        }
    };
    let title = status.canonical_reason().unwrap_or_default();
    let body = Problem { title, status: status.as_u16(), detail, problems: None };
    let mut reply = json_as(status, "application/problem+json", &body);
    if let Denial::MethodNotAllowed { allow } = denial {
        reply.headers_mut().insert(ALLOW, HeaderValue::from_static(allow));
    }
    if let Denial::WrongToken = denial {
        let challenge = HeaderValue::from_static("Bearer realm=\"gateway admin\"");
        reply.headers_mut().insert(WWW_AUTHENTICATE, challenge);
    }
    reply
}

fn json_as(status: StatusCode, content_type: &'static str, value: &impl Serialize) -> Reply {
    // Our own structs with string keys: serde_json has nothing to fail at.
    let body = serde_json::to_vec_pretty(value).unwrap_or_default();
    with_type(status, content_type, body.into())
}

fn with_type(status: StatusCode, content_type: &'static str, body: Bytes) -> Reply {
    let mut reply = Response::new(Full::new(body));
    *reply.status_mut() = status;
    let headers = reply.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    let policy = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'";
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy));
    reply
}

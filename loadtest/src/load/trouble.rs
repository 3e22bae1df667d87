//! What can go wrong with a request, counted by kind.

use std::fmt;

use http::StatusCode;

/// Why a request failed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Trouble {
    /// No TCP connection.
    Connect,
    /// No TLS, or the wrong protocol in it.
    Tls,
    /// The connection ended before an answer.
    Closed,
    /// The answer ended before its end.
    Truncated,
    /// The answer is no HTTP.
    Protocol,
    /// It took longer than the scenario's timeout.
    Timeout,
    /// A status that was not expected.
    Status(StatusCode),
    /// A field that was not expected.
    Field,
    /// A body that was not expected.
    Body,
    /// A gRPC status other than 0, or none.
    Grpc(String),
    /// A WebSocket message came back other than it went.
    Echo,
    /// The answer to another request.
    Swapped,
    /// As long as the origin's, but not the same.
    Changed,
    /// A placeholder made an invalid path or field.
    Request,
    /// A login failed: the user sent nothing.
    Login,
}

impl fmt::Display for Trouble {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Self::Connect => "connect",
            Self::Tls => "tls",
            Self::Closed => "closed before the answer",
            Self::Truncated => "truncated",
            Self::Protocol => "protocol",
            Self::Timeout => "timeout",
            Self::Status(status) => return write!(formatter, "status {}", status.as_u16()),
            Self::Field => "field not as expected",
            Self::Body => "body not as expected",
            Self::Grpc(status) => return write!(formatter, "grpc-status {status}"),
            Self::Echo => "echo differs",
            Self::Swapped => "another request's answer",
            Self::Changed => "changed on the way",
            Self::Request => "request cannot be built",
            Self::Login => "login failed",
        };
        formatter.write_str(text)
    }
}

impl Trouble {
    /// Whether there was an answer, so that its latency means something; a timeout's does too.
    pub(super) const fn has_latency(&self) -> bool {
        match self {
            Self::Timeout
            | Self::Status(_)
            | Self::Field
            | Self::Body
            | Self::Grpc(_)
            | Self::Echo
            | Self::Swapped
            | Self::Changed => true,
            Self::Connect
            | Self::Tls
            | Self::Closed
            | Self::Truncated
            | Self::Protocol
            | Self::Request
            | Self::Login => false,
        }
    }
}

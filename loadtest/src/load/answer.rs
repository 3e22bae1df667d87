//! A whole answer, and whether it is what was expected.

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, StatusCode};
use serde_json::Value;

use super::scenario::{Expect, Step};
use super::trouble::Trouble;
use crate::digest::{Digest, HASH, text};

/// What is kept of an answer's body.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reading {
    gather: bool,
    hash: bool,
}

/// A gathered body is at most this long; the rest of a longer one is only counted.
const GATHERED_MAX: usize = 16 * 1024 * 1024;

impl Reading {
    /// For a login's answers: they are few.
    pub(super) const fn whole() -> Self {
        Self { gather: true, hash: false }
    }

    pub(super) fn of(step: &Step, in_ledger: bool) -> Self {
        Self { gather: step.expect.reads_body() || !step.save.is_empty(), hash: in_ledger }
    }
}

/// Status, fields, and what was read of the body; used again for the next answer.
#[derive(Default)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) bytes: u64,
    body: BytesMut,
    digest: Option<Digest>,
    trailers: Option<HeaderMap>,
    gather: bool,
}

impl Answer {
    /// Forgets the answer before.
    pub(super) fn begin(&mut self, reading: Reading) {
        self.bytes = 0;
        self.gather = reading.gather;
        self.digest = reading.hash.then(Digest::default);
        self.trailers = None;
        self.body.clear();
    }

    pub(super) fn head(&mut self, status: StatusCode, headers: HeaderMap) {
        self.status = status;
        self.headers = headers;
    }

    pub(super) fn add(&mut self, piece: &Bytes) {
        self.bytes += piece.len() as u64;
        if let Some(digest) = &mut self.digest {
            digest.add(piece);
        }
        if self.gather && self.body.len() + piece.len() <= GATHERED_MAX {
            self.body.extend_from_slice(piece);
        }
    }

    pub(super) fn end(&mut self, trailers: HeaderMap) {
        self.trailers = Some(trailers);
    }

    pub(super) fn field(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// Whether the body is the one that the origin meant to send, where it says so.
    pub(super) fn is_unchanged(&self) -> bool {
        let (Some(digest), Some(theirs)) = (&self.digest, self.headers.get(HASH)) else {
            return true;
        };
        *theirs == text(digest.finish())[..]
    }

    pub(super) fn json(&self) -> Option<Value> {
        serde_json::from_slice(&self.body).ok()
    }

    /// Compares with what the scenario expects.
    pub(super) fn check(&self, step: &Step) -> Result<(), Trouble> {
        let Expect { status, body_contains, json, headers } = &step.expect;
        let as_expected = match status.as_slice() {
            [] => self.status.as_u16() < 400,
            listed => listed.contains(&self.status),
        };
        if !as_expected {
            return Err(Trouble::Status(self.status));
        }
        if step.grpc {
            self.check_grpc()?;
        }
        if headers.iter().any(|(name, value)| self.headers.get(name) != Some(value)) {
            return Err(Trouble::Field);
        }
        if let Some(text) = body_contains
            && !contains(&self.body, text.as_bytes())
        {
            return Err(Trouble::Body);
        }
        match json.is_empty() || self.has(json) {
            true => Ok(()),
            false => Err(Trouble::Body),
        }
    }

    fn has(&self, expected: &std::collections::BTreeMap<String, Value>) -> bool {
        let Some(document) = self.json() else { return false };
        expected.iter().all(|(pointer, value)| document.pointer(pointer) == Some(value))
    }

    /// The status stands in the trailers, or in the head of an answer without a message.
    fn check_grpc(&self) -> Result<(), Trouble> {
        let status = self.trailers.as_ref().unwrap_or(&self.headers).get("grpc-status");
        match status.map(|value| value.to_str().unwrap_or("unreadable")) {
            Some("0") => Ok(()),
            Some(other) => Err(Trouble::Grpc(other.to_owned())),
            None => Err(Trouble::Grpc("missing".to_owned())),
        }
    }
}

fn contains(body: &[u8], text: &[u8]) -> bool {
    text.is_empty() || body.windows(text.len()).any(|window| window == text)
}

//! The id that names one request through every hop and log line.

use std::str::FromStr;

use axum::http::{HeaderMap, HeaderName, HeaderValue};

/// The header that carries it.
pub(crate) const CORRELATION_ID: HeaderName = HeaderName::from_static("x-correlation-id");
const BYTES_MAX: usize = 128;

/// Short and printable, so that it can stand in any header and log line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CorrelationId(HeaderValue);

impl CorrelationId {
    pub(crate) fn random() -> Self {
        let id = uuid::Uuid::new_v4().to_string();
        Self(HeaderValue::try_from(id).expect("a UUID is made of hexadecimal digits and hyphens"))
    }

    /// The id that came with a request, or a new one if none came that is sane.
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let text = headers.get(CORRELATION_ID).and_then(|id| id.to_str().ok());
        text.and_then(|id| id.parse().ok()).unwrap_or_else(Self::random)
    }

    pub(crate) fn as_str(&self) -> &str {
        self.0.to_str().unwrap_or_default()
    }

    pub(crate) fn into_header(self) -> HeaderValue {
        self.0
    }
}

impl FromStr for CorrelationId {
    type Err = NotSane;

    fn from_str(text: &str) -> Result<Self, NotSane> {
        let sane = (1..=BYTES_MAX).contains(&text.len())
            && text.bytes().all(|byte| byte.is_ascii_graphic());
        if !sane {
            return Err(NotSane);
        }
        HeaderValue::try_from(text).map(Self).map_err(|_| NotSane)
    }
}

/// Too long, empty, or with spaces or what cannot be printed.
#[derive(Debug)]
pub(crate) struct NotSane;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_correlation_id_is_kept_only_if_it_is_short_and_printable() {
        let longest = "a".repeat(BYTES_MAX);
        let too_long = "a".repeat(BYTES_MAX + 1);
        for (id, kept) in
            [("abc-123", true), (&longest, true), (&too_long, false), ("", false), ("a b", false)]
        {
            let mut headers = HeaderMap::new();
            headers.insert(CORRELATION_ID, HeaderValue::from_str(id).unwrap());
            assert_eq!(CorrelationId::of(&headers).as_str() == id, kept, "{id:?}");
        }
    }
}

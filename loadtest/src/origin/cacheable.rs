//! Answers that may be kept: whether the client's copy still holds (RFC 9110, section 13).

use http::{HeaderMap, HeaderValue, Method, header};

/// What the client has already.
#[derive(Default)]
pub(super) struct Conditions {
    tags: Option<HeaderValue>,
    since: Option<HeaderValue>,
}

impl Conditions {
    pub(super) fn of(method: &Method, headers: &HeaderMap) -> Self {
        if *method != Method::GET && *method != Method::HEAD {
            return Self::default();
        }
        Self {
            tags: headers.get(header::IF_NONE_MATCH).cloned(),
            since: headers.get(header::IF_MODIFIED_SINCE).cloned(),
        }
    }

    /// The copy is as good as the answer with these headers. A list of tags counts before a date.
    pub(super) fn hold(&self, answer: &HeaderMap) -> bool {
        if let Some(tags) = &self.tags {
            let own = answer.get(header::ETAG).and_then(|tag| tag.to_str().ok());
            let (Some(own), Ok(tags)) = (own, tags.to_str()) else { return false };
            return tags.trim() == "*" || tags.split(',').any(|tag| weak(tag.trim()) == weak(own));
        }
        let date = |value: &HeaderValue| httpdate::parse_http_date(value.to_str().ok()?).ok();
        let since = self.since.as_ref().and_then(date);
        let changed = answer.get(header::LAST_MODIFIED).and_then(date);
        since.zip(changed).is_some_and(|(since, changed)| changed <= since)
    }
}

/// Strength plays no part in If-None-Match.
fn weak(tag: &str) -> &str {
    tag.strip_prefix("W/").unwrap_or(tag)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DATE: &str = "Mon, 23 Nov 2026 08:00:00 GMT";
    const LATER: &str = "Mon, 23 Nov 2026 08:00:01 GMT";

    fn hold(
        asked: &[(&'static str, &'static str)],
        answer: &[(&'static str, &'static str)],
    ) -> bool {
        let headers = |pairs: &[(&'static str, &'static str)]| -> HeaderMap {
            let pair = |&(name, value)| {
                (http::HeaderName::from_static(name), HeaderValue::from_static(value))
            };
            pairs.iter().map(pair).collect()
        };
        Conditions::of(&Method::GET, &headers(asked)).hold(&headers(answer))
    }

    #[test]
    fn a_copy_holds_by_tag_or_by_date() {
        let tag = [("etag", "\"a\"")];
        for list in ["\"a\"", "W/\"a\"", "\"b\", \"a\"", "*"] {
            assert!(hold(&[("if-none-match", list)], &tag), "{list}");
        }
        assert!(!hold(&[("if-none-match", "\"b\"")], &tag));
        assert!(!hold(&[("if-none-match", "*")], &[]));
        assert!(hold(&[("if-modified-since", DATE)], &[("last-modified", DATE)]));
        assert!(hold(&[("if-modified-since", LATER)], &[("last-modified", DATE)]));
        assert!(!hold(&[("if-modified-since", DATE)], &[("last-modified", LATER)]));
        assert!(!hold(&[], &[("last-modified", DATE), ("etag", "\"a\"")]));
        // The tag says no, whatever the date says.
        let both = [("if-none-match", "\"b\""), ("if-modified-since", DATE)];
        assert!(!hold(&both, &[("etag", "\"a\""), ("last-modified", DATE)]));
        let post = Conditions::of(&Method::POST, &HeaderMap::new());
        assert!(!post.hold(&HeaderMap::new()));
    }
}

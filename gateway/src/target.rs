//! Where a request goes: the one host and path it names, and what a server sees of them.

use std::borrow::Cow;

use http::uri::PathAndQuery;
use http::{HeaderValue, Uri, Version, header, request};

use crate::config::Template;
use crate::reply::Failure;
use crate::routing::parameters::{Parameters, expand};
use crate::routing::path::PathRefusal;

/// The path a route was found by.
pub(crate) struct At<'a> {
    /// In its one form.
    pub(crate) path: &'a str,
    /// Where the route's parameters stand in it.
    pub(crate) parameters: Parameters,
}

/// The one host the request names. HTTP/1: `Host`, or the target's where that has one (RFC 9112, section 3.2.2).
/// HTTP/2: `:authority`, and `Host` must not differ (RFC 9113, section 8.3.1). Afterwards it stands in `Host`.
pub(crate) fn authority(parts: &mut request::Parts) -> Result<Option<HeaderValue>, Failure> {
    let host = parts.headers.get(header::HOST).cloned();
    let Some(authority) = parts.uri.authority() else { return Ok(host) };
    let authority = HeaderValue::from_str(authority.as_str()).map_err(|_| Failure::Authority)?;
    let differs =
        host.is_some_and(|host| !host.as_bytes().eq_ignore_ascii_case(authority.as_bytes()));
    if differs && parts.version == Version::HTTP_2 {
        return Err(Failure::Authority);
    }
    parts.headers.insert(header::HOST, authority.clone());
    Ok(Some(authority))
}

/// The host without its port, in lower case. HTTP/1 heads were judged on the wire; HTTP/2 has no wire of ours.
pub(crate) fn host_of(
    authority: &Option<HeaderValue>,
    version: Version,
) -> Result<Cow<'_, str>, Failure> {
    let Some(authority) = authority else { return Ok(Cow::Borrowed("")) };
    let bytes = authority.as_bytes();
    if version == Version::HTTP_2 && !crate::syntax::is_authority(bytes) {
        return Err(Failure::Authority);
    }
    let end = match bytes.first() {
        Some(b'[') => {
            bytes.iter().position(|&byte| byte == b']').map_or(bytes.len(), |end| end + 1)
        }
        Some(_) | None => bytes.iter().position(|&byte| byte == b':').unwrap_or(bytes.len()),
    };
    let host = std::str::from_utf8(&bytes[..end]).map_err(|_| Failure::Authority)?;
    let has_upper = host.bytes().any(|byte| byte.is_ascii_uppercase());
    Ok(if has_upper { Cow::Owned(host.to_ascii_lowercase()) } else { Cow::Borrowed(host) })
}

/// Path and query as the server sees them: origin form, rewritten if the route says so.
pub(crate) fn target(uri: &Uri, rewrite: Option<&Template>, at: &At<'_>) -> Uri {
    let same = rewrite.is_none() && at.path.len() == uri.path().len() && uri.authority().is_none();
    if same && at.path == uri.path() {
        return uri.clone();
    }
    let mut text = String::with_capacity(at.path.len() + 32);
    match rewrite {
        Some(template) => expand(template, &at.parameters, at.path, &mut text),
        None => text.push_str(at.path),
    }
    if let Some(query) = uri.query() {
        text.push('?');
        text.push_str(query);
    }
    // Made of parts of a valid target and a checked template.
    PathAndQuery::try_from(text).map_or_else(|_| uri.clone(), Uri::from)
}

/// The `Location` of a redirect.
pub(crate) fn redirect_to(
    location: &Template,
    uri: &Uri,
    at: &At<'_>,
) -> Result<HeaderValue, Failure> {
    let mut text = String::new();
    expand(location, &at.parameters, at.path, &mut text);
    if let (Some(query), false) = (uri.query(), text.contains('?')) {
        text.push('?');
        text.push_str(query);
    }
    HeaderValue::try_from(text).map_err(|_| Failure::Path(PathRefusal::Control))
}

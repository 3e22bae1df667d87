//! Where a request goes: the one host and path it names, and what a server sees of them.

use std::borrow::Cow;

use http::uri::PathAndQuery;
use http::{HeaderValue, Uri, Version, header, request};

use crate::config::Template;
use crate::reply::Failure;
use crate::routing::parameters::{Parameters, expand, expand_location};
use crate::routing::path::PathRefusal;

/// What a route's templates are filled from.
pub(crate) struct At {
    /// The target the route was found by; plugins may have changed the request's since.
    pub(crate) uri: Uri,
    /// Where the route's parameters stand in its path.
    pub(crate) parameters: Parameters,
}

/// The one host the request names. HTTP/1: `Host`, or the target's where that has one (RFC 9112, section 3.2.2).
/// HTTP/2: `:authority`, and `Host` must not differ (RFC 9113, section 8.3.1). Afterwards it stands in `Host`.
pub(crate) fn settle_host(parts: &mut request::Parts) -> Result<(), Failure> {
    let Some(authority) = parts.uri.authority() else { return Ok(()) };
    let authority = HeaderValue::from_str(authority.as_str()).map_err(|_| Failure::Authority)?;
    let same = |host: &HeaderValue| host.as_bytes().eq_ignore_ascii_case(authority.as_bytes());
    let differs = parts.headers.get(header::HOST).is_some_and(|host| !same(host));
    if differs && parts.version == Version::HTTP_2 {
        return Err(Failure::Authority);
    }
    parts.headers.insert(header::HOST, authority);
    Ok(())
}

/// The host without its port, in lower case. HTTP/1 heads were judged on the wire; HTTP/2 has no wire of ours.
pub(crate) fn host_of(parts: &request::Parts) -> Result<Cow<'_, str>, Failure> {
    let Some(authority) = parts.headers.get(header::HOST) else { return Ok(Cow::Borrowed("")) };
    let bytes = authority.as_bytes();
    if parts.version == Version::HTTP_2 && !crate::syntax::is_authority(bytes) {
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

/// Puts another path into a target, which keeps its query and loses scheme and authority.
pub(crate) fn set_path(uri: &mut Uri, path: &str) {
    let query = uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    // Both are parts of valid targets; what is none stays as it was.
    if let Ok(target) = PathAndQuery::try_from(format!("{path}{query}")) {
        *uri = Uri::from(target);
    }
}

/// Path and query as the server sees them: origin form, rewritten if the route says so.
pub(crate) fn rewrite(uri: &mut Uri, template: Option<&Template>, at: Option<&At>) {
    if let (Some(template), Some(at)) = (template, at) {
        let mut path = String::with_capacity(uri.path().len() + 32);
        expand(template, &at.parameters, at.uri.path(), &mut path);
        set_path(uri, &path);
    } else if uri.authority().is_some() {
        let target = uri.path_and_query().cloned();
        *uri = target.map_or_else(Uri::default, Uri::from);
    }
}

/// The `Location` of a redirect.
pub(crate) fn redirect_to(location: &Template, uri: &Uri, at: &At) -> Result<HeaderValue, Failure> {
    let mut text = String::new();
    expand_location(location, &at.parameters, at.uri.path(), &mut text);
    if let (Some(query), false) = (uri.query(), text.contains('?')) {
        text.push('?');
        text.push_str(query);
    }
    HeaderValue::try_from(text).map_err(|_| Failure::Path(PathRefusal::Control))
}

//! A request as HTTP/2 has it (RFC 9113, section 8.3.1).

use http::uri::{Authority, Parts as UriParts, PathAndQuery};
use http::{HeaderMap, HeaderValue, Request, Uri, Version, header, request};

use super::request_body::RequestBody;
use super::server::Server;

/// HTTP/2 has the host in `:authority`, so in the URI.
pub(super) fn for_http2(
    parts: &request::Parts,
    body: RequestBody,
    server: &Server,
    host: Option<&HeaderValue>,
) -> Request<RequestBody> {
    let mut request = Request::new(body);
    let mut headers = parts.headers.clone();
    let asked = headers.remove(header::HOST);
    drop_connection_headers(&mut headers);
    if matches!(request.body(), RequestBody::Whole(_)) {
        headers.remove(header::CONTENT_LENGTH);
    }
    let mut uri = UriParts::default();
    uri.scheme = Some(server.scheme());
    uri.authority = authority(host.or(asked.as_ref()), &parts.uri, server);
    uri.path_and_query =
        parts.uri.path_and_query().cloned().or(Some(PathAndQuery::from_static("/")));
    *request.uri_mut() = Uri::from_parts(uri).unwrap_or_else(|_| parts.uri.clone());
    *request.method_mut() = parts.method.clone();
    *request.version_mut() = Version::HTTP_2;
    *request.headers_mut() = headers;
    request
}

fn authority(host: Option<&HeaderValue>, uri: &Uri, server: &Server) -> Option<Authority> {
    let from_host = host.and_then(|host| Authority::try_from(host.as_bytes()).ok());
    let from_uri = || uri.authority().cloned();
    from_host.or_else(from_uri).or_else(|| Authority::try_from(server.host.as_bytes()).ok())
}

/// HTTP/2 has no connection headers (RFC 9113, section 8.2.2).
fn drop_connection_headers(headers: &mut HeaderMap) {
    headers.remove(header::CONNECTION);
    headers.remove(header::TRANSFER_ENCODING);
    headers.remove(header::UPGRADE);
}

//! What two parsers could read differently is refused, counted by its reason, and never reaches a server (issue 2).

#![allow(clippy::unwrap_used, clippy::panic, clippy::cognitive_complexity, reason = "tests")]

mod rig;

use rig::{ByHand, Gateway, Origin, all_to};

/// Raw bytes, the status they are answered with, and the word in `gateway_refusals_total`.
type Case = (&'static [u8], u16, &'static str);

const HEADS: &[Case] = &[
    // Line ends.
    (b"GET / HTTP/1.1\nHost: a\r\n\r\n", 400, "bare-lf"),
    (b"GET / HTTP/1.1\r\nHost: a\n\r\n", 400, "bare-lf"),
    (b"GET / HTTP/1.1\r\nHost: a\r\n\n", 400, "bare-lf"),
    (b"\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", 400, "bare-lf"),
    (b"GET / HTTP/1.1\r\nHost: a\r\nX: b\rY: c\r\n\r\n", 400, "bare-cr"),
    (b"GET / HTTP/1.1\r\nHost: a\r\nX: b\r\r\n\r\n", 400, "bare-cr"),
    (b"\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", 400, "request-line"),
    // Folding, and what stands before a colon.
    (b"GET / HTTP/1.1\r\nHost: a\r\nX: b\r\n c\r\n\r\n", 400, "obs-fold"),
    (b"GET / HTTP/1.1\r\nHost: a\r\nX: b\r\n\tc: d\r\n\r\n", 400, "obs-fold"),
    (b"GET / HTTP/1.1\r\n Host: a\r\nHost: b\r\n\r\n", 400, "obs-fold"),
    (b"GET / HTTP/1.1\r\nHost : a\r\n\r\n", 400, "space-before-colon"),
    (b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length\t: 5\r\n\r\nhello", 400, "space-before-colon"),
    (b"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n", 400, "space-before-colon"),
    // Names and values.
    (b"GET / HTTP/1.1\r\nHost: a\r\n: b\r\n\r\n", 400, "field-name"),
    (b"GET / HTTP/1.1\r\nHost: a\r\nno colon\r\n\r\n", 400, "field-name"),
    (b"GET / HTTP/1.1\r\nHost: a\r\nnocolon\r\n\r\n", 400, "field-name"),
    (b"GET / HTTP/1.1\r\nHost: a\r\nX(y): b\r\n\r\n", 400, "field-name"),
    (b"GET / HTTP/1.1\r\nHost: a\r\nX\0: b\r\n\r\n", 400, "field-name"),
    (b"GET / HTTP/1.1\r\nHost: a\r\nX\xe9: b\r\n\r\n", 400, "field-name"),
    (b"GET / HTTP/1.1\r\nHost: a\r\nX: b\0c\r\n\r\n", 400, "field-value"),
    (b"GET / HTTP/1.1\r\nHost: a\r\nX: b\x01\r\n\r\n", 400, "field-value"),
    (b"GET / HTTP/1.1\r\nHost: a\r\nX: \x7f\r\n\r\n", 400, "field-value"),
    (b"GET / HTTP/1.1\r\nHost: a\r\nX: \x0b\r\n\r\n", 400, "field-value"),
    // Lengths.
    (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400, "ambiguous-length"),
    (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 0\r\n\r\n0\r\n\r\n", 400, "ambiguous-length"),
    (b"POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400, "ambiguous-length"),
    (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!", 400, "content-length"),
    (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello", 400, "content-length"),
    (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5, 5\r\n\r\nhello", 400, "content-length"),
    (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5,6\r\n\r\nhello!", 400, "content-length"),
    (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +5\r\n\r\nhello", 400, "content-length"),
    (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -5\r\n\r\nhello", 400, "content-length"),
    (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0x5\r\n\r\nhello", 400, "content-length"),
    (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5 5\r\n\r\nhello", 400, "content-length"),
    (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5.0\r\n\r\nhello", 400, "content-length"),
    (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length:\r\n\r\n", 400, "content-length"),
    (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: \"5\"\r\n\r\nhello", 400, "content-length"),
    (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 18446744073709551621\r\n\r\nhello", 400, "content-length"),
    (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 501, "transfer-encoding"),
    (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n", 501, "transfer-encoding"),
    (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity\r\n\r\n", 501, "transfer-encoding"),
    (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n", 501, "transfer-encoding"),
    (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 501, "transfer-encoding"),
    (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n\r\n0\r\n\r\n", 501, "transfer-encoding"),
    (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", 501, "transfer-encoding"),
    (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked;x=1\r\n\r\n0\r\n\r\n", 501, "transfer-encoding"),
    (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n", 400, "field-value"),
    (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\r\n\r\n0\r\n\r\n", 501, "transfer-encoding"),
    // Host.
    (b"GET / HTTP/1.1\r\n\r\n", 400, "host"),
    (b"GET / HTTP/1.1\r\nHost:\r\n\r\n", 400, "host"),
    (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400, "host"),
    (b"GET / HTTP/1.1\r\nHost: a\r\nhost: a\r\n\r\n", 400, "host"),
    (b"GET / HTTP/1.1\r\nHost: a, b\r\n\r\n", 400, "host"),
    (b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", 400, "host"),
    (b"GET / HTTP/1.1\r\nHost: user@a\r\n\r\n", 400, "host"),
    (b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n", 400, "host"),
    (b"GET / HTTP/1.1\r\nHost: a:b\r\n\r\n", 400, "host"),
    (b"GET / HTTP/1.1\r\nHost: a:80:80\r\n\r\n", 400, "host"),
    (b"GET / HTTP/1.1\r\nHost: a?b\r\n\r\n", 400, "host"),
    (b"GET / HTTP/1.1\r\nHost: a#b\r\n\r\n", 400, "host"),
    (b"GET / HTTP/1.1\r\nHost: \xe9\r\n\r\n", 400, "host"),
    (b"GET / HTTP/1.1\r\nHost: [::1\r\n\r\n", 400, "host"),
    (b"GET / HTTP/1.1\r\nHost: http://a\r\n\r\n", 400, "host"),
    (b"GET http://a/ HTTP/1.1\r\n\r\n", 400, "host"),
    // Targets.
    (b"GET * HTTP/1.1\r\nHost: a\r\n\r\n", 400, "target"),
    (b"GET a:80 HTTP/1.1\r\nHost: a\r\n\r\n", 400, "target"),
    (b"GET a/b HTTP/1.1\r\nHost: a\r\n\r\n", 400, "target"),
    (b"GET ?a HTTP/1.1\r\nHost: a\r\n\r\n", 400, "target"),
    (b"GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n", 400, "target"),
    (b"GET http:/// HTTP/1.1\r\nHost: a\r\n\r\n", 400, "target"),
    (b"GET http://user@a/ HTTP/1.1\r\nHost: a\r\n\r\n", 400, "target"),
    (b"GET http://a,b/ HTTP/1.1\r\nHost: a\r\n\r\n", 400, "target"),
    (b"GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n", 400, "target"),
    (b"GET /\xc3\xa9 HTTP/1.1\r\nHost: a\r\n\r\n", 400, "target"),
    (b"GET /a\x01 HTTP/1.1\r\nHost: a\r\n\r\n", 400, "target"),
    (b"GET /a\tb HTTP/1.1\r\nHost: a\r\n\r\n", 400, "target"),
    (b"GET /a\x7f HTTP/1.1\r\nHost: a\r\n\r\n", 400, "target"),
    (b"CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n", 501, "connect"),
    // Request lines and versions.
    (b"GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", 400, "request-line"),
    (b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n", 400, "request-line"),
    (b"GET /  HTTP/1.1\r\nHost: a\r\n\r\n", 400, "request-line"),
    (b"GET / HTTP/1.1 \r\nHost: a\r\n\r\n", 400, "request-line"),
    (b" GET / HTTP/1.1\r\nHost: a\r\n\r\n", 400, "request-line"),
    (b"GET\t/\tHTTP/1.1\r\nHost: a\r\n\r\n", 400, "request-line"),
    (b"GET /\r\n\r\n", 400, "request-line"),
    (b"G(T / HTTP/1.1\r\nHost: a\r\n\r\n", 400, "request-line"),
    (b"G\0T / HTTP/1.1\r\nHost: a\r\n\r\n", 400, "target"),
    (b"GET / http/1.1\r\nHost: a\r\n\r\n", 400, "request-line"),
    (b"GET / HTTP/1\r\nHost: a\r\n\r\n", 400, "request-line"),
    (b"GET / HTTP/1.10\r\nHost: a\r\n\r\n", 400, "request-line"),
    (b"GET / HTTP/ 1.1\r\nHost: a\r\n\r\n", 400, "request-line"),
    (b"GET / HTTP/1.2\r\nHost: a\r\n\r\n", 505, "version"),
    (b"GET / HTTP/0.9\r\nHost: a\r\n\r\n", 505, "version"),
    (b"GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505, "version"),
    (b"GET / HTTP/9.9\r\nHost: a\r\n\r\n", 505, "version"),
    (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400, "target"),
];

const PATHS: &[Case] = &[
    (b"GET /a%2Fb HTTP/1.1\r\nHost: a\r\n\r\n", 400, "path-encoded-slash"),
    (b"GET /a%2fb HTTP/1.1\r\nHost: a\r\n\r\n", 400, "path-encoded-slash"),
    (b"GET /a%5Cb HTTP/1.1\r\nHost: a\r\n\r\n", 400, "path-encoded-slash"),
    (b"GET /a/../b HTTP/1.1\r\nHost: a\r\n\r\n", 400, "path-dot-segment"),
    (b"GET /a/./b HTTP/1.1\r\nHost: a\r\n\r\n", 400, "path-dot-segment"),
    (b"GET /.. HTTP/1.1\r\nHost: a\r\n\r\n", 400, "path-dot-segment"),
    (b"GET /a/%2e%2e/b HTTP/1.1\r\nHost: a\r\n\r\n", 400, "path-dot-segment"),
    (b"GET /a/%2E/b HTTP/1.1\r\nHost: a\r\n\r\n", 400, "path-dot-segment"),
    (b"GET /a/..;x/b HTTP/1.1\r\nHost: a\r\n\r\n", 400, "path-dot-segment"),
    (b"GET /a/..%2fb HTTP/1.1\r\nHost: a\r\n\r\n", 400, "path-dot-segment"),
    (b"GET http://a/b/../c HTTP/1.1\r\nHost: a\r\n\r\n", 400, "path-dot-segment"),
    (b"GET /a%00 HTTP/1.1\r\nHost: a\r\n\r\n", 400, "path-null"),
    (b"GET /a% HTTP/1.1\r\nHost: a\r\n\r\n", 400, "path-escape"),
    (b"GET /a%4 HTTP/1.1\r\nHost: a\r\n\r\n", 400, "path-escape"),
    (b"GET /a%zz HTTP/1.1\r\nHost: a\r\n\r\n", 400, "path-escape"),
    (b"GET /a\\b HTTP/1.1\r\nHost: a\r\n\r\n", 400, "path-backslash"),
];

const GOOD: &str = "GET /good HTTP/1.1\r\nHost: a\r\n\r\n";

fn refusals(reason: &str) -> String {
    format!("gateway_refusals_total{{reason=\"{reason}\"}}")
}

/// Sends `bytes` and a good request behind them; what comes back must be one refusal and the end.
async fn refused(gateway: &Gateway, origin: &Origin, case: &Case, before: &str) {
    let (bytes, status, reason) = *case;
    let told = format!("{:?} after {before:?}", String::from_utf8_lossy(bytes));
    let counted = gateway.metric(&refusals(reason)).await;
    let seen = origin.seen().len();
    let mut client = gateway.connect().await;
    client.send_bytes(&[before.as_bytes(), bytes, GOOD.as_bytes()].concat()).await;
    if !before.is_empty() {
        assert_eq!(client.reply().await.status, 200, "{told}");
    }
    let reply = client.reply().await;
    assert_eq!(reply.status, status, "{told}");
    assert_eq!(reply.json()["reason"], reason, "{told}");
    assert_eq!(reply.header("connection"), Some("close"), "{told}");
    assert!(client.is_closed().await, "{told}");
    assert_eq!(origin.seen().len() - seen, usize::from(!before.is_empty()), "{told}");
    assert_eq!(gateway.metric(&refusals(reason)).await, counted + 1.0, "{told}");
}

#[tokio::test]
async fn a_malformed_head_is_refused_and_no_server_sees_it() {
    let origin = Origin::start().await;
    let gateway = Gateway::start(&all_to(&[origin.address])).await;
    for case in HEADS {
        refused(&gateway, &origin, case, "").await;
    }
}

#[tokio::test]
async fn a_path_that_can_be_read_in_two_ways_is_refused() {
    let origin = Origin::start().await;
    let gateway = Gateway::start(&all_to(&[origin.address])).await;
    for case in PATHS {
        refused(&gateway, &origin, case, "").await;
    }
}

#[tokio::test]
async fn a_good_request_before_a_bad_one_is_answered() {
    let origin = Origin::start().await;
    let gateway = Gateway::start(&all_to(&[origin.address])).await;
    // An empty line at the very start is let pass, but is none between two requests.
    for case in HEADS.iter().chain(PATHS) {
        refused(&gateway, &origin, case, GOOD).await;
    }
}

#[tokio::test]
async fn a_refused_request_is_never_a_request_of_a_route() {
    let origin = Origin::start().await;
    let gateway = Gateway::start(&all_to(&[origin.address])).await;
    let mut client = gateway.connect().await;
    client.send("GET / HTTP/1.1\r\nHost: a\nX: y\r\n\r\n").await;
    assert_eq!(client.reply().await.status, 400);
    assert_eq!(gateway.metric("gateway_requests_total{route=\"-\",status=\"4xx\"}").await, 1.0);
    assert_eq!(gateway.metric("gateway_requests_total{route=\"all\",status=\"4xx\"}").await, 0.0);
}

const CHUNKS: &[(&[u8], &str)] = &[
    (b"5 \r\nhello\r\n0\r\n\r\n", "chunk-size"),
    (b" 5\r\nhello\r\n0\r\n\r\n", "chunk-size"),
    (b"0x5\r\nhello\r\n0\r\n\r\n", "chunk-size"),
    (b"+5\r\nhello\r\n0\r\n\r\n", "chunk-size"),
    (b"-5\r\nhello\r\n0\r\n\r\n", "chunk-size"),
    (b"5_0\r\nhello\r\n0\r\n\r\n", "chunk-size"),
    (b"g\r\nhello\r\n0\r\n\r\n", "chunk-size"),
    (b"\r\nhello\r\n0\r\n\r\n", "chunk-size"),
    (b"5;\r\nhello\r\n0\r\n\r\n", "chunk-size"),
    (b"5;a\0b\r\nhello\r\n0\r\n\r\n", "chunk-size"),
    (b"5;a\nb\r\nhello\r\n0\r\n\r\n", "chunk-size"),
    (b"5\nhello\r\n0\r\n\r\n", "chunk-size"),
    (b"5\rhello\r\n0\r\n\r\n", "chunk-size"),
    (b"5\r\r\nhello\r\n0\r\n\r\n", "chunk-size"),
    (b"0000000000000005\r\nhello\r\n0\r\n\r\n", "chunk-size"),
    (b"ffffffffffffffff5\r\nhello\r\n0\r\n\r\n", "chunk-size"),
    (b"5\r\nhelloX\r\n0\r\n\r\n", "chunk-end"),
    (b"5\r\nhello\n0\r\n\r\n", "chunk-end"),
    (b"5\r\nhello0\r\n\r\n", "chunk-end"),
    (b"5\r\nhello\r\r\n0\r\n\r\n", "chunk-end"),
    (b"5\r\nhello\r\n0\r\nContent-Length: 5\r\n\r\n", "trailer"),
    (b"5\r\nhello\r\n0\r\nTransfer-Encoding: chunked\r\n\r\n", "trailer"),
    (b"5\r\nhello\r\n0\r\nHost: b\r\n\r\n", "trailer"),
    (b"5\r\nhello\r\n0\r\nX: y\n\r\n", "bare-lf"),
    (b"5\r\nhello\r\n0\r\n X: y\r\n\r\n", "obs-fold"),
    (b"5\r\nhello\r\n0\r\nX : y\r\n\r\n", "space-before-colon"),
    (b"5\r\nhello\r\n0\r\nX: \0\r\n\r\n", "field-value"),
    (b"5\r\nhello\r\n0\r\n\n", "bare-lf"),
];

#[tokio::test]
async fn a_malformed_chunked_body_is_refused_and_its_request_never_complete() {
    let origin = Origin::start().await;
    let gateway = Gateway::start(&all_to(&[origin.address])).await;
    for (chunks, reason) in CHUNKS {
        let told = String::from_utf8_lossy(chunks);
        let counted = gateway.metric(&refusals(reason)).await;
        let mut client = gateway.connect().await;
        let head = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
        client.send_bytes(&[head, *chunks, GOOD.as_bytes()].concat()).await;
        let reply = client.reply().await;
        assert_eq!(reply.status, 400, "{told:?}");
        assert_eq!(reply.json()["reason"], *reason, "{told:?}");
        assert!(client.is_closed().await, "{told:?}");
        assert!(origin.seen().is_empty(), "{told:?}: {:?}", origin.seen());
        assert_eq!(gateway.metric(&refusals(reason)).await, counted + 1.0, "{told:?}");
    }
}

#[tokio::test]
async fn a_bad_chunk_after_the_body_has_begun_ends_the_request_at_the_server() {
    let origin = ByHand::start().await;
    let gateway = Gateway::start(&all_to(&[origin.address])).await;
    let mut client = gateway.connect().await;
    client
        .send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
        .await;
    let mut server = origin.accept().await;
    server.head().await;
    assert_eq!(server.read_past(b"hello\r\n").await, b"5\r\nhello\r\n");
    client.send("nonsense\r\n").await;
    assert_eq!(server.rest().await, b"", "no last chunk");
    let reply = client.reply().await;
    assert_eq!((reply.status, reply.json()["reason"].as_str()), (400, Some("chunk-size")));
    assert!(client.is_closed().await);
}

#[tokio::test]
async fn a_body_that_breaks_off_never_becomes_a_complete_request() {
    let origin = ByHand::start().await;
    let gateway = Gateway::start(&all_to(&[origin.address])).await;
    for head in
        ["Content-Length: 10\r\n\r\nhello", "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"]
    {
        let mut client = gateway.connect().await;
        client.send(&format!("POST / HTTP/1.1\r\nHost: a\r\n{head}")).await;
        let mut server = origin.accept().await;
        server.read_past(b"hello").await;
        drop(client);
        let rest = server.rest().await;
        assert!(!rest.ends_with(b"0\r\n\r\n"), "{head}: {rest:?}");
    }
}

/// Requests that are unusual but mean one thing, and the lines the server must see.
const UNUSUAL: &[(&[u8], &[&[u8]])] = &[
    (
        b"GET / HTTP/1.1\r\nHost: a\r\nX: 1\r\nx: 2\r\nX: 1\r\n\r\n",
        &[b"GET / HTTP/1.1", b"x: 1\r\nx: 2\r\nx: 1\r\n"],
    ),
    (b"GET / HTTP/1.1\r\nHost: a\r\nX: caf\xe9 \xff\r\n\r\n", &[b"x: caf\xe9 \xff\r\n"]),
    (b"GET / HTTP/1.1\r\nHost: a\r\nX:\r\nY: \t \r\n\r\n", &[b"x: \r\n", b"y: \r\n"]),
    (b"GET / HTTP/1.1\r\nHost: a\r\nX:\tb\tc\t\r\n\r\n", &[b"x: b\tc\r\n"]),
    (b"GET / HTTP/1.1\r\nHost: a\r\n!#$%&'*+-.^_`|~: 1\r\n\r\n", &[b"!#$%&'*+-.^_`|~: 1\r\n"]),
    (b"\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", &[b"GET / HTTP/1.1\r\n"]),
    (b"get / HTTP/1.1\r\nHost: a\r\n\r\n", &[b"get / HTTP/1.1\r\n"]),
    (b"M-SEARCH /a HTTP/1.1\r\nHost: a\r\n\r\n", &[b"M-SEARCH /a HTTP/1.1\r\n"]),
    (b"GET //a//b/ HTTP/1.1\r\nHost: a\r\n\r\n", &[b"GET //a//b/ HTTP/1.1\r\n"]),
    (
        b"GET /a;b=c:d@e!$&'()*+,= HTTP/1.1\r\nHost: a\r\n\r\n",
        &[b"GET /a;b=c:d@e!$&'()*+,= HTTP/1.1\r\n"],
    ),
    (
        b"GET /?a=/../%2F%00&b=\\ HTTP/1.1\r\nHost: a\r\n\r\n",
        &[b"GET /?a=/../%2F%00&b=\\ HTTP/1.1\r\n"],
    ),
    (b"GET /%c3%a9%7e HTTP/1.1\r\nHost: a\r\n\r\n", &[b"GET /%C3%A9~ HTTP/1.1\r\n"]),
    (b"GET /? HTTP/1.1\r\nHost: a\r\n\r\n", &[b"GET /? HTTP/1.1\r\n"]),
    (b"GET / HTTP/1.1\r\nHost: [::1]:8080\r\n\r\n", &[b"host: [::1]:8080\r\n"]),
    (b"GET / HTTP/1.1\r\nHost: EXAMPLE.com:80\r\n\r\n", &[b"host: EXAMPLE.com:80\r\n"]),
    (
        b"GET http://b.example/c HTTP/1.1\r\nHost: a\r\n\r\n",
        &[b"GET /c HTTP/1.1\r\n", b"host: b.example\r\n"],
    ),
    (
        b"GET http://b.example HTTP/1.1\r\nHost: a\r\n\r\n",
        &[b"GET / HTTP/1.1\r\n", b"host: b.example\r\n"],
    ),
    (
        b"GET HTTP://b.example?q HTTP/1.1\r\nHost: a\r\n\r\n",
        &[b"GET /?q HTTP/1.1\r\n", b"host: b.example\r\n"],
    ),
    (b"OPTIONS /a HTTP/1.1\r\nHost: a\r\n\r\n", &[b"OPTIONS /a HTTP/1.1\r\n"]),
    (b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", &[b"GET / HTTP/1.1\r\n"]),
    (b"GET / HTTP/1.0\r\n\r\n", &[b"GET / HTTP/1.1\r\n"]),
];

#[tokio::test]
async fn what_means_one_thing_passes_however_unusual() {
    let origin = ByHand::start().await;
    let gateway = Gateway::start(&all_to(&[origin.address])).await;
    for (bytes, lines) in UNUSUAL {
        let told = String::from_utf8_lossy(bytes);
        let mut client = gateway.connect().await;
        client.send_bytes(bytes).await;
        let mut server = origin.accept().await;
        let head = server.read_past(b"\r\n\r\n").await;
        for line in *lines {
            let found = head.windows(line.len()).any(|window| window == *line);
            assert!(found, "{told:?}: {:?}", String::from_utf8_lossy(&head));
        }
        server.send("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n").await;
        assert_eq!(client.reply().await.status, 200, "{told:?}");
    }
}

#[tokio::test]
async fn chunked_bodies_of_every_legal_form_arrive() {
    let origin = Origin::start().await;
    let gateway = Gateway::start(&all_to(&[origin.address])).await;
    for chunks in [
        "5\r\nhello\r\n0\r\n\r\n",
        "0005\r\nhello\r\n00\r\n\r\n",
        "5;name=value\r\nhello\r\n0;last\r\n\r\n",
        "5;a=\"b\";d\r\nhello\r\n0\r\n\r\n",
        "1\r\nh\r\n4\r\nello\r\n0\r\n\r\n",
        "5\r\nhello\r\n0\r\nX-Trailer: y\r\n\r\n",
    ] {
        let mut client = gateway.connect().await;
        let head = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n";
        client.send(&format!("{head}{chunks}{GOOD}")).await;
        assert_eq!(client.reply().await.status, 200, "{chunks:?}");
        assert_eq!(client.reply().await.text(), "GET /good HTTP/1.1", "{chunks:?}");
        let seen = origin.seen();
        assert_eq!(seen[seen.len() - 2].body, b"hello", "{chunks:?}");
    }
}

#[tokio::test]
async fn a_route_may_take_encoded_slashes() {
    let origin = Origin::start().await;
    let config = format!("{}encoded-slashes = true\n", all_to(&[origin.address]));
    let gateway = Gateway::start(&config).await;
    let mut client = gateway.connect().await;
    assert_eq!(client.get("/a%2fb%5Cc").await.text(), "GET /a%2Fb%5Cc HTTP/1.1");
    assert_eq!(client.get("/a%2f..%2fb").await.status, 400);
}

#[tokio::test]
async fn a_request_behind_one_that_was_not_upgraded_is_answered() {
    let origin = Origin::start().await;
    let gateway = Gateway::start(&all_to(&[origin.address])).await;
    let mut client = gateway.connect().await;
    let asks = "GET /asks HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";
    let before = tokio::time::Instant::now();
    client.send(&format!("{asks}{GOOD}{asks}")).await;
    for line in ["GET /asks HTTP/1.1", "GET /good HTTP/1.1", "GET /asks HTTP/1.1"] {
        assert_eq!(client.reply().await.text(), line);
    }
    assert!(before.elapsed().as_millis() < 900, "answered by a tick, not at once");
}

#[tokio::test]
async fn a_refusal_waits_for_the_response_before_it() {
    let origin = ByHand::start().await;
    let gateway = Gateway::start(&all_to(&[origin.address])).await;
    let mut client = gateway.connect().await;
    client.send(&format!("{GOOD}GET / HTTP/1.1\r\nHost: a\r\nX : y\r\n\r\n")).await;
    let mut server = origin.accept().await;
    server.head().await;
    server.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nstart").await;
    client.head().await;
    assert_eq!(client.read_exactly(5).await, b"start");
    server.send("-done").await;
    assert_eq!(client.read_exactly(5).await, b"-done");
    assert_eq!(client.reply().await.json()["reason"], "space-before-colon");
    assert!(client.is_closed().await);
}

#[tokio::test]
async fn a_bad_chunk_never_puts_a_second_reply_into_a_response() {
    let origin = ByHand::start().await;
    let gateway = Gateway::start(&all_to(&[origin.address])).await;
    for length in
        ["Content-Length: 1000\r\n\r\nstart", "Transfer-Encoding: chunked\r\n\r\n5\r\nstart\r\n"]
    {
        let mut client = gateway.connect().await;
        client
            .send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
            .await;
        let mut server = origin.accept().await;
        server.read_past(b"hello\r\n").await;
        server.send(&format!("HTTP/1.1 200 OK\r\n{length}")).await;
        client.read_past(b"start").await;
        client.send("nonsense\r\n").await;
        let rest = server.rest().await;
        assert!(!rest.ends_with(b"0\r\n\r\n"), "{rest:?}");
        let rest = client.rest().await;
        assert!(rest.is_empty() || rest == b"\r\n", "{:?}", String::from_utf8_lossy(&rest));
    }
    assert_eq!(gateway.metric(&refusals("chunk-size")).await, 2.0);
}

#[tokio::test]
async fn a_request_may_begin_like_http_2_does() {
    let origin = Origin::start().await;
    let gateway = Gateway::start(&all_to(&[origin.address])).await;
    for (start, rest) in [("P", "OST"), ("PR", "OPFIND"), ("PRI", "NT"), ("PRI ", "/")] {
        let mut client = gateway.connect().await;
        client.send(start).await;
        // Long enough to arrive alone; if it does not, nothing is proven, but nothing fails.
        tokio::time::sleep(std::time::Duration::from_millis(30)).await;
        let target = if rest == "/" { "" } else { " /" };
        client.send(&format!("{rest}{target} HTTP/1.1\r\nHost: a\r\n\r\n")).await;
        let line = format!("{start}{rest}{target} HTTP/1.1");
        assert_eq!(client.reply().await.text(), line);
    }
}

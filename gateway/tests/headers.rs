//! The headers a server sees of a request, and a client of a response (issue 2, section 5).

#![allow(clippy::unwrap_used, clippy::panic, clippy::cognitive_complexity, reason = "tests")]

mod rig;

use rig::gateway::ADMIN;
use rig::origin::ok;
use rig::{ByHand, Client, Gateway, Origin, Seen, all_to, upstream};

const LISTENER: &str = "[[listeners]]\naddress = \"127.0.0.1:0\"\n";

/// What the server saw of a GET with these fields.
async fn seen_of(gateway: &Gateway, origin: &Origin, fields: &str) -> Seen {
    let mut client = gateway.connect().await;
    client.send(&format!("GET / HTTP/1.1\r\nHost: site.example\r\n{fields}\r\n")).await;
    assert_eq!(client.reply().await.status, 200, "{fields}");
    origin.seen().pop().unwrap()
}

/// Checks a list of `name: value`; without a value the field must not be there.
fn check(seen: &Seen, expected: &[&str], told: &str) {
    for line in expected {
        match line.split_once(": ") {
            Some((name, value)) => assert_eq!(seen.all(name), [value], "{told}: {seen:?}"),
            None => assert_eq!(seen.header(line), None, "{told}: {seen:?}"),
        }
    }
}

#[tokio::test]
async fn what_is_meant_for_this_hop_does_not_reach_the_server() {
    let origin = Origin::start().await;
    let gateway = Gateway::start(&all_to(&[origin.address])).await;
    for (fields, expected) in [
        ("Connection: keep-alive\r\nKeep-Alive: timeout=5\r\n", &["connection", "keep-alive"][..]),
        ("Connection: close\r\n", &["connection"]),
        ("Proxy-Connection: keep-alive\r\n", &["proxy-connection"]),
        ("Connection: close, Only-Here\r\nOnly-Here: 1\r\n", &["connection", "only-here"]),
        ("Connection: X-Hop\r\nX-Hop: 1\r\n", &["connection", "x-hop"]),
        ("Connection: foo\r\nConnection: bar\r\nFoo: 1\r\nBar: 2\r\n", &["foo", "bar"]),
        ("Connection: ,, FOO ,\r\nfoo: 1\r\n", &["foo"]),
        ("Connection: absent\r\nFoo: 1\r\n", &["foo: 1"]),
        (
            "Connection: host, authorization, cookie\r\nAuthorization: a\r\nCookie: b=c\r\n",
            &["host: site.example", "authorization: a", "cookie: b=c"],
        ),
        (
            "Connection: x-forwarded-for, x-real-ip, x-forwarded-host, x-forwarded-proto\r\n",
            &["x-forwarded-for: 127.0.0.1", "x-real-ip: 127.0.0.1", "x-forwarded-proto: http"],
        ),
        ("TE: trailers\r\n", &["te: trailers"]),
        ("Connection: TE\r\nTE: trailers\r\n", &["te: trailers"]),
        ("TE: gzip, trailers;q=0.5\r\n", &["te"]),
        ("Upgrade: websocket\r\n", &["upgrade", "connection"]),
        ("Upgrade: h2c\r\nConnection: close\r\n", &["upgrade", "connection"]),
        (
            "Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n",
            &["upgrade", "connection", "http2-settings"],
        ),
        ("Upgrade: websocket, H2C\r\nConnection: upgrade\r\n", &["upgrade", "connection"]),
        ("Upgrade: TLS/1.0\r\nConnection: upgrade\r\n", &["upgrade", "connection"]),
        ("Upgrade: HTTP/2.0\r\nConnection: upgrade\r\n", &["upgrade", "connection"]),
        (
            "Upgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n",
            &["upgrade: websocket", "connection: upgrade"],
        ),
        ("Trailer: X\r\nAccept: a\r\n", &["accept: a"]),
        ("Expect: 100-continue\r\n", &["expect"]),
        ("Proxy-Authorization: b\r\n", &["proxy-authorization: b"]),
    ] {
        check(&seen_of(&gateway, &origin, fields).await, expected, fields);
    }
}

#[tokio::test]
async fn a_client_cannot_take_out_what_a_plugin_has_put_in() {
    let origin = Origin::start().await;
    let set = "plugins = [{ headers = { request = { set = { x-user = \"nobody\" } } } }]\n";
    let gateway = Gateway::start(&format!("{}{set}", all_to(&[origin.address]))).await;
    let seen = seen_of(&gateway, &origin, "Connection: x-user\r\nX-User: root\r\n").await;
    check(&seen, &["x-user: nobody"], "a header named by Connection");
}

#[tokio::test]
async fn a_client_waits_for_100_only_where_somebody_wants_its_body() {
    let origin = ByHand::start().await;
    let fixed = "[[routes]]\npath = \"/fixed\"\nrespond = {}\n[[routes]]\npath = \"/kept-out\"\n\
        upstream = \"origin\"\nplugins = [{ ip = { deny = [\"127.0.0.1\"] } }]\n";
    let gateway = Gateway::start(&format!("{}{fixed}", all_to(&[origin.address]))).await;
    let ask = |path: &str| {
        format!(
            "POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n"
        )
    };
    let mut client = gateway.connect().await;
    client.send(&ask("/")).await;
    let mut server = origin.accept().await;
    let head = server.head().await;
    assert!(!head.to_lowercase().contains("expect"), "{head}");
    assert_eq!(client.any_reply().await.status, 100);
    client.send("hello").await;
    assert_eq!(server.read_exactly(5).await, b"hello");
    server.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
    assert_eq!(client.any_reply().await.text(), "ok");
    for (path, status) in [("/fixed", 200), ("/kept-out", 403)] {
        let mut client = gateway.connect().await;
        client.send(&ask(path)).await;
        assert_eq!(client.any_reply().await.status, status, "{path}");
    }
}

const SPOOFED: &str = "X-Forwarded-For: 1.1.1.1\r\nX-Forwarded-For: 2.2.2.2\r\nX-Real-IP: 3.3.3.3\r\n\
    X-Forwarded-Host: evil.example\r\nX-Forwarded-Proto: https\r\nForwarded: for=4.4.4.4\r\n";

#[tokio::test]
async fn what_a_stranger_says_of_the_client_is_replaced() {
    let origin = Origin::start().await;
    for (forwarded, expected) in [
        (
            "",
            &[
                "x-forwarded-for: 127.0.0.1",
                "x-real-ip: 127.0.0.1",
                "x-forwarded-host: site.example",
                "x-forwarded-proto: http",
                "forwarded",
            ][..],
        ),
        (
            "forwarded = [\"rfc7239\"]\n",
            &[
                "forwarded: for=127.0.0.1;proto=http;host=\"site.example\"",
                "x-forwarded-for",
                "x-real-ip",
                "x-forwarded-host",
                "x-forwarded-proto",
            ],
        ),
        (
            "forwarded = []\n",
            &["forwarded", "x-forwarded-for", "x-real-ip", "x-forwarded-host", "x-forwarded-proto"],
        ),
    ] {
        let gateway = Gateway::start(&format!("{}{forwarded}", all_to(&[origin.address]))).await;
        check(&seen_of(&gateway, &origin, SPOOFED).await, expected, forwarded);
    }
}

#[tokio::test]
async fn what_a_trusted_proxy_says_is_kept_and_added_to() {
    let origin = Origin::start().await;
    let all = all_to(&[origin.address]);
    let single = ADMIN.replace("threads = 2", "threads = 1");
    let config = format!(
        "trusted-proxies = [\"127.0.0.1\", \"2.2.2.2\"]\n{LISTENER}{single}[access-log]\nfile = \"access.log\"\n\
         flush = \"10ms\"\n{all}forwarded = [\"x-forwarded\", \"rfc7239\"]\n"
    );
    let gateway = Gateway::start_as(&config).await;
    check(
        &seen_of(&gateway, &origin, SPOOFED).await,
        &[
            "x-forwarded-for: 1.1.1.1, 2.2.2.2, 127.0.0.1",
            "x-real-ip: 1.1.1.1",
            "x-forwarded-host: evil.example",
            "x-forwarded-proto: https",
            "forwarded: for=4.4.4.4, for=127.0.0.1;proto=https;host=\"site.example\"",
        ],
        "trusted",
    );
    check(
        &seen_of(&gateway, &origin, "").await,
        &[
            "x-forwarded-for: 127.0.0.1",
            "x-real-ip: 127.0.0.1",
            "x-forwarded-host: site.example",
            "x-forwarded-proto: http",
        ],
        "a trusted proxy that says nothing",
    );
    // The same request from somebody who is no trusted proxy.
    let mut stranger = Client::connect_from("127.0.0.2", gateway.address()).await;
    stranger.send(&format!("GET / HTTP/1.1\r\nHost: site.example\r\n{SPOOFED}\r\n")).await;
    stranger.reply().await;
    check(
        &origin.seen().pop().unwrap(),
        &[
            "x-forwarded-for: 127.0.0.2",
            "x-real-ip: 127.0.0.2",
            "x-forwarded-host: site.example",
            "x-forwarded-proto: http",
            "forwarded: for=127.0.0.2;proto=http;host=\"site.example\"",
        ],
        "a stranger",
    );
    let log = gateway.log_of(3).await;
    let clients: Vec<_> = log.iter().map(|line| line["client"].as_str().unwrap()).collect();
    assert_eq!(clients, ["1.1.1.1", "127.0.0.1", "127.0.0.2"]);
    assert_eq!(log[0]["scheme"], "https");
}

#[tokio::test]
async fn the_host_is_the_clients_the_servers_or_a_fixed_one() {
    let origin = Origin::start().await;
    let own = origin.address.to_string();
    for (host, expected) in [
        ("", "site.example"),
        ("host = \"client\"\n", "site.example"),
        ("host = \"server\"\n", own.as_str()),
        ("host = { fixed = \"inner.example:81\" }\n", "inner.example:81"),
    ] {
        let route = "[[routes]]\npath = \"/{*rest}\"\nupstream = \"origin\"\n";
        let gateway =
            Gateway::start(&format!("{}{route}", upstream(&[origin.address], host))).await;
        let seen = seen_of(&gateway, &origin, "").await;
        check(&seen, &[&format!("host: {expected}"), "x-forwarded-host: site.example"], host);
    }
}

/// A header of PROXY protocol v2 for TCP over IPv4.
fn binary(command: u8, source: [u8; 4]) -> Vec<u8> {
    let mut header = b"\r\n\r\n\0\r\nQUIT\n".to_vec();
    header.extend([0x20 | command, 0x11, 0, 12]);
    header.extend(source);
    header.extend([10, 0, 0, 1, 0x12, 0x34, 0, 80]);
    header
}

#[tokio::test]
async fn proxy_protocol_says_who_the_client_is() {
    let origin = Origin::start().await;
    let listener = "[[listeners]]\naddress = \"127.0.0.1:0\"\nproxy-protocol = true\n";
    let all = all_to(&[origin.address]);
    let config = format!("trusted-proxies = [\"127.0.0.1\"]\n{listener}{ADMIN}{all}");
    let gateway = Gateway::start_as(&config).await;
    for (header, client_seen) in [
        (b"PROXY TCP4 192.0.2.7 10.0.0.1 4660 80\r\n".to_vec(), "192.0.2.7"),
        (b"PROXY TCP6 2001:db8::7 ::1 4660 80\r\n".to_vec(), "2001:db8::7"),
        (b"PROXY UNKNOWN\r\n".to_vec(), "127.0.0.1"),
        (binary(1, [192, 0, 2, 9]), "192.0.2.9"),
        (binary(0, [192, 0, 2, 9]), "127.0.0.1"),
    ] {
        let mut client = gateway.connect().await;
        let request = b"GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 6.6.6.6\r\n\r\n";
        client.send_bytes(&[&header[..], request].concat()).await;
        assert_eq!(client.reply().await.status, 200);
        let seen = origin.seen().pop().unwrap();
        let expected = match client_seen {
            // The proxy speaks for itself, and is trusted with what it says of others.
            "127.0.0.1" => "6.6.6.6",
            other => other,
        };
        assert_eq!(seen.header("x-real-ip"), Some(expected), "{client_seen}: {seen:?}");
    }
    let seen = origin.seen().len();
    let counted = "gateway_refusals_total{reason=\"proxy-protocol\"}";
    for (refused, garbage) in [
        b"GET / HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(),
        b"PROXY TCP4 nonsense 10.0.0.1 1 2\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(),
        [&binary(7, [1, 1, 1, 1])[..], b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"].concat(),
        format!("PROXY TCP4 {}\r\n", "1".repeat(200)).into_bytes(),
    ]
    .into_iter()
    .enumerate()
    {
        let mut client = gateway.connect().await;
        client.send_bytes(&garbage).await;
        assert!(client.is_closed().await, "{garbage:?}");
        assert_eq!(gateway.metric(counted).await, refused as f64 + 1.0);
    }
    let mut stranger = Client::connect_from("127.0.0.2", gateway.address()).await;
    stranger.send("PROXY TCP4 127.0.0.1 10.0.0.1 1 2\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert!(stranger.is_closed().await, "only a trusted proxy may speak it");
    assert_eq!(gateway.metric(counted).await, 5.0);
    assert_eq!(origin.seen().len(), seen);
}

/// What a server answers a GET with, raw, and what the client must see: status, fields (or their absence), body.
type Response = (&'static str, u16, &'static [&'static str], &'static str);

const RESPONSES: &[Response] = &[
    (
        "200 OK\r\nContent-Length: 2\r\nConnection: keep-alive, X-Hop\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\n\r\nok",
        200,
        &["connection", "x-hop", "keep-alive", "content-length: 2"],
        "ok",
    ),
    (
        "200 OK\r\nContent-Length: 2\r\nProxy-Connection: close\r\nUpgrade: h2c\r\n\r\nok",
        200,
        &["proxy-connection", "upgrade"],
        "ok",
    ),
    ("200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok", 200, &["connection"], "ok"),
    (
        "200 Fine\r\nContent-Length: 0\r\nServer: s\r\nDate: Thu, 01 Jan 1970 00:00:00 GMT\r\n\r\n",
        200,
        &["server: s", "date: Thu, 01 Jan 1970 00:00:00 GMT", "content-length: 0"],
        "",
    ),
    (
        "200 OK\r\nContent-Length: 0\r\nSet-Cookie: b=2\r\nX: caf\u{e9}\r\nY:\r\n\r\n",
        200,
        &["set-cookie: b=2", "x: caf\u{e9}", "y: "],
        "",
    ),
    (
        "200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        200,
        &["transfer-encoding: chunked", "content-length"],
        "ok",
    ),
    ("204 No Content\r\nX: y\r\n\r\n", 204, &["x: y", "content-length", "transfer-encoding"], ""),
    ("304 Not Modified\r\nETag: \"a\"\r\n\r\n", 304, &["etag: \"a\"", "transfer-encoding"], ""),
    ("304 Not Modified\r\nContent-Length: 9\r\n\r\n", 304, &["transfer-encoding"], ""),
    ("404 Not Found\r\nContent-Length: 4\r\n\r\ngone", 404, &["content-length: 4"], "gone"),
    ("599 Odd\r\nContent-Length: 0\r\n\r\n", 599, &[], ""),
    (
        "103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        200,
        &["link"],
        "ok",
    ),
];

#[tokio::test]
async fn a_response_keeps_what_is_its_own() {
    let origin = ByHand::start().await;
    let gateway = Gateway::start(&all_to(&[origin.address])).await;
    for (response, status, expected, body) in RESPONSES {
        let mut client = gateway.connect().await;
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
        let mut server = origin.accept().await;
        server.head().await;
        server.send(&format!("HTTP/1.1 {response}")).await;
        let reply = client.reply().await;
        assert_eq!((reply.status, reply.text().as_str()), (*status, *body), "{response:?}");
        for line in *expected {
            let (name, value) = line.split_once(": ").map_or((*line, None), |(n, v)| (n, Some(v)));
            assert_eq!(reply.header(name), value, "{response:?}: {reply:?}");
        }
        drop(server);
        // The connection is in order: the next request gets its own answer.
        client.send("GET /next HTTP/1.1\r\nHost: a\r\n\r\n").await;
        let mut server = origin.accept().await;
        server.head().await;
        server.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nnext").await;
        assert_eq!(client.reply().await.text(), "next", "{response:?}");
    }
}

#[tokio::test]
async fn a_response_to_head_has_its_fields_and_no_body() {
    let origin = Origin::answering(|seen| match seen.line() {
        "HEAD /length HTTP/1.1" => b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n".to_vec(),
        "HEAD /chunked HTTP/1.1" => {
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec()
        }
        "HEAD /neither HTTP/1.1" => b"HTTP/1.1 200 OK\r\nX: y\r\n\r\n".to_vec(),
        _ => ok("hello"),
    })
    .await;
    let gateway = Gateway::start(&all_to(&[origin.address])).await;
    let mut client = gateway.connect().await;
    for (path, length) in
        [("/length", Some("content-length: 5")), ("/chunked", None), ("/neither", None)]
    {
        client.send(&format!("HEAD {path} HTTP/1.1\r\nHost: a\r\n\r\n")).await;
        let head = client.head().await.to_lowercase();
        assert!(head.starts_with("http/1.1 200 "), "{head}");
        assert!(length.is_none_or(|length| head.contains(length)), "{head}");
        assert_eq!(client.get("/").await.text(), "hello", "after HEAD {path}");
    }
    assert_eq!(origin.connections(), 1);
}

#[tokio::test]
async fn a_client_of_http_1_0_is_spoken_to_in_its_way() {
    let origin = Origin::answering(|seen| match seen.line() {
        "GET /chunked HTTP/1.1" => {
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n".to_vec()
        }
        _ => ok("hello"),
    })
    .await;
    let gateway = Gateway::start(&all_to(&[origin.address])).await;
    for path in ["/", "/chunked"] {
        let mut client = gateway.connect().await;
        client.send(&format!("GET {path} HTTP/1.0\r\n\r\n")).await;
        let text = String::from_utf8(client.rest().await).unwrap();
        assert!(text.ends_with("\r\n\r\nhello"), "{text}");
        assert!(!text.to_lowercase().contains("transfer-encoding"), "{text}");
    }
    let mut client = gateway.connect().await;
    for _ in 0..2 {
        client.send("GET / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n").await;
        let reply = client.reply().await;
        assert_eq!(reply.text(), "hello");
        assert_eq!(reply.header("connection"), Some("keep-alive"));
    }
    // HTTP/1.1, which is spoken to the server, must say a host (RFC 9112, section 3.2).
    let host = origin.address.to_string();
    assert_eq!(origin.seen()[0].header("host"), Some(host.as_str()));
}

#[tokio::test]
async fn a_client_that_asks_for_it_gets_the_connection_closed() {
    let origin = Origin::start().await;
    let gateway = Gateway::start_single(&all_to(&[origin.address])).await;
    let mut client = gateway.connect().await;
    client.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await;
    assert_eq!(client.reply().await.header("connection"), Some("close"));
    assert!(client.is_closed().await);
    let mut client = gateway.connect().await;
    assert_eq!(client.get("/").await.status, 200);
    assert_eq!(origin.connections(), 1, "the server's connection is kept all the same");
}

#[tokio::test]
async fn timing_and_proxy_status_are_told_where_the_route_says_so() {
    let origin = Origin::start().await;
    let closed = ByHand::start().await.address;
    let config = format!(
        "{}server-timing = true\nproxy-status = true\n[upstreams.down]\nservers = [\"{closed}\"]\n\
         [[routes]]\npath = \"/down\"\nupstream = \"down\"\nproxy-status = true\n\
         [[routes]]\npath = \"/silent\"\nupstream = \"down\"\n",
        all_to(&[origin.address])
    );
    let gateway = Gateway::start(&config).await;
    let mut client = gateway.connect().await;
    let reply = client.get("/").await;
    assert_eq!(reply.header("proxy-status"), Some("gateway"));
    let timing = reply.header("server-timing").unwrap();
    assert!(timing.starts_with("gateway;dur=") && timing.contains(", upstream;dur="), "{timing}");
    let reply = client.get("/down").await;
    assert_eq!(reply.header("proxy-status"), Some("gateway; error=connection_refused"));
    let reply = client.get("/silent").await;
    assert_eq!((reply.header("proxy-status"), reply.header("server-timing")), (None, None));
}

#[tokio::test]
async fn the_ids_of_a_request_go_to_the_server_and_into_the_log() {
    let origin = Origin::start().await;
    let config = format!(
        "[access-log]\nfile = \"access.log\"\nflush = \"10ms\"\n{}plugins = [{{ correlation-id = {{ traceparent = true }} }}]\n",
        all_to(&[origin.address])
    );
    let gateway = Gateway::start_single(&config).await;
    let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let fields = format!("X-Correlation-Id: mine\r\ntraceparent: {trace}\r\n");
    let kept = seen_of(&gateway, &origin, &fields).await;
    check(&kept, &["x-correlation-id: mine", &format!("traceparent: {trace}")], "kept");
    let made = seen_of(&gateway, &origin, "X-Correlation-Id: not sane\r\n").await;
    let log = gateway.log_of(2).await;
    assert_eq!(log[0]["correlation_id"], "mine");
    assert_eq!(log[0]["traceparent"], trace);
    let id = made.header("x-correlation-id").unwrap();
    assert_eq!(id.len(), 32);
    assert_eq!(log[1]["correlation_id"], id);
    assert_eq!(log[1]["traceparent"], made.header("traceparent").unwrap());
}

//! What the gateway says of its traffic: a line and a reason for each request, and metrics that move (issue 2, section 9).

#![allow(clippy::unwrap_used, clippy::panic, clippy::cognitive_complexity, reason = "tests")]

mod rig;

use rig::origin::{HOLD, ok};
use rig::{ByHand, Client, Gateway, Origin, Seen, all_to, until, upstream};
use serde_json::Value;

const LOG: &str = "[access-log]\nfile = \"access.log\"\nflush = \"10ms\"\n";

/// One server that answers as its path says, and routes for each way a request can end.
fn answer(seen: &Seen) -> Vec<u8> {
    match seen.line().split(' ').nth(1).unwrap_or_default() {
        "/hold" | "/deadline" => HOLD.to_vec(),
        "/broken" => Vec::new(),
        "/missing" => b"HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\n\r\ngone".to_vec(),
        _ => ok("hello"),
    }
}

async fn ways() -> (Origin, Gateway) {
    let origin = Origin::answering(answer).await;
    let down = ByHand::start().await.address;
    let route = |path: &str, rest: &str| {
        format!("[[routes]]\nname = \"{path}\"\npath = \"/{path}\"\n{rest}\n")
    };
    let to = "upstream = \"origin\"\n";
    let routes = [
        route("{*rest}", &format!("{to}methods = [\"GET\", \"POST\"]")),
        route("fixed", "respond = { body = \"fixed\" }"),
        route("redirect", "redirect = { to = \"/there\" }"),
        route("sent-away", &format!("{to}plugins = [{{ redirect = {{ https = true }} }}]")),
        route("kept-out", &format!("{to}plugins = [{{ ip = {{ deny = [\"127.0.0.1\"] }} }}]")),
        route("deadline", &format!("{to}timeout = \"100ms\"")),
        route("small", &format!("{to}body-limit = \"1B\"")),
        route("get", &format!("{to}methods = [\"GET\"]")),
        route("down", "upstream = \"down\""),
        route("slow", "upstream = \"slow\"\nrewrite = \"/hold\""),
    ]
    .concat();
    let config = format!(
        "{LOG}{}[upstreams.down]\nservers = [\"{down}\"]\n\
         [upstreams.slow]\nservers = [\"{}\"]\ntimeout = {{ response = \"100ms\" }}\n{routes}",
        upstream(&[origin.address], ""),
        origin.address
    );
    let gateway = Gateway::start_single(&config).await;
    (origin, gateway)
}

/// A request, and what its line must say: status, reason, route, upstream, bytes of the body.
type Line<'a> = (&'a str, u16, &'a str, Option<&'a str>, Option<&'a str>, u64);

const LINES: &[Line<'_>] = &[
    ("GET /x HTTP/1.1\r\nHost: a\r\n\r\n", 200, "ok", Some("{*rest}"), Some("origin"), 5),
    ("GET /missing HTTP/1.1\r\nHost: a\r\n\r\n", 404, "ok", Some("{*rest}"), Some("origin"), 4),
    ("GET /fixed HTTP/1.1\r\nHost: a\r\n\r\n", 200, "fixed", Some("fixed"), None, 5),
    ("GET /redirect HTTP/1.1\r\nHost: a\r\n\r\n", 307, "redirect", Some("redirect"), None, 0),
    ("GET /sent-away HTTP/1.1\r\nHost: a\r\n\r\n", 301, "plugin", Some("sent-away"), None, 0),
    ("GET /kept-out HTTP/1.1\r\nHost: a\r\n\r\n", 403, "ip-denied", Some("kept-out"), None, 1),
    (
        "GET /deadline HTTP/1.1\r\nHost: a\r\n\r\n",
        504,
        "deadline",
        Some("deadline"),
        Some("origin"),
        1,
    ),
    (
        "POST /small HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n",
        413,
        "body-too-long",
        Some("small"),
        None,
        1,
    ),
    ("PUT /get HTTP/1.1\r\nHost: a\r\n\r\n", 405, "method", None, None, 1),
    ("GET /down HTTP/1.1\r\nHost: a\r\n\r\n", 502, "connect-failed", Some("down"), Some("down"), 1),
    (
        "GET /slow HTTP/1.1\r\nHost: a\r\n\r\n",
        504,
        "upstream-timeout",
        Some("slow"),
        Some("slow"),
        1,
    ),
    (
        "POST /broken HTTP/1.1\r\nHost: a\r\n\r\n",
        502,
        "upstream-broken",
        Some("{*rest}"),
        Some("origin"),
        1,
    ),
    ("GET /a/../b HTTP/1.1\r\nHost: a\r\n\r\n", 400, "path-dot-segment", None, None, 1),
    ("GET / HTTP/1.1\r\nHost: a\nX: y\r\n\r\n", 400, "bare-lf", None, None, 0),
    ("GET / HTTP/1.1\r\n\r\n", 400, "host", None, None, 0),
    (
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n",
        400,
        "chunk-size",
        Some("{*rest}"),
        Some("origin"),
        1,
    ),
];

#[tokio::test]
async fn each_request_has_a_line_that_says_how_it_ended() {
    let (origin, gateway) = ways().await;
    for (request, status, ..) in LINES {
        let mut client = gateway.connect().await;
        client.send(request).await;
        assert_eq!(client.reply().await.status, *status, "{request:?}");
    }
    let log = gateway.log_of(LINES.len()).await;
    assert_eq!(log.len(), LINES.len(), "{log:?}");
    for ((_, status, reason, route, upstream, bytes), line) in LINES.iter().zip(&log) {
        assert_eq!(
            (&line["status"], &line["reason"]),
            (&Value::from(*status), &Value::from(*reason)),
            "{line}"
        );
        assert_eq!(
            (line["route"].as_str(), line["upstream"].as_str()),
            (*route, *upstream),
            "{line}"
        );
        // A problem's length is its own affair.
        let sent = line["bytes_out"].as_u64().unwrap();
        assert_eq!(sent.min(if *bytes == 1 { 1 } else { u64::MAX }), *bytes, "{line}");
        assert_eq!(line["client"], "127.0.0.1", "{line}");
    }
    let line = &log[0];
    assert_eq!(line["server"], origin.address.to_string());
    assert_eq!(
        (&line["method"], &line["path"], &line["host"]),
        (&"GET".into(), &"/x".into(), &"a".into())
    );
    assert_eq!((&line["protocol"], &line["scheme"]), (&"HTTP/1.1".into(), &"http".into()));
    assert!(line["duration_ms"].as_f64().unwrap() >= line["upstream_ms"].as_f64().unwrap());
}

#[tokio::test]
async fn bytes_are_counted_on_both_ways() {
    let origin = Origin::start().await;
    let gateway = Gateway::start_single(&format!("{LOG}{}", all_to(&[origin.address]))).await;
    let mut client = gateway.connect().await;
    client.send("POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 1234\r\n\r\n").await;
    client.send(&"x".repeat(1234)).await;
    client.reply().await;
    client.send("POST /b HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n").await;
    client.reply().await;
    client
        .send("HEAD /c HTTP/1.1\r\nHost: a\r\nUser-Agent: \"me\"\u{c3}\r\nReferer: r\r\n\r\n")
        .await;
    client.head().await;
    let log = gateway.log_of(3).await;
    let bytes =
        |line: &Value| (line["bytes_in"].as_u64().unwrap(), line["bytes_out"].as_u64().unwrap());
    assert_eq!(log.iter().map(bytes).collect::<Vec<_>>(), [(1234, 16), (5, 16), (0, 0)]);
    assert_eq!(log[2]["reason"], "ok");
    assert_eq!((&log[2]["user_agent"], &log[2]["referer"]), (&"\"me\"\u{c3}".into(), &"r".into()));
}

#[tokio::test]
async fn a_client_that_leaves_is_told_from_one_that_stays() {
    let origin = ByHand::start().await;
    let gateway = Gateway::start_single(&format!("{LOG}{}", all_to(&[origin.address]))).await;
    let in_flight = async |count: f64| {
        until("in flight", || async {
            (gateway.metric("gateway_requests_in_flight").await == count).then_some(())
        })
        .await;
    };
    let mut servers = Vec::new();
    let mut clients = Vec::new();
    for _ in 0..3 {
        let mut client = gateway.connect().await;
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
        let mut server = origin.accept().await;
        server.head().await;
        clients.push(client);
        servers.push(server);
    }
    in_flight(3.0).await;
    drop(clients.remove(0));
    assert!(servers[0].is_closed().await);
    in_flight(2.0).await;
    for server in &mut servers[1..] {
        server.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello").await;
    }
    let mut leaving = clients.remove(0);
    leaving.head().await;
    drop(leaving);
    assert!(servers[1].is_closed().await);
    in_flight(1.0).await;
    servers[2].end().await;
    clients[0].rest().await;
    in_flight(0.0).await;
    let log = gateway.log_of(3).await;
    let ends: Vec<_> = log
        .iter()
        .map(|line| (line["status"].as_u64().unwrap(), line["reason"].as_str().unwrap()))
        .collect();
    assert_eq!(ends, [(499, "client-gone"), (200, "client-gone"), (200, "upstream-broken")]);
    assert_eq!(gateway.metric("gateway_requests_total{route=\"all\",status=\"4xx\"}").await, 1.0);
    assert_eq!(gateway.metric("gateway_requests_total{route=\"all\",status=\"2xx\"}").await, 2.0);
}

#[tokio::test]
async fn metrics_move_with_the_traffic() {
    let (_origin, gateway) = ways().await;
    let before = gateway.metric("gateway_connections_total{listener=\"127.0.0.1:0\"}").await;
    let mut client = gateway.connect().await;
    for _ in 0..5 {
        assert_eq!(client.get("/x").await.status, 200);
    }
    client.get("/missing").await;
    client.get("/down").await;
    client.get("/kept-out").await;
    for (series, value) in [
        ("gateway_requests_total{route=\"{*rest}\",status=\"2xx\"}", 5.0),
        ("gateway_requests_total{route=\"{*rest}\",status=\"4xx\"}", 1.0),
        ("gateway_requests_total{route=\"down\",status=\"5xx\"}", 1.0),
        ("gateway_requests_total{route=\"kept-out\",status=\"4xx\"}", 1.0),
        ("gateway_request_duration_seconds_count{route=\"{*rest}\"}", 6.0),
        ("gateway_requests_in_flight", 0.0),
        ("gateway_refusals_total{reason=\"ip-denied\"}", 1.0),
        ("gateway_upstream_connections_total{upstream=\"origin\",kind=\"new\"}", 1.0),
        ("gateway_upstream_connections_total{upstream=\"origin\",kind=\"reused\"}", 5.0),
        ("gateway_upstream_connect_failures_total{upstream=\"down\"}", 1.0),
        ("gateway_connections{listener=\"127.0.0.1:0\"}", 1.0),
        ("gateway_connections_total{listener=\"127.0.0.1:0\"}", before + 1.0),
        ("gateway_config_generation", 1.0),
        ("gateway_access_log_dropped_total", 0.0),
    ] {
        assert_eq!(gateway.metric(series).await, value, "{series}");
    }
    drop(client);
    until("the connection to be gone", || async {
        (gateway.metric("gateway_connections{listener=\"127.0.0.1:0\"}").await == 0.0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn nothing_is_lost_of_the_log_when_the_process_ends() {
    let config = "[access-log]\nfile = \"access.log\"\nflush = \"1m\"\n[[routes]]\npath = \"/\"\nrespond = {}\n";
    let mut gateway = Gateway::start(config).await;
    for _ in 0..10 {
        let mut client: Client = gateway.connect().await;
        for _ in 0..10 {
            client.get("/").await;
        }
    }
    gateway.signal("TERM").await;
    assert_eq!(gateway.ended().await, Some(0));
    assert_eq!(gateway.access_log().len(), 100);
}

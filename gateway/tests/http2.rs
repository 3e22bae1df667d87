//! Ordinary and extraordinary HTTP/2 traffic: streams, bodies, trailers, limits, and how a connection ends.

#![allow(clippy::unwrap_used, reason = "tests")]
#![allow(clippy::excessive_nesting, reason = "a server of a test stands where its test does")]
#![allow(clippy::print_stdout, reason = "the figures are what one wants to read")]

mod rig;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Frame as BodyFrame;
use http_body_util::BodyExt;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rig::h2_ends::{Fed, H2Client, H2Origin, get, post};
use rig::h2_frames::*;
use rig::origin::ok;
use rig::{Gateway, Origin, soon, until};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::Notify;

fn to_http1(origin: &Origin) -> String {
    upstream(&origin.address.to_string(), "")
}

fn to_http2(origin: &H2Origin) -> String {
    upstream(&origin.address.to_string(), "protocol = \"http2\"\n")
}

fn upstream(address: &str, more: &str) -> String {
    format!(
        "[upstreams.origin]\nservers = [\"{address}\"]\n{more}\
         [[routes]]\npath = \"/{{*rest}}\"\nupstream = \"origin\"\nbody-limit = \"none\"\n"
    )
}

/// One worker, so that all of a test's requests meet.
async fn one_worker(config: &str) -> Gateway {
    let admin = rig::gateway::ADMIN.replace("threads = 2", "threads = 1");
    Gateway::start_as(&format!("{}{admin}{config}", rig::gateway::LISTENER)).await
}

async fn echo(request: Request<hyper::body::Incoming>) -> Response<Fed> {
    let (sender, body) = Fed::channel();
    tokio::spawn(async move {
        let mut incoming = request.into_body();
        while let Some(Ok(frame)) = incoming.frame().await {
            if sender.send(frame).await.is_err() {
                return;
            }
        }
    });
    Response::new(body)
}

async fn ask_at_once(client: &H2Client, count: usize) {
    let asking: Vec<_> = (0..count)
        .map(|index| {
            let mut client = client.clone();
            tokio::spawn(async move { client.get(&format!("/{index}")).await.text() })
        })
        .collect();
    for (index, asked) in asking.into_iter().enumerate() {
        assert!(soon("an answer", asked).await.unwrap().contains(&format!("/{index}")));
    }
}

#[tokio::test]
async fn many_streams_at_once_each_get_their_answer_from_http1() {
    let origin = Origin::start().await;
    let gateway = one_worker(&to_http1(&origin)).await;
    let client = H2Client::connect(gateway.address()).await;
    ask_at_once(&client, 100).await;
    assert_eq!(origin.seen().len(), 100);
    assert!(origin.connections() <= 100, "{}: they are kept", origin.connections());
}

#[tokio::test]
async fn many_streams_at_once_share_a_connection_to_http2() {
    let origin = H2Origin::start().await;
    let gateway = one_worker(&to_http2(&origin)).await;
    let client = H2Client::connect(gateway.address()).await;
    // All of them come before there is any connection.
    ask_at_once(&client, 90).await;
    assert_eq!(origin.connections(), 1, "one connection carries them all");
    assert_eq!(origin.seen()[0].version, http::Version::HTTP_2);
}

#[tokio::test]
async fn an_http1_client_reaches_an_http2_server() {
    let origin = H2Origin::answering(echo).await;
    let gateway = Gateway::start(&to_http2(&origin)).await;
    let mut client = gateway.connect().await;
    client.send("POST /a?b HTTP/1.1\r\nHost: shop.example\r\nTransfer-Encoding: chunked\r\nConnection: keep-alive\r\nKeep-Alive: 5\r\n\r\n3\r\nabc\r\n0\r\n\r\n").await;
    assert_eq!(client.reply().await.text(), "abc");
    let seen = &origin.seen()[0];
    assert_eq!(seen.uri, "http://shop.example/a?b");
    for gone in ["host", "connection", "keep-alive", "transfer-encoding"] {
        assert!(!seen.headers.contains_key(gone), "{gone}: {seen:?}");
    }
    assert_eq!(seen.headers["x-forwarded-host"], "shop.example");
}

#[tokio::test]
async fn large_bodies_pass_both_ways_within_their_windows() {
    let body = Bytes::from((0..8 << 20).map(|index: u32| (index / 7) as u8).collect::<Vec<u8>>());
    let http2 = H2Origin::answering(echo).await;
    let http1 = Origin::answering(|seen| {
        [
            format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", seen.body.len()).as_bytes(),
            &seen.body,
        ]
        .concat()
    })
    .await;
    for config in [to_http2(&http2), to_http1(&http1)] {
        let gateway = Gateway::start(&config).await;
        let mut client = H2Client::connect(gateway.address()).await;
        let answer = client.send(post("/", Fed::whole(body.clone()))).await;
        assert_eq!(answer.status, 200);
        assert!(answer.body == body, "{} bytes came back", answer.body.len());
    }
}

#[tokio::test]
async fn a_response_goes_out_while_the_request_still_comes_in() {
    let origin = H2Origin::answering(echo).await;
    let gateway = Gateway::start(&to_http2(&origin)).await;
    let mut client = H2Client::connect(gateway.address()).await;
    let (sender, body) = Fed::channel();
    let mut response = client.start(post("/", body)).await.unwrap().into_body();
    for word in ["one", "two", "three"] {
        sender.send(BodyFrame::data(word.into())).await.unwrap();
        let frame = soon("the echo", response.frame()).await.unwrap().unwrap();
        assert_eq!(frame.into_data().unwrap(), word);
    }
    drop(sender);
    let rest = soon("the end", response.collect()).await.unwrap();
    assert!(rest.to_bytes().is_empty());
}

#[tokio::test]
async fn trailers_pass_both_ways_to_http2() {
    let origin = H2Origin::answering(echo).await;
    let gateway = Gateway::start(&to_http2(&origin)).await;
    let mut client = H2Client::connect(gateway.address()).await;
    let answer = client.send(post("/", Fed::with_trailers("body", &[("x-sum", "42")]))).await;
    assert_eq!((answer.text().as_str(), answer.trailer("x-sum")), ("body", Some("42")));
}

#[tokio::test]
async fn trailers_of_an_http1_response_reach_an_http2_client() {
    let origin = Origin::answering(|_| {
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: x-sum\r\n\r\n2\r\nhi\r\n0\r\nx-sum: 42\r\n\r\n".to_vec()
    })
    .await;
    let gateway = Gateway::start(&to_http1(&origin)).await;
    let answer = H2Client::connect(gateway.address()).await.get("/").await;
    assert_eq!((answer.text().as_str(), answer.trailer("x-sum")), ("hi", Some("42")));
    assert_eq!(answer.header("transfer-encoding"), None);
}

#[tokio::test]
async fn split_cookies_are_joined_and_the_authority_becomes_the_host() {
    let origin = Origin::start().await;
    let gateway = Gateway::start(&to_http1(&origin)).await;
    let mut client = H2Client::connect(gateway.address()).await;
    let mut request = get("/");
    for crumb in ["a=1", "b=2", "c=3"] {
        request.headers_mut().append("cookie", crumb.parse().unwrap());
    }
    request.headers_mut().insert("x-forwarded-for", "203.0.113.1".parse().unwrap());
    assert_eq!(client.send(request).await.status, 200);
    let seen = origin.only();
    assert_eq!(seen.all("cookie"), ["a=1; b=2; c=3"]);
    assert_eq!(seen.all("host"), ["test.example"]);
    assert_eq!(seen.all("x-forwarded-for"), ["127.0.0.1"]);
    assert_eq!(seen.all("x-forwarded-host"), ["test.example"]);
    assert_eq!(seen.all("x-forwarded-proto"), ["http"]);
    assert_eq!(seen.line(), "GET / HTTP/1.1");
}

type Fields = &'static [(&'static str, &'static str)];

/// Fields of one request each, and what they are answered with. 0: a stream error.
const REQUESTS: &[(&str, Fields, u16)] = &[
    ("a plain request", &[(":authority", "a.example")], 200),
    ("Host beside the same :authority", &[(":authority", "a.example"), ("host", "a.example")], 200),
    ("Host in place of :authority", &[("host", "a.example")], 200),
    ("Host and :authority differ", &[(":authority", "a.example"), ("host", "b.example")], 400),
    (
        "Host and :authority differ by port",
        &[(":authority", "a.example"), ("host", "a.example:81")],
        400,
    ),
    (
        "two Hosts",
        &[(":authority", "a.example"), ("host", "a.example"), ("host", "b.example")],
        400,
    ),
    ("two Hosts alone", &[("host", "a.example"), ("host", "b.example")], 400),
    ("no host at all", &[], 400),
    ("an empty Host", &[("host", "")], 400),
    ("userinfo in :authority", &[(":authority", "user@a.example")], 400),
    ("userinfo in Host", &[("host", "user@a.example")], 400),
    ("a path in Host", &[("host", "a.example/b")], 400),
    (
        "two Content-Lengths",
        &[(":authority", "a.example"), ("content-length", "0"), ("content-length", "1")],
        0,
    ),
    ("a Content-Length list", &[(":authority", "a.example"), ("content-length", "0, 0")], 0),
    ("a Content-Length with a sign", &[(":authority", "a.example"), ("content-length", "+0")], 0),
    (
        "a Content-Length that overflows",
        &[(":authority", "a.example"), ("content-length", "99999999999999999999")],
        0,
    ),
    ("white space before a value", &[(":authority", "a.example"), ("x-test", " a")], 400),
    ("white space after a value", &[(":authority", "a.example"), ("x-test", "a\t")], 400),
    ("TE: trailers", &[(":authority", "a.example"), ("te", "trailers")], 200),
    ("Expect", &[(":authority", "a.example"), ("expect", "100-continue")], 200),
];

#[tokio::test]
async fn what_two_servers_could_read_differently_is_refused() {
    let origin = Origin::start().await;
    let gateway = Gateway::start(&to_http1(&origin)).await;
    let mut wrong = Vec::new();
    for (what, more, expected) in REQUESTS {
        let mut peer = Peer::connect(gateway.address()).await;
        let basic = [(":method", "GET"), (":scheme", "http"), (":path", "/path")];
        let (pseudo, regular): (Vec<_>, Vec<_>) =
            more.iter().partition(|(name, _)| name.starts_with(':'));
        let all: Vec<(&str, &str)> = basic.into_iter().chain(pseudo).chain(regular).collect();
        let before = origin.seen().len();
        peer.send(&headers(1, &block(&all))).await;
        let status = answered(&mut peer).await;
        let reached = origin.seen().len() > before;
        if status != *expected || reached != (status == 200) {
            wrong.push(format!(
                "{what}: {status} instead of {expected}, reached the server: {reached}"
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Method, path and what they are answered with. 0: a stream error.
const TARGETS: &[(&str, Option<&str>, u16)] = &[
    ("OPTIONS", Some("*"), 404),
    ("GET", Some("*"), 400),
    ("GET", Some("path"), 0),
    ("GET", Some("http://b.example/"), 0),
    ("GET", Some("/a b"), 0),
    ("GET", Some("/a/../b"), 400),
    ("GET", Some("/a%2fb"), 400),
    ("GET", Some("/a%00b"), 400),
    ("GET", Some("/a\\b"), 400),
    ("GET /x HTTP/1.1", Some("/"), 0),
    ("CONNECT", None, 501),
    ("CONNECT", Some("/"), 0),
    // The http crate takes a fragment off, and what is left is both routed and sent.
    ("GET", Some("/a#b"), 200),
];

#[tokio::test]
async fn targets_that_are_no_path_are_refused() {
    let origin = Origin::start().await;
    let gateway = Gateway::start(&to_http1(&origin)).await;
    let mut wrong = Vec::new();
    for (method, path, expected) in TARGETS {
        let of_path = path.map(|path| [(":scheme", "http"), (":path", path)]);
        let fields: Vec<_> = [(":method", *method), (":authority", "a.example")]
            .into_iter()
            .chain(of_path.into_iter().flatten())
            .collect();
        let mut peer = Peer::connect(gateway.address()).await;
        peer.send(&headers(1, &block(&fields))).await;
        let status = answered(&mut peer).await;
        if status != *expected {
            wrong.push(format!("{method} {path:?}: {status} instead of {expected}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(origin.only().line(), "GET /a HTTP/1.1");
}

/// The status of stream 1, or 0 if it is reset.
async fn answered(peer: &mut Peer) -> u16 {
    let answer = peer.until(|frame| matches!(frame.kind, HEADERS | RST_STREAM | GOAWAY)).await;
    if answer.kind == HEADERS { answer.status() } else { 0 }
}

#[tokio::test]
async fn the_configured_number_of_streams_is_told_and_held() {
    let origin = Origin::start().await;
    let gateway =
        Gateway::start(&format!("[limits]\nhttp2-streams = 3\n{}", to_http1(&origin))).await;
    let mut peer = Peer::silent(gateway.address()).await;
    peer.send(&[PREFACE, &settings(&[(INITIAL_WINDOW_SIZE, 0)])].concat()).await;
    let told = peer.next().await.unwrap().payload;
    assert!(told.chunks(6).any(|setting| setting == [0, 3, 0, 0, 0, 3]), "{told:?}");
    let open_up: Vec<u8> =
        [1, 3, 5, 7].into_iter().flat_map(|stream| open(stream, &a_request("POST"))).collect();
    peer.send(&open_up).await;
    let refused = peer.until(|frame| frame.kind == RST_STREAM).await;
    assert_eq!((refused.stream, refused.code()), (7, REFUSED_STREAM));
}

fn a_request(method: &str) -> Vec<u8> {
    block(&[
        (":method", method),
        (":scheme", "http"),
        (":path", "/"),
        (":authority", "test.example"),
    ])
}

#[tokio::test]
async fn a_rapid_reset_closes_the_connection_and_spares_the_server() {
    let origin = Origin::start().await;
    let gateway =
        Gateway::start(&format!("[limits]\nhttp2-resets = 20\n{}", to_http1(&origin))).await;
    let mut peer = Peer::connect(gateway.address()).await;
    let attack: Vec<u8> = (0..2000)
        .flat_map(|index| {
            [headers(index * 2 + 1, &a_request("GET")), reset(index * 2 + 1, CANCEL)].concat()
        })
        .collect();
    peer.send(&attack).await;
    let goaway = peer.until(|frame| frame.kind == GOAWAY).await;
    assert_eq!(goaway.code(), ENHANCE_YOUR_CALM, "{goaway:?}");
    peer.end().await;
    assert!(origin.seen().len() < 200, "{} requests reached the server", origin.seen().len());
    assert_eq!(gateway.connect().await.get("/after").await.status, 200);
}

#[tokio::test]
async fn too_many_or_too_long_fields_are_refused() {
    let origin = Origin::start().await;
    let gateway = Gateway::start(&to_http1(&origin)).await;
    let long = literal("x-long", &"x".repeat(15_000)).repeat(3);
    let many: Vec<u8> = (0..101).flat_map(|index| literal(&format!("x-{index}"), "a")).collect();
    let twice: Vec<u8> = literal("x-same", "a").repeat(101);
    for (what, more) in [("long", long), ("many", many), ("the same", twice)] {
        let mut peer = Peer::connect(gateway.address()).await;
        let fields = [a_request("GET"), more].concat();
        let (first, rest) = fields.split_at(fields.len().min(16_000));
        let mut sent = frame(HEADERS, END_STREAM, 1, first);
        for piece in rest.chunks(16_000) {
            sent.extend(frame(CONTINUATION, 0, 1, piece));
        }
        sent.extend(frame(CONTINUATION, END_HEADERS, 1, &[]));
        peer.send(&sent).await;
        assert_eq!(answered(&mut peer).await, 431, "{what}");
    }
    assert!(origin.seen().is_empty(), "{:?}", origin.seen());
}

#[tokio::test]
async fn a_flood_of_continuations_is_cut_off() {
    let origin = Origin::start().await;
    let gateway = one_worker(&to_http1(&origin)).await;
    H2Client::connect(gateway.address()).await.get("/warm").await;
    let before = resident(gateway.pid());
    for piece in [literal("x-flood", &"x".repeat(4000)).repeat(4), Vec::new(), literal("x", "y")] {
        let mut peer = Peer::connect(gateway.address()).await;
        peer.send(&frame(HEADERS, END_STREAM, 1, &a_request("GET"))).await;
        let flood = frame(CONTINUATION, 0, 1, &piece).repeat(4000);
        peer.send(&flood).await;
        peer.until(|frame| frame.kind == GOAWAY).await;
    }
    let grown = resident(gateway.pid()).saturating_sub(before);
    assert!(grown < 16 << 20, "grew by {grown} bytes");
    assert_eq!(origin.only().line(), "GET /warm HTTP/1.1");
}

/// Bytes of memory that are really there.
fn resident(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().split(' ').next().unwrap().parse::<u64>().unwrap() * 1024
}

/// Opens streams for large bodies with small requests and reads none of them.
async fn hoard(gateway: &Gateway, streams: u32) -> Peer {
    let mut peer = Peer::with(gateway.address(), &[(INITIAL_WINDOW_SIZE, 0)]).await;
    let asked: Vec<u8> =
        (0..streams).flat_map(|index| headers(index * 2 + 1, &a_request("GET"))).collect();
    peer.send(&asked).await;
    for _ in 0..streams {
        peer.until(|frame| frame.kind == HEADERS).await;
    }
    peer
}

#[tokio::test]
async fn streams_that_are_never_read_take_little_memory() {
    let large = vec![b'x'; 1 << 20];
    let of_http1 = large.clone();
    let http1 = Origin::answering(move |_| {
        [
            format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", of_http1.len()).as_bytes(),
            &of_http1,
        ]
        .concat()
    })
    .await;
    let http2 = H2Origin::answering(move |_| {
        let body = Fed::whole(large.clone());
        async move { Response::new(body) }
    })
    .await;
    for (what, config) in [("HTTP/1.1", to_http1(&http1)), ("HTTP/2", to_http2(&http2))] {
        let gateway = one_worker(&config).await;
        H2Client::connect(gateway.address()).await.get("/warm").await;
        let before = resident(gateway.pid());
        let mut peer = hoard(&gateway, 100).await;
        peer.ping().await;
        // The servers' bytes arrive in their own time: what counts is the most it comes to.
        let mut most = 0;
        for _ in 0..20 {
            peer.ping().await;
            most = most.max(resident(gateway.pid()).saturating_sub(before));
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        println!("100 unread streams of 1 MiB from {what}: {} KiB", most / 1024);
        assert!(most < 32 << 20, "{what}: grew by {} KiB", most / 1024);
    }
}

#[tokio::test]
async fn streams_that_are_never_read_do_not_hold_up_others() {
    let origin = H2Origin::answering(|request| async move {
        let body =
            if request.uri().path() == "/" { vec![b'x'; 2 << 20] } else { b"small".to_vec() };
        Response::new(Fed::whole(body))
    })
    .await;
    let gateway = one_worker(&to_http2(&origin)).await;
    let mut other = H2Client::connect(gateway.address()).await;
    other.get("/warm").await;
    let mut hoarding = hoard(&gateway, 60).await;
    hoarding.ping().await;
    for _ in 0..10 {
        assert_eq!(other.get("/other").await.text(), "small");
    }
    hoarding
        .send(&headers(
            1001,
            &block(&[
                (":method", "GET"),
                (":scheme", "http"),
                (":path", "/own"),
                (":authority", "a"),
            ]),
        ))
        .await;
    hoarding.send(&window(1001, 100)).await;
    let own = hoarding.until(|frame| frame.kind == DATA).await;
    assert_eq!((own.stream, own.payload.as_slice()), (1001, &b"small"[..]));
    assert_eq!(origin.connections(), 1, "all of it over one connection");
}

#[tokio::test]
async fn a_client_that_takes_nothing_for_too_long_is_cut_off() {
    let origin = Origin::answering(|_| ok(&"x".repeat(1 << 20))).await;
    let gateway =
        Gateway::start(&format!("[limits]\nsend-timeout = \"1s\"\n{}", to_http1(&origin))).await;
    let mut peer = hoard(&gateway, 2).await;
    soon("the end", peer.end()).await;
    until("the requests to end", || async {
        (gateway.metric("gateway_requests_in_flight").await == 0.0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn draining_says_goaway_and_finishes_what_is_under_way() {
    let go_on = Arc::new(Notify::new());
    let waited = Arc::clone(&go_on);
    let origin = H2Origin::answering(move |_| {
        let waited = Arc::clone(&waited);
        async move {
            waited.notified().await;
            Response::new(Fed::with_trailers("finished", &[("x-end", "yes")]))
        }
    })
    .await;
    let mut gateway = Gateway::start(&to_http2(&origin)).await;
    let mut client = H2Client::connect(gateway.address()).await;
    let mut of_task = client.clone();
    let under_way = tokio::spawn(async move { of_task.get("/").await });
    until("the request to arrive", || async { (!origin.seen().is_empty()).then_some(()) }).await;
    let mut idle = Peer::connect(gateway.address()).await;
    gateway.signal("TERM").await;
    let goaway = idle.until(|frame| frame.kind == GOAWAY).await;
    assert_eq!(goaway.code(), 0);
    idle.end().await;
    go_on.notify_one();
    let answer = soon("the answer", under_way).await.unwrap();
    assert_eq!((answer.text().as_str(), answer.trailer("x-end")), ("finished", Some("yes")));
    client.closed().await;
    assert_eq!(gateway.ended().await, Some(0));
}

#[tokio::test]
async fn after_its_requests_a_connection_is_told_to_go() {
    let origin = Origin::start().await;
    let gateway =
        Gateway::start(&format!("[limits]\nrequests-per-connection = 2\n{}", to_http1(&origin)))
            .await;
    let mut peer = Peer::connect(gateway.address()).await;
    peer.send(&headers(1, &a_request("GET"))).await;
    peer.until(|frame| frame.ends_stream() && frame.stream == 1).await;
    peer.send(&headers(3, &a_request("GET"))).await;
    let mut frames = peer.rest().await.into_iter();
    assert!(frames.any(|frame| frame.kind == GOAWAY && frame.code() == 0));
    assert_eq!(origin.seen().len(), 2, "and both were answered");
}

#[tokio::test]
async fn an_idle_connection_is_told_to_go() {
    let origin = Origin::start().await;
    let gateway =
        Gateway::start(&format!("[limits]\nkeep-alive = \"1s\"\n{}", to_http1(&origin))).await;
    let mut peer = Peer::connect(gateway.address()).await;
    let goaway = peer.until(|frame| frame.kind == GOAWAY).await;
    assert_eq!(goaway.code(), 0);
    peer.end().await;
}

/// A server whose answers never end, and that counts those that were given up.
async fn endless(given_up: Arc<AtomicUsize>) -> H2Origin {
    H2Origin::answering(move |_| {
        let given_up = Arc::clone(&given_up);
        async move {
            let (sender, body) = Fed::channel();
            tokio::spawn(async move {
                while sender.send(BodyFrame::data("x".into())).await.is_ok() {
                    tokio::task::yield_now().await;
                }
                given_up.fetch_add(1, Ordering::SeqCst);
            });
            Response::new(body)
        }
    })
    .await
}

#[tokio::test]
async fn a_client_that_goes_away_ends_the_call_to_the_server() {
    let given_up = Arc::new(AtomicUsize::new(0));
    let origin = endless(Arc::clone(&given_up)).await;
    let gateway = Gateway::start(&to_http2(&origin)).await;
    let ended = |count| {
        let given_up = &given_up;
        async move {
            until("the call to end", || async {
                (given_up.load(Ordering::SeqCst) == count).then_some(())
            })
            .await;
        }
    };
    // By a reset of one stream,
    let mut client = H2Client::connect(gateway.address()).await;
    let response = client.start(get("/")).await.unwrap();
    drop(response);
    ended(1).await;
    // by the end of the connection,
    let mut peer = Peer::connect(gateway.address()).await;
    peer.send(&headers(1, &a_request("GET"))).await;
    peer.until(|frame| frame.kind == DATA).await;
    drop(peer);
    ended(2).await;
    // and while nothing has been answered yet.
    assert_eq!(gateway.metric("gateway_requests_in_flight").await, 0.0);
}

#[tokio::test]
async fn a_client_that_goes_away_before_the_answer_ends_the_call_to_an_http1_server() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let gateway = Gateway::start(&upstream(&listener.local_addr().unwrap().to_string(), "")).await;
    let mut peer = Peer::connect(gateway.address()).await;
    peer.send(&headers(1, &a_request("GET"))).await;
    let (mut server, _) = soon("the call", listener.accept()).await.unwrap();
    let mut head = vec![0; 4096];
    let read = soon("the head", server.read(&mut head)).await.unwrap();
    assert!(head[..read].starts_with(b"GET / HTTP/1.1\r\n"));
    peer.send(&reset(1, CANCEL)).await;
    let end = soon("the end", server.read(&mut head)).await;
    assert!(matches!(end, Ok(0) | Err(_)), "{end:?}");
}

#[tokio::test]
async fn a_slow_stream_does_not_hold_up_the_others_of_its_connection() {
    let go_on = Arc::new(Notify::new());
    let waited = Arc::clone(&go_on);
    let origin = H2Origin::answering(move |request| {
        let waited = Arc::clone(&waited);
        async move {
            if request.uri().path() == "/slow" {
                waited.notified().await;
            }
            Response::new(Fed::whole("answered"))
        }
    })
    .await;
    let gateway = one_worker(&to_http2(&origin)).await;
    let mut client = H2Client::connect(gateway.address()).await;
    let mut of_task = client.clone();
    let slow = tokio::spawn(async move { of_task.get("/slow").await });
    until("the slow request", || async { (!origin.seen().is_empty()).then_some(()) }).await;
    for _ in 0..20 {
        assert_eq!(client.get("/fast").await.text(), "answered");
    }
    assert!(!slow.is_finished());
    go_on.notify_one();
    assert_eq!(soon("the slow answer", slow).await.unwrap().text(), "answered");
}

#[tokio::test]
async fn the_time_for_a_response_begins_with_the_end_of_the_request() {
    let http1 = Origin::answering(|seen| ok(&seen.body.len().to_string())).await;
    let http2 = H2Origin::answering(|request| async move {
        let body = request.into_body().collect().await.unwrap().to_bytes();
        Response::new(Fed::whole(body.len().to_string()))
    })
    .await;
    let uploads = [to_http1(&http1), to_http2(&http2)].map(|config| async move {
        let config = config.replacen("servers", "timeout = { response = \"1s\" }\nservers", 1);
        let gateway = Gateway::start(&config).await;
        let (sender, body) = Fed::channel();
        let mut client = H2Client::connect(gateway.address()).await;
        let answer = tokio::spawn(async move { client.send(post("/", body)).await });
        for _ in 0..6 {
            sender.send(BodyFrame::data("piece".into())).await.unwrap();
            // The passing of time is what is tested here.
            tokio::time::sleep(std::time::Duration::from_millis(300)).await;
        }
        drop(sender);
        assert_eq!(soon("the answer", answer).await.unwrap().text(), "30");
    });
    let [http1, http2] = uploads;
    tokio::join!(http1, http2);
}

#[tokio::test]
async fn a_body_that_is_too_long_for_its_route_is_told_as_such() {
    let http1 = Origin::start().await;
    let http2 = H2Origin::answering(|request| async move {
        drop(request.into_body().collect().await);
        Response::new(Fed::empty())
    })
    .await;
    for config in [to_http1(&http1), to_http2(&http2)] {
        let gateway = Gateway::start(&config.replace("\"none\"", "\"8B\"")).await;
        let mut peer = Peer::connect(gateway.address()).await;
        // Its length is not told beforehand.
        peer.send(&[open(1, &a_request("POST")), data(1, 0, b"too long")].concat()).await;
        peer.send(&data(1, 0, b"!")).await;
        assert_eq!(answered(&mut peer).await, 413);
    }
}

/// What such a server has counted.
struct Reluctant {
    address: std::net::SocketAddr,
    connections: Arc<AtomicUsize>,
    /// Requests that are never answered.
    waiting: Arc<AtomicUsize>,
}

/// A server that allows `streams` at once on a connection, and says GOAWAY with each answer if `farewell`.
async fn reluctant(streams: u32, farewell: bool) -> Reluctant {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let connections = Arc::new(AtomicUsize::new(0));
    let waiting = Arc::new(AtomicUsize::new(0));
    let (counted, of_task) = (Arc::clone(&connections), Arc::clone(&waiting));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            counted.fetch_add(1, Ordering::SeqCst);
            tokio::spawn(serve_reluctantly(stream, streams, farewell, Arc::clone(&of_task)));
        }
    });
    Reluctant { address, connections, waiting }
}

async fn serve_reluctantly(
    stream: tokio::net::TcpStream,
    streams: u32,
    farewell: bool,
    waiting: Arc<AtomicUsize>,
) {
    let served = Arc::new(Notify::new());
    let serving = Arc::clone(&served);
    let service = service_fn(move |request: Request<hyper::body::Incoming>| {
        let (serving, waiting) = (Arc::clone(&serving), Arc::clone(&waiting));
        async move {
            if request.uri().path() == "/never" {
                waiting.fetch_add(1, Ordering::SeqCst);
                std::future::pending::<()>().await;
            }
            serving.notify_one();
            Ok::<_, std::convert::Infallible>(Response::new(Fed::whole("answered")))
        }
    });
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder.max_concurrent_streams(streams);
    let mut connection = std::pin::pin!(builder.serve_connection(TokioIo::new(stream), service));
    loop {
        tokio::select! {
            _ = connection.as_mut() => return,
            () = served.notified(), if farewell => connection.as_mut().graceful_shutdown(),
        }
    }
}

#[tokio::test]
async fn a_server_that_says_goaway_costs_no_request() {
    let server = reluctant(100, true).await;
    let gateway =
        one_worker(&upstream(&server.address.to_string(), "protocol = \"http2\"\n")).await;
    let client = H2Client::connect(gateway.address()).await;
    let mut asking = Vec::new();
    for _ in 0..10 {
        let mut client = client.clone();
        asking.push(tokio::spawn(async move {
            for _ in 0..20 {
                // A POST, which is sent again only if nobody has seen it.
                let answer = client.send(post("/", Fed::empty())).await;
                assert_eq!((answer.status, answer.text().as_str()), (200, "answered"));
            }
        }));
    }
    for asked in asking {
        soon("the answers", asked).await.unwrap();
    }
    assert!(server.connections.load(Ordering::SeqCst) > 1);
}

#[tokio::test]
async fn a_server_that_allows_few_streams_gets_more_connections() {
    let server = reluctant(2, false).await;
    let gateway =
        one_worker(&upstream(&server.address.to_string(), "protocol = \"http2\"\n")).await;
    let mut client = H2Client::connect(gateway.address()).await;
    client.get("/").await;
    let waiting: Vec<_> = (0..4)
        .map(|_| {
            let mut client = client.clone();
            tokio::spawn(async move { client.start(get("/never")).await })
        })
        .collect();
    until("the waiting calls", || async {
        (server.waiting.load(Ordering::SeqCst) == 4).then_some(())
    })
    .await;
    assert_eq!(client.get("/").await.text(), "answered", "and nobody waits for those that wait");
    assert_eq!(server.connections.load(Ordering::SeqCst), 3);
    waiting.iter().for_each(tokio::task::JoinHandle::abort);
}

#[tokio::test]
async fn a_server_that_breaks_off_is_told_as_a_reset() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let gateway = Gateway::start(&upstream(&listener.local_addr().unwrap().to_string(), "")).await;
    let mut peer = Peer::connect(gateway.address()).await;
    peer.send(&headers(1, &a_request("GET"))).await;
    let (mut server, _) = soon("the call", listener.accept()).await.unwrap();
    let mut head = vec![0; 4096];
    soon("the head", server.read(&mut head)).await.unwrap();
    server.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this").await.unwrap();
    peer.until(|frame| frame.kind == DATA).await;
    drop(server);
    let end = peer.until(|frame| frame.kind == RST_STREAM || frame.ends_stream()).await;
    assert_eq!((end.kind, end.code()), (RST_STREAM, INTERNAL_ERROR));
    peer.ping().await;
}

#[tokio::test]
async fn fields_of_a_hop_stay_on_their_hop() {
    let origin = Origin::answering(|_| {
        b"HTTP/1.1 200 OK\r\nConnection: keep-alive, x-hop\r\nKeep-Alive: timeout=5\r\nX-Hop: 1\r\nX-End: 2\r\nContent-Length: 2\r\n\r\nok".to_vec()
    })
    .await;
    let gateway = Gateway::start(&to_http1(&origin)).await;
    let answer = H2Client::connect(gateway.address()).await.get("/").await;
    assert_eq!(answer.text(), "ok");
    for gone in ["connection", "keep-alive"] {
        assert_eq!(answer.header(gone), None, "{gone}");
    }
    assert_eq!(answer.header("x-end"), Some("2"));
}

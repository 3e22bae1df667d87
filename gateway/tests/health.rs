//! Health checks: who is asked, how, and what becomes of servers whose answers are bad (issue 5).

#![allow(clippy::unwrap_used, clippy::panic, clippy::excessive_nesting, reason = "tests")]

mod rig;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::Response;
use rig::gateway::{ADMIN, LISTENER};
use rig::h2_ends::{Fed, H2Origin};
use rig::origin::ok;
use rig::tls_ends::{After, Authority, TlsOrigin};
use rig::{ByHand, Gateway, Origin, Seen, until};

const ROUTE: &str = "[[routes]]\nname = \"all\"\npath = \"/{*rest}\"\nupstream = \"origin\"\n";
/// So that nothing but health checks takes a server out, or hides that it fails.
const ALONE: &str = "ejection = { at-most = 0 }\nretry = { attempts = 1 }\nslow-start = \"0s\"\n";
const SICK: &str = "HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n";

/// A configuration with these servers, health checks and keys.
fn checked(servers: &[SocketAddr], check: &str, keys: &str) -> String {
    let keys = format!("health-check = {{ {check} }}\n{ALONE}{keys}");
    format!("{LISTENER}{ADMIN}{}{ROUTE}", rig::upstream(servers, &keys))
}

/// What a server says to its next checks: `+` well, `-` not; the last one again and again.
#[derive(Clone)]
struct Mood {
    answers: Arc<Mutex<Vec<u8>>>,
    asked: Arc<AtomicUsize>,
}

impl Mood {
    fn new(answers: &str) -> Self {
        Self { answers: Arc::new(Mutex::new(answers.into())), asked: Arc::default() }
    }

    fn set(&self, answers: &str) {
        let mut held = self.answers.lock().unwrap();
        *held = answers.into();
        self.asked.store(0, Ordering::SeqCst);
    }

    /// Answers since it was set.
    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    fn next(&self) -> bool {
        let answers = self.answers.lock().unwrap();
        let turn = self.asked.fetch_add(1, Ordering::SeqCst);
        answers[turn.min(answers.len() - 1)] == b'+'
    }

    async fn was_asked(&self, times: usize) {
        until("checks", || async { (self.asked() >= times).then_some(()) }).await;
    }

    /// A server whose `/health` is in this mood; all else it answers.
    async fn origin(&self) -> Origin {
        let own = self.clone();
        let answer = move |seen: &Seen| match seen.line().contains("/health") {
            true if !own.next() => SICK.into(),
            true | false => ok(seen.line()),
        };
        Origin::answering(answer).await
    }
}

/// Requests of clients it has seen.
fn requests(origin: &Origin) -> usize {
    origin.seen().iter().filter(|seen| !seen.line().contains("/health")).count()
}

async fn ask(gateway: &Gateway, times: usize) {
    let mut client = gateway.connect().await;
    for _ in 0..times {
        assert_eq!(client.get("/").await.status, 200);
    }
}

fn taken_out(server: SocketAddr) -> String {
    format!("upstream origin: {server} is taken out: its health checks fail: ")
}

fn is_back(server: SocketAddr) -> String {
    format!("upstream origin: {server} is back")
}

/// Often, and yet with time enough on a busy machine.
const QUICK: &str =
    "path = \"/health\", interval = \"400ms\", timeout = \"400ms\", up = 2, down = 3";

#[tokio::test]
async fn a_server_that_fails_is_out_until_it_does_well() {
    let mood = Mood::new("+");
    let (sick, other) = (mood.origin().await, Origin::start().await);
    let config = checked(&[sick.address, other.address], QUICK, "");
    let gateway = Gateway::start_as(&config.replace("\"0s\"", "\"1h\"")).await;
    mood.was_asked(1).await;
    ask(&gateway, 10).await;
    assert_eq!(requests(&sick), 5, "who was there from the beginning has no slow start");
    // Two bad answers in a row are not enough, however often.
    mood.set("--+--+");
    mood.was_asked(6).await;
    assert!(!gateway.said().contains("is taken out"), "{}", gateway.said());
    mood.set("-");
    gateway.has_said(&format!("{}status 500\n", taken_out(sick.address))).await;
    assert!((3..=6).contains(&mood.asked()), "out after three, not {}", mood.asked());
    ask(&gateway, 10).await;
    assert_eq!(requests(&sick), 5);
    mood.set("+-+-");
    mood.was_asked(4).await;
    assert!(!gateway.said().contains("is back"), "one may be luck: {}", gateway.said());
    mood.set("+");
    gateway.has_said(&is_back(sick.address)).await;
    let before = requests(&sick);
    ask(&gateway, 34).await;
    let taken = requests(&sick) - before;
    assert!((1..=4).contains(&taken), "back with a sixteenth of its share, not {taken} of 34");
    assert_eq!(gateway.said().matches("is taken out").count(), 1);
}

#[tokio::test]
async fn a_check_asks_as_it_was_told() {
    let origin = Mood::new("+").origin().await;
    let port = origin.address.port();
    // The server itself is never asked, but its other port is.
    let server = ByHand::start().await;
    let cases = [
        ("", "", format!("Host: {}", server.address)),
        ("", "host = { fixed = \"fixed.example\" }", "Host: fixed.example".to_owned()),
        (
            ", host = \"own.example\"",
            "host = { fixed = \"fixed.example\" }",
            "Host: own.example".to_owned(),
        ),
    ];
    for (check, keys, host) in cases {
        let check = format!("path = \"/health?deep=1\", port = {port}{check}");
        let seen = origin.seen().len();
        let _gateway = Gateway::start_as(&checked(&[server.address], &check, keys)).await;
        until("a check", || async { (origin.seen().len() > seen).then_some(()) }).await;
        let seen = origin.seen()[seen].head.to_lowercase();
        assert!(seen.starts_with("get /health?deep=1 http/1.1\r\n"), "{seen}");
        for field in [&*host, "User-Agent: gateway-health-check", "Connection: close"] {
            assert!(seen.contains(&format!("\r\n{}", field.to_lowercase())), "{field} in {seen}");
        }
    }
}

#[tokio::test]
async fn status_and_body_decide() {
    let long = |text: &str, before: usize| ok(&format!("{}{text}", "x".repeat(before)));
    let endless = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nwe \r\n7\r\nare wel\r\n1\r\nl\r\n";
    let cases: [(&str, Vec<u8>, Option<&str>); 9] = [
        ("status = [204, 500]", SICK.into(), None),
        ("status = [204]", ok("well"), Some("status 200")),
        ("body = \"well\"", ok("all is well here"), None),
        ("body = \"well\"", ok("all is wel"), Some("its body does not hold \"well\"")),
        ("body = \"well\"", endless.into(), None),
        ("body = \"well\"", long("well", 65_532), None),
        (
            "body = \"well\"",
            long("well", 65_533),
            Some("the first 64 KiB of its body do not hold \"well\""),
        ),
        ("body = \"well\"", SICK.into(), Some("status 500")),
        ("body = \"well\"", b"SSH-2.0-well\r\n\r\n".into(), Some("no answer: ")),
    ];
    for (check, answer, bad) in cases {
        let origin = Origin::answering(move |_| answer.clone()).await;
        let check = format!("path = \"/health\", interval = \"1s\", timeout = \"1s\", {check}");
        let gateway = Gateway::start_as(&checked(&[origin.address], &check, "")).await;
        match bad {
            Some(why) => {
                gateway.has_said(&format!("{}{why}", taken_out(origin.address))).await;
            }
            None => {
                // What the first answer changes has been said when the second is asked for.
                until("checks", || async { (origin.seen().len() > 1).then_some(()) }).await;
                assert!(!gateway.said().contains("is taken out"), "{check}: {}", gateway.said());
            }
        }
    }
}

#[tokio::test]
async fn a_check_has_its_time_and_no_other_beside_it() {
    let silent = ByHand::start().await;
    for (protocol, start) in [("http1", "HTTP/1.1 200 OK\r\n"), ("http2", "")] {
        let check = "path = \"/health\", interval = \"100ms\", timeout = \"100ms\"";
        let keys = format!("protocol = \"{protocol}\"\n");
        let gateway = Gateway::start_as(&checked(&[silent.address], check, &keys)).await;
        for _ in 0..3 {
            let mut asked = silent.accept().await;
            // A head that has begun changes nothing. What comes unasked would be an answer of its own kind.
            if !start.is_empty() {
                asked.head().await;
                asked.send(start).await;
            }
            let another = tokio::select! {
                biased;
                _ = asked.rest() => false,
                _ = silent.accept() => true,
            };
            assert!(!another, "asked twice at once over {protocol}");
        }
        let words = format!("{}no answer within 100ms", taken_out(silent.address));
        gateway.has_said(&words).await;
        drop(gateway);
    }
}

#[tokio::test]
async fn a_body_that_does_not_end_is_in_the_same_time() {
    let origin = ByHand::start().await;
    let check = "path = \"/health\", interval = \"100ms\", timeout = \"100ms\", body = \"well\"";
    let gateway = Gateway::start_as(&checked(&[origin.address], check, "")).await;
    let mut asked = origin.accept().await;
    asked.head().await;
    asked.send("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nwe are").await;
    asked.rest().await;
    gateway.has_said(&format!("{}no answer within 100ms", taken_out(origin.address))).await;
}

#[tokio::test]
async fn over_tcp_a_connection_is_enough() {
    let open = ByHand::start().await;
    // Nobody listens there.
    let closed = ByHand::start().await.address;
    let check = "tcp = true, interval = \"400ms\", timeout = \"400ms\"";
    let gateway = Gateway::start_as(&checked(&[open.address, closed], check, "")).await;
    gateway.has_said(&format!("{}connect: ", taken_out(closed))).await;
    for _ in 0..2 {
        assert!(open.accept().await.is_closed().await, "nothing is sent");
    }
    assert!(!gateway.said().contains(&taken_out(open.address)));
    let address = open.address;
    drop(open);
    gateway.has_said(&format!("{}connect: ", taken_out(address))).await;
}

/// A frame of gRPC with a `HealthCheckResponse` of this status.
fn serving(status: u8) -> Bytes {
    Bytes::copy_from_slice(&[0, 0, 0, 0, 2, 8, status])
}

/// A response whose trailers are this `grpc-status`.
fn grpc(body: Bytes, code: &str) -> Response<Fed> {
    let body = Fed::with_trailers(body, &[("grpc-status", code)]);
    Response::builder().header("content-type", "application/grpc").body(body).unwrap()
}

/// A response of one head.
fn head(status: u16, kind: &str, code: &str) -> Response<Fed> {
    let head = Response::builder().status(status).header("content-type", kind);
    head.header("grpc-status", code).body(Fed::empty()).unwrap()
}

/// A message without trailers.
fn unfinished() -> Response<Fed> {
    grpc(serving(1), "0").map(|_| Fed::whole(serving(1)))
}

type Answering = fn() -> Response<Fed>;

async fn grpc_origin(answer: Answering) -> H2Origin {
    H2Origin::answering(move |_| async move { answer() }).await
}

#[tokio::test]
async fn over_grpc_only_serving_is_well() {
    let cases: [(&str, Answering); 11] = [
        ("NOT_SERVING", || grpc(serving(2), "0")),
        ("SERVICE_UNKNOWN", || grpc(serving(3), "0")),
        ("its status is unknown", || grpc(serving(0), "0")),
        ("grpc-status 5, the service is unknown", || head(200, "application/grpc", "5")),
        ("grpc-status 12", || head(200, "application/grpc", "12")),
        ("grpc-status 13", || grpc(serving(1), "13")),
        ("its answer has no grpc-status", unfinished),
        ("its message is no HealthCheckResponse", || grpc(Bytes::from_static(b"well"), "0")),
        ("status 404 instead of gRPC's 200", || head(404, "application/grpc", "0")),
        ("what answers is no gRPC", || head(200, "text/html", "0")),
        ("its answer is longer than 64 KiB", || grpc(Bytes::from(vec![0; 70_000]), "0")),
    ];
    let well = grpc_origin(|| grpc(serving(1), "0")).await;
    let mut bad = Vec::new();
    let mut servers = vec![well.address];
    for (why, answer) in cases {
        let origin = grpc_origin(answer).await;
        servers.push(origin.address);
        bad.push((origin, why));
    }
    let check = "grpc = \"portal.Users\", interval = \"2s\", timeout = \"2s\"";
    let keys = "protocol = \"http2\"\nhost = { fixed = \"users.example\" }\n";
    let gateway = Gateway::start_as(&checked(&servers, check, keys)).await;
    for (origin, why) in &bad {
        gateway.has_said(&format!("{}{why}\n", taken_out(origin.address))).await;
    }
    until("a second check", || async { (well.seen().len() > 1).then_some(()) }).await;
    assert!(!gateway.said().contains(&taken_out(well.address)), "{}", gateway.said());
    let asked = &well.seen()[0];
    assert_eq!(asked.method, "POST");
    assert_eq!(asked.uri, "http://users.example/grpc.health.v1.Health/Check");
    assert_eq!(asked.headers["content-type"], "application/grpc");
    assert_eq!(asked.headers["te"], "trailers");
    assert_eq!(asked.headers["grpc-timeout"], "2000000u");
}

#[tokio::test]
async fn when_all_are_down_they_are_used_all_the_same() {
    let moods = [Mood::new("-"), Mood::new("-")];
    let origins = [moods[0].origin().await, moods[1].origin().await];
    let servers = origins.each_ref().map(|origin| origin.address);
    let gateway = Gateway::start_as(&checked(&servers, QUICK, "")).await;
    for server in servers {
        gateway.has_said(&taken_out(server)).await;
    }
    ask(&gateway, 10).await;
    assert_eq!(origins.each_ref().map(requests), [5, 5]);
    moods[0].set("+");
    gateway.has_said(&is_back(servers[0])).await;
    ask(&gateway, 10).await;
    assert_eq!(origins.each_ref().map(requests), [15, 5], "now one is well");
}

async fn reload(gateway: &Gateway, config: &str) {
    gateway.write_config(config);
    let reply = gateway.admin_post("/api/v1/config/reload", "").await;
    assert_eq!(reply.status, 200, "{}", reply.text());
}

#[tokio::test]
async fn a_reload_keeps_what_is_known_as_long_as_it_is_asked() {
    let moods = [Mood::new("-"), Mood::new("+")];
    let origins = [moods[0].origin().await, moods[1].origin().await];
    let servers = origins.each_ref().map(|origin| origin.address);
    let rarely = "path = \"/health\", interval = \"1h\"";
    let gateway = Gateway::start_as(&checked(&servers, rarely, "")).await;
    gateway.has_said(&taken_out(servers[0])).await;
    moods[1].was_asked(1).await;
    // Another key of the upstream: nobody is asked again.
    moods[0].set("+");
    reload(&gateway, &checked(&servers, rarely, "timeout = { idle = \"7s\" }")).await;
    ask(&gateway, 10).await;
    assert_eq!(origins.each_ref().map(requests), [0, 10]);
    assert_eq!(moods.each_ref().map(Mood::asked), [0, 1]);
    // Another question is soon put, and what was known counts until enough answers speak against it.
    moods[0].set("-");
    reload(&gateway, &checked(&servers, QUICK, "")).await;
    moods[0].was_asked(4).await;
    ask(&gateway, 10).await;
    assert_eq!(origins.each_ref().map(requests), [0, 20]);
    assert_eq!(gateway.said().matches("is taken out").count(), 1, "{}", gateway.said());
    // Nobody asks any more: nothing is known.
    reload(&gateway, &checked(&servers, QUICK, "").replace("health-check", "# ")).await;
    until("both to be used", || async {
        ask(&gateway, 2).await;
        (requests(&origins[0]) > 0).then_some(())
    })
    .await;
    // Asked again, the first answer decides.
    reload(&gateway, &checked(&servers, rarely, "")).await;
    until("the second line", || async {
        (gateway.said().matches(&taken_out(servers[0])).count() == 2).then_some(())
    })
    .await;
}

#[tokio::test]
async fn who_is_no_longer_there_is_not_asked() {
    let moods = [Mood::new("+"), Mood::new("+")];
    let origins = [moods[0].origin().await, moods[1].origin().await];
    let servers = origins.each_ref().map(|origin| origin.address);
    let gateway = Gateway::start_as(&checked(&servers, QUICK, "")).await;
    moods[0].was_asked(2).await;
    reload(&gateway, &checked(&servers[1..], QUICK, "")).await;
    let rounds = moods[1].asked();
    moods[1].was_asked(rounds + 2).await;
    let asked = moods[0].asked();
    moods[1].was_asked(rounds + 5).await;
    assert_eq!(moods[0].asked(), asked);
}

#[tokio::test]
async fn a_check_that_waits_ends_with_the_question() {
    let origin = ByHand::start().await;
    let patient = "path = \"/health\", interval = \"1h\", timeout = \"1h\"";
    let config = checked(&[origin.address], patient, "");
    let gateway = Gateway::start_as(&config).await;
    let mut asked = origin.accept().await;
    asked.head().await;
    // Another question takes its place, and none ends that one, too.
    reload(&gateway, &config.replace("/health", "/well")).await;
    assert!(asked.is_closed().await);
    let mut asked = origin.accept().await;
    assert!(asked.head().await.starts_with("GET /well "));
    reload(&gateway, &config.replace("health-check", "# ")).await;
    assert!(asked.is_closed().await);
    assert!(!gateway.said().contains("is taken out"), "{}", gateway.said());
}

#[tokio::test]
async fn checks_speak_the_upstreams_tls() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let certificate = authority.sign("server", &["localhost", "127.0.0.1"]);
    let tls = |trusted: &Authority| format!("tls = {{ ca = \"{}\" }}\n", trusted.file().display());
    let well = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nwell";
    let http1 = TlsOrigin::start(certificate.acceptor(&["http/1.1"]), well, After::Close).await;
    let well = |_| async { Response::new(Fed::whole("well")) };
    let http2 = H2Origin::over_tls(certificate.acceptor(&["h2"]), well).await;
    let path = "path = \"/health\", body = \"well\", interval = \"400ms\", timeout = \"400ms\"";
    let tcp = "tcp = true, interval = \"400ms\", timeout = \"400ms\"";
    let protocol = "protocol = \"http2\"\n";
    for (server, check, keys) in
        [(http1.address, path, ""), (http2.address, path, protocol), (http1.address, tcp, "")]
    {
        let trusting = checked(&[server], check, &format!("{keys}{}", tls(&authority)));
        let doubting = checked(&[server], check, &format!("{keys}{}", tls(&stranger)));
        let gateway = Gateway::start_as(&doubting).await;
        gateway.has_said(&format!("{}TLS handshake: ", taken_out(server))).await;
        reload(&gateway, &trusting).await;
        gateway.has_said(&is_back(server)).await;
    }
    let asked = &http2.seen()[0];
    assert_eq!(asked.uri.to_string(), format!("https://{}/health", http2.address));
}

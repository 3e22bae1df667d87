//! Runs over sockets: against the scripted origin, and against servers made for one test.

mod liar;
mod read;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::{SinkExt as _, StreamExt as _};
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rustls::ServerConfig;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_tungstenite::tungstenite::Message;

use super::outcome::Outcome;
use super::scenario::{self, Instead, Scenario};
use super::{once, resolve};
use crate::origin;

fn scenario(text: &str) -> Scenario {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("test.toml");
    std::fs::write(&file, text).expect("written");
    scenario::read(&file, &Instead::default()).unwrap_or_else(|error| panic!("{error}: {text}"))
}

async fn run(text: &str) -> (Scenario, Outcome) {
    let scenario = scenario(text);
    let target = resolve(&scenario).await.expect("an address");
    let outcome = once(&scenario, target).await.expect("runs");
    (scenario, outcome)
}

async fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    (listener, address)
}

#[tokio::test(flavor = "local")]
async fn a_stall_of_one_second_shows_in_the_tail() {
    let origin = origin::start().await.expect("a free port");
    // One stall within the three seconds: a third of all requests were due while nothing was answered.
    let text = format!(
        "url = 'http://{origin}'\nrate = 500\nconnections = 8\nseconds = 3\n\
         [[requests]]\npath = '/bytes/10?delay=stall:3000:1000'"
    );
    let (scenario, outcome) = run(&text).await;
    let figures = outcome.document(&scenario);
    assert_eq!(figures["requests"], 1_500, "{figures}");
    assert_eq!(figures["failed"], 0);
    let at = |name: &str| figures["latency_ms"][name].as_f64().expect("a figure");
    assert!((900.0..1_300.0).contains(&at("p99_9")), "{figures}");
    // Those due in the middle of the stall waited for half of it: a closed loop would have eight slow requests.
    assert!((200.0..800.0).contains(&at("p90")), "{figures}");
    assert!(at("p50") < 100.0, "{figures}");
}

#[tokio::test(flavor = "local")]
async fn an_open_loop_sends_just_what_is_due_on_all_threads() {
    let origin = origin::start().await.expect("a free port");
    let text = format!(
        "url = 'http://{origin}'\nrate = 700\nconnections = 6\nthreads = 3\nseconds = 1\nwarm-up-seconds = 0.5\n\
         ledger = '{origin}'\n[[requests]]\npath = '/echo/{{{{count}}}}'"
    );
    let (scenario, outcome) = run(&text).await;
    let document = outcome.document(&scenario);
    let balance = outcome.balance.expect("a ledger");
    assert_eq!((balance.sent, balance.answered, balance.arrived), (1_050, 1_050, 1_050));
    assert_eq!(document["requests"], 700, "the warm-up is not counted");
    assert_eq!(document["connections_opened"], 6);
}

#[tokio::test(flavor = "local")]
async fn an_origin_changes_while_the_run_goes_on_and_windows_tell_before_from_after() {
    let (origin, control) = origin::start_controlled().await.expect("free ports");
    let text = format!(
        "url = 'http://{origin}'\nrate = 200\nconnections = 8\nseconds = 1\nwarm-up-seconds = 0.2\n\
         windows = [[0, 0.4], [0.6, 1]]\nledger = '{control}'\n[[requests]]\npath = '/x'\n\
         [[changes]]\nseconds = 0.5\ncontrol = '{control}'\nbehaviour = 'delay=100&errors=1:503'"
    );
    let (scenario, outcome) = run(&text).await;
    let document = outcome.document(&scenario);
    let [before, after] = [&document["windows"][0], &document["windows"][1]];
    assert_eq!((&before["requests"], &before["failed"]), (&80.into(), &0.into()), "{document}");
    assert_eq!((&after["requests"], &after["failed"]), (&80.into(), &80.into()), "{document}");
    let p99 = |window: &serde_json::Value| window["latency_ms"]["p99"].as_f64().expect("a figure");
    assert!(p99(before) < 99.0 && p99(after) >= 99.0, "{document}");
    assert_eq!(outcome.balance.expect("a ledger").arrived, 240, "the control tells the ledger");
}

#[tokio::test(flavor = "local")]
async fn a_change_that_cannot_be_made_ends_the_run() {
    let (origin, control) = origin::start_controlled().await.expect("free ports");
    let scenario = scenario(&format!(
        "url = 'http://{origin}'\nrate = 50\nseconds = 0.2\nconnections = 2\n[[requests]]\npath = '/x'\n\
         [[changes]]\nseconds = 0.1\ncontrol = '{control}'\nbehaviour = 'hung'"
    ));
    let target = resolve(&scenario).await.expect("an address");
    assert!(once(&scenario, target).await.is_err());
}

#[tokio::test(flavor = "local")]
async fn a_closed_loop_chooses_by_weight_and_checks_each_answer() {
    let origin = origin::start().await.expect("a free port");
    let text = format!(
        r#"
        url = "http://{origin}"
        connections = 4
        seconds = 0.5
        [[requests]]
        name = "often"
        weight = 9
        path = "/echo/{{{{pick a,b}}}}"
        expect = {{ status = [200], body-contains = "echo", json = {{ "/method" = "GET" }} }}
        [[requests]]
        name = "wrong"
        weight = 1
        path = "/echo/x"
        expect = {{ json = {{ "/method" = "POST" }} }}
        [[requests]]
        name = "never"
        weight = 0
        path = "/echo/x"
        "#
    );
    let (scenario, outcome) = run(&text).await;
    let document = outcome.document(&scenario);
    let of = |name: &str, figure: &str| document["by_request"][name][figure].as_f64().unwrap();
    let all = document["requests"].as_f64().unwrap();
    assert!(all > 100.0, "{document}");
    assert!((of("often", "requests") / all - 0.9).abs() < 0.1, "{document}");
    assert_eq!(of("often", "failed"), 0.0);
    assert_eq!(of("wrong", "failed"), of("wrong", "requests"));
    assert_eq!(of("never", "requests"), 0.0);
    assert_eq!(document["errors"]["body not as expected"].as_f64(), Some(of("wrong", "failed")));
}

/// A server whose answers depend on cookie and token.
async fn portal() -> SocketAddr {
    let (listener, address) = listener().await;
    tokio::task::spawn_local(async move {
        loop {
            let (stream, _) = listener.accept().await.expect("accepts");
            let served = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service_fn(portal_answer));
            tokio::task::spawn_local(async move { served.await.ok() });
        }
    });
    address
}

async fn portal_answer(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.expect("read").to_bytes();
    let field = |name: &str| head.headers.get(name).and_then(|value| value.to_str().ok());
    let user = field("cookie").and_then(|cookie| cookie.strip_prefix("session="));
    Ok(match head.uri.path() {
        "/login" => {
            let user = String::from_utf8_lossy(&body).into_owned();
            Response::builder()
                .header("set-cookie", format!("session={user}; Path=/; HttpOnly"))
                .body(Full::from(format!(r#"{{"tokens":{{"access":"token-{user}"}}}}"#)))
                .expect("valid")
        }
        path if user.is_some_and(|user| {
            path == format!("/of/{user}")
                && field("authorization") == Some(&format!("Bearer token-{user}"))
        }) =>
        {
            Response::new(Full::from("welcome"))
        }
        _ => {
            let mut refused = Response::new(Full::default());
            *refused.status_mut() = StatusCode::FORBIDDEN;
            refused
        }
    })
}

#[tokio::test(flavor = "local")]
async fn users_log_in_once_and_keep_cookie_and_token() {
    let portal = portal().await;
    let text = |login: &str| {
        format!(
            r#"
            url = "http://{portal}"
            connections = 5
            seconds = 0.3
            think-time-ms = [1, 3]
            [[login]]
            method = "POST"
            path = "{login}"
            body = "{{{{user}}}}"
            save = {{ token = "/tokens/access" }}
            [[requests]]
            path = "/of/{{{{user}}}}"
            headers = {{ authorization = "Bearer {{{{token}}}}" }}
            expect = {{ body-contains = "welcome" }}
            "#
        )
    };
    let (_, outcome) = run(&text("/login")).await;
    assert!(outcome.tally.requests() > 50, "{}", outcome.tally.requests());
    assert_eq!(outcome.tally.failed(), 0, "{:?}", outcome.tally.troubles);
    let (scenario, outcome) = run(&text("/nowhere")).await;
    let errors = &outcome.document(&scenario)["errors"];
    assert_eq!(errors["login failed"].as_u64(), Some(outcome.tally.requests()), "{errors}");
}

/// TLS before the origin.
async fn tls_origin(folder: &Path, alpn: &'static str) -> SocketAddr {
    let origin = origin::start().await.expect("a free port");
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("made");
    std::fs::write(folder.join("ca.pem"), made.cert.pem()).expect("written");
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).expect("a key");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![CertificateDer::from(made.cert)], key)
        .expect("fits");
    config.alpn_protocols = vec![alpn.as_bytes().to_vec()];
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let (listener, address) = listener().await;
    tokio::task::spawn_local(async move {
        loop {
            let (stream, _) = listener.accept().await.expect("accepts");
            tokio::task::spawn_local(decrypted(stream, acceptor.clone(), origin));
        }
    });
    address
}

async fn decrypted(stream: TcpStream, acceptor: TlsAcceptor, origin: SocketAddr) {
    let Ok(mut stream) = acceptor.accept(stream).await else { return };
    let mut server = TcpStream::connect(origin).await.expect("open");
    copy_bidirectional(&mut stream, &mut server).await.ok();
}

#[tokio::test(flavor = "local")]
async fn tls_is_resumed_or_not_as_asked_and_refuses_strangers() {
    let folder = tempfile::tempdir().expect("a folder");
    let origin = tls_origin(folder.path(), "http/1.1").await;
    let text = |resumption: bool, name: &str| {
        format!(
            "url = 'https://{origin}'\nconnections = 16\nseconds = 0.5\nnew-connections = true\naddresses = 3\n\
             tls = {{ ca = '{}', server-name = '{name}', resumption = {resumption} }}\n\
             [[requests]]\npath = '/echo/x'",
            folder.path().join("ca.pem").display()
        )
    };
    let (_, full) = run(&text(false, "localhost")).await;
    assert_eq!(full.tally.failed(), 0, "{:?}", full.tally.troubles);
    assert_eq!((full.handshakes_full, full.handshakes_resumed), (full.opened, 0));
    let (_, resumed) = run(&text(true, "localhost")).await;
    assert_eq!(resumed.tally.failed(), 0, "{:?}", resumed.tally.troubles);
    // Each of them has to connect once to get a ticket.
    assert!(resumed.handshakes_full <= 32, "{} of {}", resumed.handshakes_full, resumed.opened);
    assert!(
        resumed.handshakes_resumed > 32,
        "{} of {}",
        resumed.handshakes_resumed,
        resumed.opened
    );
    let (_, stranger) = run(&text(true, "example.org")).await;
    assert_eq!(stranger.tally.answered, 0);
    assert!(stranger.tally.failed() > 0);
}

#[tokio::test(flavor = "local")]
async fn http2_carries_streams_over_tls_and_without() {
    let folder = tempfile::tempdir().expect("a folder");
    let encrypted = format!("https://{}", tls_origin(folder.path(), "h2").await);
    let plain = format!("http://{}", origin::start().await.expect("a free port"));
    for url in [encrypted, plain] {
        let text = format!(
            "url = '{url}'\nprotocol = 'http/2'\nconnections = 2\nstreams = 8\nseconds = 0.4\n\
             [[requests]]\npath = '/bytes/70000'\n[[requests]]\nmethod = 'POST'\npath = '/sink'\n\
             body-bytes = 100000\nexpect = {{ json = {{ '/bytes' = 100000, '/intact' = true }} }}\n\
             [[requests]]\nmethod = 'POST'\npath = '/loadtest.Echo/Unary'\ngrpc = true\nbody = 'hello'\n\
             expect = {{ body-contains = 'hello' }}"
        );
        let (scenario, outcome) = run(&text).await;
        let document = outcome.document(&scenario);
        assert_eq!(document["failed"], 0, "{document}");
        assert_eq!(document["connections_opened"], 2, "{document}");
        assert!(document["requests"].as_u64() > Some(30), "{document}");
    }
}

#[tokio::test(flavor = "local")]
async fn a_websocket_echo_is_compared_with_what_was_sent() {
    let origin = origin::start().await.expect("a free port");
    for body in ["", "body = 'n {{count}}'", "body-bytes = 2000"] {
        let text = format!(
            "url = 'http://{origin}'\nprotocol = 'websocket'\nconnections = 3\nseconds = 0.3\n\
             [[requests]]\npath = '/websocket'\n{body}"
        );
        let (_, outcome) = run(&text).await;
        assert_eq!(outcome.tally.failed(), 0, "{body}: {:?}", outcome.tally.troubles);
        assert!(outcome.tally.answered > 50, "{body}: {}", outcome.tally.answered);
        assert_eq!(outcome.opened, 3);
    }
}

#[tokio::test(flavor = "local")]
async fn an_echo_that_differs_is_seen() {
    let (listener, address) = listener().await;
    tokio::task::spawn_local(async move {
        let (stream, _) = listener.accept().await.expect("accepts");
        let mut socket = tokio_tungstenite::accept_async(stream).await.expect("a websocket");
        while let Some(Ok(message)) = socket.next().await {
            let mut bytes = message.into_data().to_vec();
            bytes.reverse();
            socket.send(Message::Binary(bytes.into())).await.ok();
        }
    });
    let text = format!(
        "url = 'http://{address}'\nprotocol = 'websocket'\nconnections = 1\nrate = 10\nseconds = 0.1\n\
         [[requests]]\npath = '/'\nbody-bytes = 100"
    );
    let (scenario, outcome) = run(&text).await;
    let errors = outcome.document(&scenario)["errors"].clone();
    assert_eq!(errors, serde_json::json!({ "echo differs": 1 }));
}

#[tokio::test(flavor = "local")]
async fn every_trouble_has_its_name() {
    let origin = origin::start().await.expect("a free port");
    let (dead, nobody) = listener().await;
    drop(dead);
    for (url, path, expected) in [
        (format!("http://{nobody}"), "/", "connect"),
        (format!("https://{origin}"), "/", "tls"),
        (format!("http://{origin}"), "/bytes/100000?reset=5000", "truncated"),
        (format!("http://{origin}"), "/bytes/10?length=20", "truncated"),
        (format!("http://{origin}"), "/bytes/10?delay=5000", "timeout"),
        (format!("http://{origin}"), "/bytes/10?errors=1:503", "status 503"),
    ] {
        let text = format!(
            "url = '{url}'\nconnections = 2\nrate = 20\nseconds = 0.2\ntimeout-seconds = 0.3\n\
             [[requests]]\npath = '{path}'"
        );
        let (scenario, outcome) = run(&text).await;
        let errors = outcome.document(&scenario)["errors"].clone();
        assert_eq!(errors, serde_json::json!({ expected: 4 }), "{path}");
    }
}

//! gRPC through the gateway: calls of one message and of many, their status in trailers, and the gateway's own.

#![allow(clippy::unwrap_used, reason = "tests")]

mod rig;

use bytes::{BufMut, Bytes, BytesMut};
use http::{HeaderValue, Request, Response};
use http_body::Frame;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use rig::h2_ends::{Answer, Fed, H2Client, H2Origin, fields};
use rig::h2_frames::{self, HEADERS, Peer};
use rig::tls_ends::Authority;
use rig::{Gateway, soon};

/// A message as gRPC frames it: not compressed, its length, itself.
fn message(text: &str) -> Bytes {
    let mut framed = BytesMut::new();
    framed.put_u8(0);
    framed.put_u32(u32::try_from(text.len()).unwrap());
    framed.put_slice(text.as_bytes());
    framed.freeze()
}

fn call(method: &str, body: Fed) -> Request<Fed> {
    Request::post(format!("http://test.example/portal.GetUserData/{method}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(body)
        .unwrap()
}

/// A response whose body comes through the sender.
fn streaming(body: Fed) -> Response<Fed> {
    Response::builder().header("content-type", "application/grpc+proto").body(body).unwrap()
}

/// The service: `Unary` answers one message with one, `Chat` each with one, `Missing` with a status alone, `Failing`
/// with a message and a status of failure, `Never` not at all.
async fn service(request: Request<Incoming>) -> Response<Fed> {
    let method = request.uri().path().rsplit('/').next().unwrap().to_owned();
    match method.as_str() {
        "Unary" => {
            let asked = request.into_body().collect().await.unwrap().to_bytes();
            streaming(Fed::with_trailers(asked, &[("grpc-status", "0"), ("x-cost", "7")]))
        }
        "Chat" => chat(request.into_body()),
        "Missing" => {
            let mut response = streaming(Fed::empty());
            response
                .headers_mut()
                .extend(fields(&[("grpc-status", "5"), ("grpc-message", "no%20user")]));
            response
        }
        "Failing" => streaming(Fed::with_trailers(message("half"), &[("grpc-status", "13")])),
        _ => std::future::pending().await,
    }
}

fn chat(mut incoming: Incoming) -> Response<Fed> {
    let (sender, body) = Fed::channel();
    tokio::spawn(async move {
        while let Some(Ok(frame)) = incoming.frame().await {
            let Ok(data) = frame.into_data() else { continue };
            if !data.is_empty() && sender.send(Frame::data(data)).await.is_err() {
                return;
            }
        }
        drop(sender.send(Frame::trailers(fields(&[("grpc-status", "0")]))).await);
    });
    streaming(body)
}

fn config(address: impl std::fmt::Display, more: &str) -> String {
    format!(
        "[upstreams.users]\nservers = [\"{address}\"]\nprotocol = \"http2\"\n{more}\n\
         [[routes]]\npath = \"/portal.GetUserData/{{method}}\"\nupstream = \"users\"\n"
    )
}

fn status(answer: &Answer) -> (u16, Option<&str>, Option<&str>) {
    (answer.status, answer.header("grpc-status"), answer.trailer("grpc-status"))
}

#[tokio::test]
async fn a_call_of_one_message_is_answered_with_one() {
    let origin = H2Origin::answering(service).await;
    let gateway = Gateway::start(&config(origin.address, "")).await;
    let mut client = H2Client::connect(gateway.address()).await;
    let mut request = call("Unary", Fed::whole(message("seven")));
    let metadata = [("grpc-encoding", "identity"), ("x-trace-bin", "AAEC")];
    request.headers_mut().extend(fields(&metadata));
    request.headers_mut().extend(fields(&[("grpc-timeout", "5S")]));
    let answer = client.send(request).await;
    assert_eq!(status(&answer), (200, None, Some("0")));
    assert_eq!((answer.body.clone(), answer.trailer("x-cost")), (message("seven"), Some("7")));
    assert_eq!(answer.header("content-type"), Some("application/grpc+proto"));
    let seen = &origin.seen()[0].headers;
    for (name, value) in
        metadata.into_iter().chain([("te", "trailers"), ("content-type", "application/grpc")])
    {
        assert_eq!(seen.get(name), Some(&HeaderValue::from_static(value)), "{name}");
    }
    // What is left of the five seconds, in microseconds: no more than eight digits.
    let left = seen["grpc-timeout"].to_str().unwrap().strip_suffix('u').unwrap();
    assert!((4_000_000..5_000_000).contains(&left.parse().unwrap()), "{left}");
}

#[tokio::test]
async fn a_conversation_goes_message_by_message() {
    let origin = H2Origin::answering(service).await;
    let gateway = Gateway::start(&config(origin.address, "")).await;
    let mut client = H2Client::connect(gateway.address()).await;
    let (sender, body) = Fed::channel();
    let response = client.start(call("Chat", body)).await.unwrap();
    let mut heard = response.into_body();
    for index in 0..50 {
        let said = message(&format!("message {index}"));
        sender.send(Frame::data(said.clone())).await.unwrap();
        let frame = soon("the answer", heard.frame()).await.unwrap().unwrap();
        assert_eq!(frame.into_data().unwrap(), said);
    }
    drop(sender);
    let rest = soon("the end", heard.collect()).await.unwrap();
    assert_eq!(rest.trailers().unwrap()["grpc-status"], "0");
}

#[tokio::test]
async fn conversations_of_many_clients_share_a_connection() {
    let origin = H2Origin::answering(service).await;
    let admin = rig::gateway::ADMIN.replace("threads = 2", "threads = 1");
    let config = format!("{}{admin}{}", rig::gateway::LISTENER, config(origin.address, ""));
    let gateway = Gateway::start_as(&config).await;
    H2Client::connect(gateway.address()).await.send(call("Unary", Fed::empty())).await;
    let talks: Vec<_> = (0..20)
        .map(|index| {
            let address = gateway.address();
            tokio::spawn(async move {
                let said = message(&format!("client {index}"));
                let answer = H2Client::connect(address)
                    .await
                    .send(call("Chat", Fed::whole(said.clone())))
                    .await;
                assert_eq!((status(&answer), answer.body.clone()), ((200, None, Some("0")), said));
            })
        })
        .collect();
    for talk in talks {
        soon("a talk", talk).await.unwrap();
    }
    assert_eq!(origin.connections(), 1);
}

#[tokio::test]
async fn the_servers_failures_pass_as_they_are() {
    let origin = H2Origin::answering(service).await;
    let gateway = Gateway::start(&config(origin.address, "")).await;
    let mut client = H2Client::connect(gateway.address()).await;
    // A status alone comes in the head: "trailers only".
    let missing = client.send(call("Missing", Fed::whole(message("?")))).await;
    assert_eq!(status(&missing), (200, Some("5"), None));
    assert_eq!(missing.header("grpc-message"), Some("no%20user"));
    let failing = client.send(call("Failing", Fed::whole(message("?")))).await;
    assert_eq!(
        (status(&failing), failing.body.clone()),
        ((200, None, Some("13")), message("half"))
    );
}

#[tokio::test]
async fn a_status_alone_is_one_frame() {
    let origin = H2Origin::answering(service).await;
    let gateway = Gateway::start(&config(origin.address, "")).await;
    for path in ["/portal.GetUserData/Missing", "/nobody.Knows/This"] {
        let mut peer = Peer::connect(gateway.address()).await;
        let head = h2_frames::block(&[
            (":method", "POST"),
            (":scheme", "http"),
            (":path", path),
            (":authority", "test.example"),
            ("content-type", "application/grpc"),
            ("te", "trailers"),
        ]);
        peer.send(&h2_frames::headers(1, &head)).await;
        let answer = peer.until(|frame| frame.stream == 1 && frame.kind == HEADERS).await;
        assert!(answer.ends_stream(), "{path}: {answer:?}");
    }
}

#[tokio::test]
async fn the_gateways_own_failures_are_a_status_of_grpc() {
    let origin = H2Origin::answering(service).await;
    // A port that was just free: nobody listens there.
    let dead = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let more = format!(
        "timeout = {{ response = \"200ms\" }}\n\
         [upstreams.dead]\nservers = [\"{dead}\"]\nprotocol = \"http2\"\n\
         [[routes]]\npath = \"/a.Dead/Call\"\nupstream = \"dead\"\n\
         [[routes]]\npath = \"/a.Small/Call\"\nupstream = \"users\"\nbody-limit = \"1B\"\n\
         [[routes]]\npath = \"/a.Short/Never\"\nupstream = \"users\"\ntimeout = \"100ms\"\n\
         [[routes]]\npath = \"/a.Guarded/Call\"\nupstream = \"users\"\nplugins = [{{ ip = {{ allow = [\"192.0.2.1\"] }} }}]\n"
    );
    let gateway = Gateway::start(&config(origin.address, &more)).await;
    let mut client = H2Client::connect(gateway.address()).await;
    let cases = [
        ("/nobody.Knows/This", "12"),
        ("/a.Dead/Call", "14"),
        ("/portal.GetUserData/Never", "4"),
        ("/a.Short/Never", "4"),
        ("/a.Small/Call", "13"),
        ("/a.Guarded/Call", "7"),
    ];
    for (path, expected) in cases {
        let mut request = call("", Fed::whole(message("?")));
        *request.uri_mut() = format!("http://test.example{path}").parse().unwrap();
        let answer = client.send(request).await;
        assert_eq!(status(&answer), (200, Some(expected), None), "{path}: {answer:?}");
        assert_eq!(answer.header("content-type"), Some("application/grpc"), "{path}");
        assert!(answer.header("grpc-message").is_some_and(|told| !told.is_empty()), "{path}");
        assert!(answer.body.is_empty(), "{path}");
    }
    // The same for a client that does not speak gRPC is HTTP.
    assert_eq!(client.get("/nobody.Knows/This").await.status, 404);
}

#[tokio::test]
async fn a_server_that_ends_without_a_status_is_not_repaired() {
    let origin =
        H2Origin::answering(|_| async { streaming(Fed::whole(message("no status"))) }).await;
    let gateway = Gateway::start(&config(origin.address, "")).await;
    let answer = H2Client::connect(gateway.address()).await.send(call("Any", Fed::empty())).await;
    assert_eq!((status(&answer), answer.body.clone()), ((200, None, None), message("no status")));
}

#[tokio::test]
async fn grpc_goes_over_tls_on_both_sides() {
    let authority = Authority::new();
    let (site, server) =
        (authority.sign("site", &["a.example"]), authority.sign("server", &["127.0.0.1"]));
    let origin = H2Origin::over_tls(server.acceptor(&["h2"]), service).await;
    let tls = format!("tls = {{ ca = \"{}\" }}", authority.file().display());
    let gateway = Gateway::start_as(&format!(
        "[[listeners]]\naddress = \"127.0.0.1:0\"\ntls = {{ certificates = [{}] }}\n{}{}",
        site.toml(),
        rig::gateway::ADMIN,
        config(origin.address, &tls)
    ))
    .await;
    let stream = authority.connect(gateway.address(), "a.example", &["h2"]).await.unwrap();
    let answer =
        H2Client::over(stream).await.send(call("Unary", Fed::whole(message("safe")))).await;
    assert_eq!((status(&answer), answer.body.clone()), ((200, None, Some("0")), message("safe")));
    assert_eq!(origin.seen()[0].uri.scheme_str(), Some("https"));
}

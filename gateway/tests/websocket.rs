//! WebSockets, and other protocols that begin as HTTP/1.1: they pass as they are, and end as they should.

#![allow(clippy::unwrap_used, reason = "tests")]

mod rig;

use futures_util::{SinkExt, StreamExt};
use rig::h2_ends::H2Origin;
use rig::origin::ok;
use rig::tls_ends::Authority;
use rig::ws_origin::{End, WsOrigin};
use rig::{Client, Gateway, Origin, soon, until};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{CloseCode, Data, OpCode};
use tokio_tungstenite::tungstenite::{Message, handshake};
use tokio_tungstenite::{WebSocketStream, client_async};

fn config(address: impl std::fmt::Display, more: &str) -> String {
    format!(
        "[upstreams.chat]\nservers = [\"{address}\"]\n{more}\n\
         [[routes]]\npath = \"/{{*rest}}\"\nupstream = \"chat\"\n"
    )
}

async fn over<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
) -> (WebSocketStream<S>, handshake::client::Response) {
    let mut request = "ws://chat.example/room?7".into_client_request().unwrap();
    request.headers_mut().insert("sec-websocket-protocol", "chat.v2".parse().unwrap());
    soon("the handshake", client_async(request, stream)).await.unwrap()
}

async fn connect(gateway: &Gateway) -> WebSocketStream<TcpStream> {
    over(TcpStream::connect(gateway.address()).await.unwrap()).await.0
}

async fn hear<S: AsyncRead + AsyncWrite + Unpin>(socket: &mut WebSocketStream<S>) -> Message {
    soon("a message", socket.next()).await.unwrap().unwrap()
}

async fn echoes<S: AsyncRead + AsyncWrite + Unpin>(
    socket: &mut WebSocketStream<S>,
    message: Message,
) {
    socket.send(message.clone()).await.unwrap();
    assert!(hear(socket).await == message);
}

#[tokio::test]
async fn messages_of_all_kinds_pass() {
    let origin = WsOrigin::start().await;
    let gateway = Gateway::start(&config(origin.address, "")).await;
    let mut socket = connect(&gateway).await;
    echoes(&mut socket, Message::text("grüß dich")).await;
    echoes(&mut socket, Message::binary(vec![0, 255, 7])).await;
    echoes(&mut socket, Message::text("")).await;
    echoes(
        &mut socket,
        Message::binary((0..5 << 20).map(|index: u32| (index / 3) as u8).collect::<Vec<_>>()),
    )
    .await;
    socket.send(Message::Ping("are you there".into())).await.unwrap();
    assert_eq!(hear(&mut socket).await, Message::Pong("are you there".into()));
    // One message in three frames, with a ping in between.
    let data = |code, fin, text: &'static str| {
        Message::Frame(Frame::message(text, OpCode::Data(code), fin))
    };
    for frame in [
        data(Data::Text, false, "in "),
        Message::Ping("?".into()),
        data(Data::Continue, false, "three "),
        data(Data::Continue, true, "parts"),
    ] {
        socket.send(frame).await.unwrap();
    }
    assert_eq!(hear(&mut socket).await, Message::Pong("?".into()));
    assert_eq!(hear(&mut socket).await, Message::text("in three parts"));
    for index in 0..200 {
        echoes(&mut socket, Message::text(format!("message {index}"))).await;
    }
}

#[tokio::test]
async fn the_handshake_passes_with_its_fields() {
    let origin = WsOrigin::start().await;
    let gateway = Gateway::start(&config(origin.address, "")).await;
    let (_socket, response) = over(TcpStream::connect(gateway.address()).await.unwrap()).await;
    assert_eq!(response.status(), 101);
    assert_eq!(response.headers()["sec-websocket-protocol"], "chat.v2");
    let seen = &origin.heads()[0];
    for (name, value) in [
        ("host", "chat.example"),
        ("upgrade", "websocket"),
        ("connection", "upgrade"),
        ("sec-websocket-version", "13"),
        ("x-forwarded-for", "127.0.0.1"),
        ("x-forwarded-proto", "http"),
    ] {
        assert_eq!(seen[name], value, "{name}");
    }
}

#[tokio::test]
async fn the_servers_goodbye_reaches_the_client() {
    let origin = WsOrigin::start().await;
    let gateway = Gateway::start(&config(origin.address, "")).await;
    let mut socket = connect(&gateway).await;
    socket.send(Message::text("close")).await.unwrap();
    let frame = CloseFrame { code: CloseCode::Library(4001), reason: "bye".into() };
    assert_eq!(hear(&mut socket).await, Message::Close(Some(frame)));
    assert!(soon("the end", socket.next()).await.is_none());
    assert_eq!(origin.end().await, End::Closed(4001), "and the client's answer the server");
}

#[tokio::test]
async fn the_clients_goodbye_reaches_the_server() {
    let origin = WsOrigin::start().await;
    let gateway = Gateway::start(&config(origin.address, "")).await;
    let mut socket = connect(&gateway).await;
    echoes(&mut socket, Message::text("hello")).await;
    let frame = CloseFrame { code: CloseCode::Away, reason: "closing the tab".into() };
    socket.close(Some(frame.clone())).await.unwrap();
    assert_eq!(hear(&mut socket).await, Message::Close(Some(frame)));
    assert!(soon("the end", socket.next()).await.is_none());
    assert_eq!(origin.end().await, End::Closed(1001));
}

#[tokio::test]
async fn a_client_that_vanishes_ends_the_servers_side() {
    let origin = WsOrigin::start().await;
    let gateway = Gateway::start(&config(origin.address, "")).await;
    for by_reset in [false, true] {
        let mut socket = connect(&gateway).await;
        echoes(&mut socket, Message::text("hello")).await;
        if by_reset {
            socket.get_ref().set_zero_linger().unwrap();
        }
        drop(socket);
        assert_eq!(origin.end().await, End::Cut);
        until("the tunnel to end", || async {
            (gateway.metric("gateway_requests_in_flight").await == 0.0).then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn a_refused_handshake_is_an_ordinary_response_and_the_connection_goes_on() {
    let origin = Origin::answering(|seen| {
        if seen.header("upgrade").is_some() {
            b"HTTP/1.1 403 Forbidden\r\nContent-Length: 4\r\n\r\nnope".to_vec()
        } else {
            ok("ordinary")
        }
    })
    .await;
    let gateway = Gateway::start(&config(origin.address, "")).await;
    let mut client = gateway.connect().await;
    client.send(HANDSHAKE).await;
    let reply = client.reply().await;
    assert_eq!((reply.status, reply.text().as_str()), (403, "nope"));
    assert_eq!((reply.header("upgrade"), reply.header("connection")), (None, None));
    assert_eq!(client.get("/").await.text(), "ordinary");
    client.send(HANDSHAKE).await;
    assert_eq!(client.reply().await.status, 403);
}

const HANDSHAKE: &str = "GET /room HTTP/1.1\r\nHost: chat.example\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";

#[tokio::test]
async fn a_server_of_http2_is_not_asked_to_upgrade() {
    let origin = H2Origin::start().await;
    let gateway = Gateway::start(&config(origin.address, "protocol = \"http2\"")).await;
    let mut client = gateway.connect().await;
    client.send(HANDSHAKE).await;
    let reply = client.reply().await;
    assert_eq!((reply.status, reply.text().as_str()), (200, "/room"));
    let seen = &origin.seen()[0].headers;
    assert!(!seen.contains_key("upgrade") && !seen.contains_key("connection"), "{seen:?}");
    assert_eq!(client.get("/after").await.text(), "/after");
}

/// A server by hand: it reads one head and then does what the test says.
async fn by_hand() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let config = config(listener.local_addr().unwrap(), "");
    (listener, config)
}

async fn called(listener: &TcpListener) -> (TcpStream, String) {
    let (mut server, _) = soon("the call", listener.accept()).await.unwrap();
    let mut head = Vec::new();
    while !head.windows(4).any(|window| window == b"\r\n\r\n") {
        assert!(soon("the head", server.read_buf(&mut head)).await.unwrap() > 0);
    }
    (server, String::from_utf8(head).unwrap())
}

fn switching(to: &str) -> String {
    format!("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: {to}\r\n\r\n")
}

async fn reads(stream: &mut TcpStream, expected: &[u8]) {
    let mut read = vec![0; expected.len()];
    soon("bytes", stream.read_exact(&mut read)).await.unwrap();
    assert_eq!(read, expected);
}

#[tokio::test]
async fn another_protocol_passes_with_what_was_sent_too_early() {
    let (listener, config) = by_hand().await;
    let gateway = Gateway::start(&config).await;
    let mut client = gateway.connect().await;
    // Bytes right behind the head wait for the decision, and then pass as they are.
    client.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: custom/1\r\n\r\nearly\n\n\0bytes").await;
    let (mut server, head) = called(&listener).await;
    assert!(
        head.to_lowercase().contains("\r\nupgrade: custom/1\r\n") && head.ends_with("\r\n\r\n"),
        "{head}"
    );
    server.write_all(format!("{}early, too", switching("custom/1")).as_bytes()).await.unwrap();
    let reply = client.reply().await;
    assert_eq!((reply.status, reply.header("upgrade")), (101, Some("custom/1")));
    assert_eq!(client.read_exactly(10).await, b"early, too");
    reads(&mut server, b"early\n\n\0bytes").await;
    client.send("up").await;
    reads(&mut server, b"up").await;
    // One side may end while the other still speaks.
    client.stream.shutdown().await.unwrap();
    assert_eq!(soon("the end", server.read(&mut [0; 8])).await.unwrap(), 0);
    server.write_all(b"last words").await.unwrap();
    drop(server);
    assert_eq!(client.rest().await, b"last words");
}

#[tokio::test]
async fn what_follows_a_refused_upgrade_is_the_next_request() {
    let origin = Origin::start().await;
    let gateway = Gateway::start(&config(origin.address, "")).await;
    let mut client = gateway.connect().await;
    client.send(&format!("{HANDSHAKE}GET /next HTTP/1.1\r\nHost: a\r\n\r\n")).await;
    assert_eq!(client.reply().await.text(), "GET /room HTTP/1.1");
    assert_eq!(client.reply().await.text(), "GET /next HTTP/1.1");
}

#[tokio::test]
async fn a_server_that_switches_unasked_is_a_broken_one() {
    let (listener, config) = by_hand().await;
    let gateway = Gateway::start(&config).await;
    let mut client = gateway.connect().await;
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let (mut server, _) = called(&listener).await;
    server.write_all(switching("websocket").as_bytes()).await.unwrap();
    assert_eq!(client.reply().await.status, 502);
}

#[tokio::test]
async fn a_conversation_is_one_line_in_the_log() {
    let origin = WsOrigin::start().await;
    let log = "[access-log]\nfile = \"access.log\"\nflush = \"10ms\"\n";
    let gateway = Gateway::start(&format!("{log}{}", config(origin.address, ""))).await;
    let mut socket = connect(&gateway).await;
    echoes(&mut socket, Message::text("x".repeat(1000))).await;
    assert_eq!(gateway.metric("gateway_requests_in_flight").await, 1.0, "it is under way");
    socket.close(None).await.unwrap();
    while soon("the end", socket.next()).await.is_some() {}
    let line = until("the line", || async { gateway.access_log().pop() }).await;
    assert_eq!((&line["status"], &line["reason"]), (&101.into(), &"upgraded".into()), "{line}");
    // 1000 bytes take a head of 4, from the client 4 more for the key; a close takes 2 and 6.
    assert_eq!((&line["bytes_in"], &line["bytes_out"]), (&1014.into(), &1006.into()), "{line}");
    assert_eq!(gateway.access_log().len(), 1);
}

#[tokio::test]
async fn a_conversation_goes_on_through_a_reload() {
    let origin = WsOrigin::start().await;
    let gateway = Gateway::start(&config(origin.address, "")).await;
    let mut socket = connect(&gateway).await;
    echoes(&mut socket, Message::text("before")).await;
    let text = std::fs::read_to_string(gateway.config_path()).unwrap();
    std::fs::write(gateway.config_path(), format!("{text}host = \"other.example\"\n")).unwrap();
    assert_eq!(gateway.admin_post("/api/v1/config/reload", "").await.status, 200);
    assert_eq!(gateway.connect().await.get("/").await.status, 404);
    echoes(&mut socket, Message::text("after")).await;
}

#[tokio::test]
async fn a_conversation_passes_through_tls() {
    let authority = Authority::new();
    let site = authority.sign("site", &["chat.example"]);
    let origin = WsOrigin::start().await;
    let gateway = Gateway::start_as(&format!(
        "[[listeners]]\naddress = \"127.0.0.1:0\"\ntls = {{ certificates = [{}] }}\n{}{}",
        site.toml(),
        rig::gateway::ADMIN,
        config(origin.address, "")
    ))
    .await;
    let stream = authority.connect(gateway.address(), "chat.example", &["http/1.1"]).await.unwrap();
    let (mut socket, _) = over(stream).await;
    echoes(&mut socket, Message::text("safe")).await;
    echoes(&mut socket, Message::binary(vec![7; 100_000])).await;
    socket.close(None).await.unwrap();
    assert_eq!(origin.end().await, End::Closed(1005));
}

#[tokio::test]
async fn a_conversation_in_which_nothing_is_said_ends() {
    let (listener, config) = by_hand().await;
    let config = config.replacen("servers", "timeout = { idle = \"1s\" }\nservers", 1);
    let gateway = Gateway::start(&config).await;
    let mut client = gateway.connect().await;
    client.send(HANDSHAKE).await;
    let (mut server, _) = called(&listener).await;
    server.write_all(switching("websocket").as_bytes()).await.unwrap();
    assert_eq!(client.reply().await.status, 101);
    client.send_bytes(&[0x89, 0x80, 0, 0, 0, 0]).await;
    reads(&mut server, &[0x89, 0x80, 0, 0, 0, 0]).await;
    let end = soon("the end", server.read(&mut [0; 8])).await;
    assert!(matches!(end, Ok(0) | Err(_)), "{end:?}");
    assert!(client.is_closed().await);
}

const DRAINED: &str = "[server.drain]\nupgraded = \"100ms\"\nidle = \"0s\"\n";
/// Close with 1001: to a client, and (masked with zeros) to a server.
const GOODBYE: &[u8] = &[0x88, 2, 0x03, 0xe9];
const GOODBYE_MASKED: &[u8] = &[0x88, 0x82, 0, 0, 0, 0, 0x03, 0xe9];

async fn draining(config: &str) -> Gateway {
    // `[server]` of the rig comes first; the table of drain may follow it.
    Gateway::start(&format!("{DRAINED}{config}")).await
}

#[tokio::test]
async fn draining_says_goodbye_to_both_sides() {
    let origin = WsOrigin::start().await;
    let mut gateway = draining(&config(origin.address, "")).await;
    let mut socket = connect(&gateway).await;
    echoes(&mut socket, Message::text("hello")).await;
    gateway.signal("TERM").await;
    match hear(&mut socket).await {
        Message::Close(Some(frame)) => assert_eq!(frame.code, CloseCode::Away),
        other => panic!("{other:?}"),
    }
    assert_eq!(origin.end().await, End::Closed(1001));
    assert_eq!(gateway.ended().await, Some(0));
}

#[tokio::test]
async fn the_goodbye_waits_for_the_end_of_a_frame() {
    let (listener, config) = by_hand().await;
    let mut gateway = draining(&config).await;
    let mut client = gateway.connect().await;
    client.send(HANDSHAKE).await;
    let (mut server, _) = called(&listener).await;
    server.write_all(switching("websocket").as_bytes()).await.unwrap();
    assert_eq!(client.reply().await.status, 101);
    // The server is in the middle of a frame of ten bytes, the client is not.
    server.write_all(&[0x82, 10, 1, 2, 3]).await.unwrap();
    assert_eq!(client.read_exactly(5).await, [0x82, 10, 1, 2, 3]);
    gateway.signal("TERM").await;
    reads(&mut server, GOODBYE_MASKED).await;
    server.write_all(&[4, 5, 6, 7, 8, 9, 10]).await.unwrap();
    assert_eq!(client.read_exactly(7).await, [4, 5, 6, 7, 8, 9, 10]);
    assert_eq!(client.read_exactly(4).await, GOODBYE);
    drop(server);
    client.rest().await;
    assert_eq!(gateway.ended().await, Some(0));
}

#[tokio::test]
async fn a_client_that_never_ends_its_frame_does_not_hold_up_the_end() {
    let (listener, config) = by_hand().await;
    let mut gateway = draining(&config).await;
    let mut client: Client = gateway.connect().await;
    client.send(HANDSHAKE).await;
    let (mut server, _) = called(&listener).await;
    server.write_all(switching("websocket").as_bytes()).await.unwrap();
    assert_eq!(client.reply().await.status, 101);
    client.send_bytes(&[0x82, 0xff, 0, 0]).await;
    reads(&mut server, &[0x82, 0xff, 0, 0]).await;
    gateway.signal("TERM").await;
    assert_eq!(client.rest().await, GOODBYE);
    assert_eq!(gateway.ended().await, Some(0));
}

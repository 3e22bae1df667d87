//! TLS on both sides: certificates, protocols, deadlines, and whom the gateway believes.

#![allow(clippy::unwrap_used, reason = "tests")]

mod rig;

use http::Response;
use rig::h2_ends::{Fed, H2Client, H2Origin};
use rig::tls_ends::{After, Authority, Certificate, TlsOrigin};
use rig::{Client, Gateway, Origin, soon};
use rustls::pki_types::CertificateDer;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

/// A listener with these certificates, and everything to `origin`.
fn with_tls(certificates: &[&Certificate], rest: &str) -> String {
    let list: Vec<String> = certificates.iter().map(|one| one.toml()).collect();
    format!(
        "[[listeners]]\naddress = \"127.0.0.1:0\"\ntls = {{ certificates = [{}] }}\n{}{rest}",
        list.join(", "),
        rig::gateway::ADMIN
    )
}

fn fixed() -> String {
    "[[routes]]\npath = \"/{*rest}\"\nrespond = { body = \"fixed\" }\n".to_owned()
}

fn proxied(address: impl std::fmt::Display, more: &str) -> String {
    format!(
        "[upstreams.origin]\nservers = [\"{address}\"]\n{more}\n[[routes]]\npath = \"/{{*rest}}\"\nupstream = \"origin\"\n"
    )
}

fn shown(stream: &TlsStream<TcpStream>) -> CertificateDer<'static> {
    stream.get_ref().1.peer_certificates().unwrap()[0].clone()
}

async fn ask(stream: &mut TlsStream<TcpStream>, request: &str) -> String {
    stream.write_all(request.as_bytes()).await.unwrap();
    stream.flush().await.unwrap();
    let mut read = Vec::new();
    // The responses of these tests end with a word of their own.
    while !(read.ends_with(b"fixed") || read.ends_with(b"HTTP/1.1")) {
        assert!(
            soon("bytes", stream.read_buf(&mut read)).await.unwrap() > 0,
            "closed after {read:?}"
        );
    }
    String::from_utf8(read).unwrap()
}

const GET: &str = "GET / HTTP/1.1\r\nHost: a.example\r\n\r\n";

#[tokio::test]
async fn the_name_asked_for_chooses_the_certificate() {
    let authority = Authority::new();
    let first = authority.sign("first", &["first.example", "127.0.0.1"]);
    let second = authority.sign("second", &["second.example", "also.example"]);
    let wild = authority.sign("wild", &["*.wild.example"]);
    let gateway = Gateway::start_as(&with_tls(&[&first, &second, &wild], &fixed())).await;
    let cases = [
        ("first.example", &first),
        ("second.example", &second),
        ("SECOND.example", &second),
        ("also.example", &second),
        ("a.wild.example", &wild),
        ("127.0.0.1", &first),
    ];
    for (name, certificate) in cases {
        let stream = authority.connect(gateway.address(), name, &[]).await.unwrap();
        assert!(shown(&stream) == certificate.der, "{name}");
    }
    // A name that none has gets the first, which the client then refuses.
    for name in ["unknown.example", "wild.example", "a.b.wild.example"] {
        let refused = authority.connect(gateway.address(), name, &[]).await.unwrap_err();
        assert!(refused.to_string().contains("first.example"), "{name}: {refused}");
    }
}

#[tokio::test]
async fn the_protocol_is_agreed_upon() {
    let authority = Authority::new();
    let certificate = authority.sign("site", &["a.example"]);
    let gateway = Gateway::start_as(&with_tls(&[&certificate], &fixed())).await;
    let cases: [(&[&str], Option<&str>); 4] = [
        (&["h2", "http/1.1"], Some("h2")),
        (&["http/1.1", "h2"], Some("h2")),
        (&["http/1.1"], Some("http/1.1")),
        (&[], None),
    ];
    for (offered, agreed) in cases {
        let mut stream = authority.connect(gateway.address(), "a.example", offered).await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), agreed.map(str::as_bytes), "{offered:?}");
        if agreed == Some("h2") {
            assert_eq!(H2Client::over(stream).await.get("/").await.text(), "fixed");
        } else {
            assert!(ask(&mut stream, GET).await.starts_with("HTTP/1.1 200 OK\r\n"));
            assert!(ask(&mut stream, GET).await.starts_with("HTTP/1.1 200 OK\r\n"), "kept alive");
        }
    }
    let refused = authority.connect(gateway.address(), "a.example", &["spdy/3"]).await.unwrap_err();
    assert!(refused.to_string().contains("NoApplicationProtocol"), "{refused}");
}

#[tokio::test]
async fn a_handshake_has_a_deadline() {
    let authority = Authority::new();
    let certificate = authority.sign("site", &["a.example"]);
    let limits = "[limits]\nheader-timeout = \"300ms\"\n";
    let gateway =
        Gateway::start_as(&with_tls(&[&certificate], &format!("{limits}{}", fixed()))).await;
    // Nothing at all, and the beginning of a ClientHello.
    for begun in [&b""[..], b"\x16\x03\x01\x02\x00\x01\x00"] {
        let mut client = Client::connect(gateway.address()).await;
        client.send_bytes(begun).await;
        assert!(client.is_closed().await);
    }
    rig::until("both refusals to be counted", || async {
        let refused = gateway.metric("gateway_refusals_total{reason=\"tls-timeout\"}").await;
        (refused == 2.0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn plain_text_on_a_port_of_tls_is_closed_without_an_answer_in_http() {
    let authority = Authority::new();
    let certificate = authority.sign("site", &["a.example"]);
    let gateway = Gateway::start_as(&with_tls(&[&certificate], &fixed())).await;
    let mut client = Client::connect(gateway.address()).await;
    client.send(GET).await;
    let told = client.rest().await;
    assert!(!told.starts_with(b"HTTP"), "{told:?}");
    // Counted right after the close that the client saw.
    rig::until("the refusal to be counted", || async {
        let refused = gateway.metric("gateway_refusals_total{reason=\"tls-handshake\"}").await;
        (refused == 1.0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_connection_ends_with_a_goodbye_in_tls() {
    let authority = Authority::new();
    let certificate = authority.sign("site", &["a.example"]);
    let gateway = Gateway::start_as(&with_tls(&[&certificate], &fixed())).await;
    for request in [
        "GET / HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n",
        "GET / HTTP/1.1\nHost: a\r\n\r\n",
    ] {
        let mut stream = authority.connect(gateway.address(), "a.example", &[]).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut read = Vec::new();
        // An end without close_notify would be an error: somebody in between could have cut the response.
        soon("the end", stream.read_to_end(&mut read)).await.unwrap();
        assert!(read.starts_with(b"HTTP/1.1 "), "{read:?}");
    }
}

async fn reload(gateway: &Gateway) -> u16 {
    gateway.admin_post("/api/v1/config/reload", "").await.status
}

#[tokio::test]
async fn a_reload_changes_the_certificate_for_new_connections_only() {
    let authority = Authority::new();
    let old = authority.sign("site", &["a.example"]);
    let gateway = Gateway::start_as(&with_tls(&[&old], &fixed())).await;
    let mut before = authority.connect(gateway.address(), "a.example", &[]).await.unwrap();
    assert!(ask(&mut before, GET).await.contains("200 OK"));

    let new = authority.sign("site", &["a.example"]);
    assert!(new.der != old.der);
    assert_eq!(reload(&gateway).await, 200);
    let after = authority.connect(gateway.address(), "a.example", &[]).await.unwrap();
    assert!(shown(&after) == new.der, "a new connection sees the new one");
    assert!(ask(&mut before, GET).await.contains("200 OK"), "an old connection goes on");

    std::fs::write(&new.cert, "no certificate").unwrap();
    assert_ne!(reload(&gateway).await, 200);
    let still = authority.connect(gateway.address(), "a.example", &[]).await.unwrap();
    assert!(shown(&still) == new.der, "a file that is broken changes nothing");
}

#[tokio::test]
async fn servers_are_told_that_the_client_came_by_https() {
    let authority = Authority::new();
    let certificate = authority.sign("site", &["a.example"]);
    let origin = Origin::start().await;
    let gateway = Gateway::start_as(&with_tls(&[&certificate], &proxied(origin.address, ""))).await;
    let mut http1 = authority.connect(gateway.address(), "a.example", &[]).await.unwrap();
    ask(&mut http1, "GET /one HTTP/1.1\r\nHost: a.example\r\nX-Forwarded-Proto: http\r\n\r\n")
        .await;
    let http2 = authority.connect(gateway.address(), "a.example", &["h2"]).await.unwrap();
    H2Client::over(http2).await.get("/two").await;
    let seen = origin.seen();
    assert_eq!(seen.len(), 2);
    for seen in seen {
        assert_eq!(seen.all("x-forwarded-proto"), ["https"], "{seen:?}");
    }
}

#[tokio::test]
async fn a_large_body_passes_through_tls() {
    let authority = Authority::new();
    let certificate = authority.sign("site", &["a.example"]);
    let origin = Origin::answering(|seen| rig::origin::ok(&seen.body.len().to_string())).await;
    let gateway = Gateway::start_as(&with_tls(&[&certificate], &proxied(origin.address, ""))).await;
    let stream = authority.connect(gateway.address(), "a.example", &["h2"]).await.unwrap();
    let body = Fed::whole(vec![b'x'; 3 << 20]);
    let answer = H2Client::over(stream).await.send(rig::h2_ends::post("/", body)).await;
    assert_eq!(answer.text(), (3 << 20).to_string());
}

/// What the gateway makes of a server over TLS with this certificate: status, and the reason it gives.
async fn through(certificate: &Certificate, tls: &str) -> (u16, String) {
    let answer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    let origin =
        TlsOrigin::start(certificate.acceptor(&["http/1.1"]), answer, After::KeepAlive).await;
    let gateway = Gateway::start(&proxied(origin.address, tls)).await;
    let reply = gateway.connect().await.get("/").await;
    let reason =
        if reply.status == 200 { reply.text() } else { reply.json()["reason"].to_string() };
    (reply.status, reason)
}

#[tokio::test]
async fn a_server_is_believed_only_with_the_right_authority_and_name() {
    let authority = Authority::new();
    let stranger = Authority::new();
    let by_address = authority.sign("address", &["127.0.0.1"]);
    let by_name = authority.sign("name", &["server.example"]);
    let ca =
        |of: &Authority, more: &str| format!("tls = {{ ca = \"{}\"{more} }}", of.file().display());
    let good = (200, "ok".to_owned());
    let refused = (502, "\"connect-tls\"".to_owned());
    assert_eq!(through(&by_address, &ca(&authority, "")).await, good);
    assert_eq!(
        through(&by_name, &ca(&authority, ", server-name = \"server.example\"")).await,
        good
    );
    assert_eq!(through(&by_name, &ca(&authority, "")).await, refused, "the wrong name");
    assert_eq!(
        through(&by_address, &ca(&authority, ", server-name = \"server.example\"")).await,
        refused
    );
    assert_eq!(through(&by_address, &ca(&stranger, "")).await, refused, "the wrong authority");
    assert_eq!(through(&by_name, "tls = { dangerous-no-verify = true }").await, good);
}

#[tokio::test]
async fn a_server_that_does_not_speak_tls_is_a_failed_handshake() {
    let authority = Authority::new();
    let origin = Origin::answering(|_| b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec()).await;
    let tls = format!("tls = {{ ca = \"{}\" }}", authority.file().display());
    let gateway = Gateway::start(&proxied(origin.address, &tls)).await;
    let mut client = gateway.connect().await;
    client.send(GET).await;
    let reply = client.reply().await;
    assert!(matches!(reply.status, 502 | 504), "{reply:?}");
}

#[tokio::test]
async fn http2_is_spoken_to_a_server_that_agrees_to_it() {
    let authority = Authority::new();
    let certificate = authority.sign("server", &["127.0.0.1"]);
    let tls = format!("protocol = \"http2\"\ntls = {{ ca = \"{}\" }}", authority.file().display());
    let origin = H2Origin::over_tls(certificate.acceptor(&["h2"]), |_| async {
        Response::new(Fed::whole("spoken"))
    })
    .await;
    let gateway = Gateway::start(&proxied(origin.address, &tls)).await;
    let mut client = gateway.connect().await;
    assert_eq!(client.get("/").await.text(), "spoken");
    let seen = &origin.seen()[0];
    assert_eq!((seen.version, seen.uri.scheme_str()), (http::Version::HTTP_2, Some("https")));
}

#[tokio::test]
async fn a_server_that_does_not_agree_to_http2_is_a_failed_handshake() {
    let authority = Authority::new();
    let certificate = authority.sign("server", &["127.0.0.1"]);
    let tls = format!("protocol = \"http2\"\ntls = {{ ca = \"{}\" }}", authority.file().display());
    let protocols: [&[&str]; 2] = [&[], &["http/1.1"]];
    for spoken in protocols {
        let origin =
            TlsOrigin::start(certificate.acceptor(spoken), "HTTP/1.1 200 OK\r\n\r\n", After::Close)
                .await;
        let gateway = Gateway::start(&proxied(origin.address, &tls)).await;
        let reply = gateway.connect().await.get("/").await;
        assert_eq!(
            (reply.status, reply.json()["reason"].as_str()),
            (502, Some("connect-tls")),
            "{spoken:?}"
        );
    }
}

#[tokio::test]
async fn a_response_that_was_cut_is_not_taken_for_whole() {
    let authority = Authority::new();
    let certificate = authority.sign("server", &["127.0.0.1"]);
    let tls = format!("tls = {{ ca = \"{}\" }}", authority.file().display());
    let answer = "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nuntil the end";
    for (after, is_whole) in [(After::Close, true), (After::Cut, false)] {
        let origin = TlsOrigin::start(certificate.acceptor(&[]), answer, after).await;
        let gateway = Gateway::start(&proxied(origin.address, &tls)).await;
        let mut client = gateway.connect().await;
        client.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await;
        let told = String::from_utf8(client.rest().await).unwrap();
        assert!(told.contains("until the end") || !is_whole, "{told}");
        assert_eq!(told.ends_with("\r\n0\r\n\r\n"), is_whole, "{after:?}: {told}");
    }
}

#[tokio::test]
async fn tls_that_cannot_be_spoken_is_refused_and_never_becomes_plain_text() {
    for (server, told) in [
        ("unix:/tmp/none.sock", "TLS is not spoken over the Unix socket /tmp/none.sock"),
        ("-odd-.example:443", "\"-odd-.example\" is no name that a certificate can have"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let config = format!(
            "[[listeners]]\naddress = \"127.0.0.1:0\"\n[upstreams.a]\nservers = [\"{server}\"]\n\
             tls = {{ dangerous-no-verify = true }}\n[[routes]]\npath = \"/\"\nupstream = \"a\"\n"
        );
        let path = folder.path().join("config.toml");
        std::fs::write(&path, config).unwrap();
        let check = tokio::process::Command::new(env!("CARGO_BIN_EXE_gateway"))
            .args(["check", "--config"])
            .arg(&path)
            .output();
        let output = check.await.unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{server}: {said}");
        assert!(said.contains(told), "{server}: {said}");
    }
}

//! How the process starts, changes and ends while there is traffic (issue 2, sections 2 and 7).

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::cognitive_complexity,
    clippy::excessive_nesting,
    reason = "tests"
)]

mod rig;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use rig::gateway::{ADMIN, LISTENER};
use rig::{ByHand, Client, Gateway, Origin, all_to, until};
use tokio::net::TcpStream;

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

/// A configuration whose only route answers with this word.
fn saying(word: &str) -> String {
    format!("{LISTENER}{ADMIN}[[routes]]\npath = \"/\"\nrespond = {{ body = \"{word}\" }}\n")
}

async fn word_of(gateway: &Gateway) -> String {
    gateway.connect().await.get("/").await.text()
}

#[tokio::test]
async fn a_drain_lets_everything_under_way_end() {
    let origin = ByHand::start().await;
    let drain = "drain = { delay = \"700ms\", idle = \"300ms\" }\n";
    let fixed = "[[routes]]\npath = \"/fixed\"\nrespond = {}\n";
    let config = format!("{drain}{}{fixed}", all_to(&[origin.address]));
    let mut gateway = Gateway::start(&config).await;
    let mut slow = gateway.connect().await;
    slow.send(GET).await;
    let mut server = origin.accept().await;
    server.head().await;
    server.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nstart").await;
    slow.head().await;
    let mut kept = gateway.connect().await;
    assert_eq!(kept.get("/fixed").await.header("connection"), None);
    let mut idle = gateway.connect().await;
    assert_eq!(idle.get("/fixed").await.header("connection"), None);
    let mut silent = gateway.connect().await;

    gateway.signal("TERM").await;
    until("it not to be ready", || async {
        (gateway.admin_get("/readyz").await.status == 503).then_some(())
    })
    .await;
    assert_eq!(gateway.admin_get("/healthz").await.status, 200);
    // Whoever still comes is answered, and told not to come again.
    for client in [&mut gateway.connect().await, &mut kept] {
        let reply = client.get("/fixed").await;
        assert_eq!((reply.status, reply.header("connection")), (200, Some("close")));
        assert!(client.is_closed().await);
    }
    assert!(idle.is_closed().await, "idle connections end");
    assert!(silent.is_closed().await);
    // The delay is over, and one request is left: nobody else is let in.
    until("new connections to be refused", || async {
        TcpStream::connect(gateway.address()).await.is_err().then_some(())
    })
    .await;
    server.send("-done").await;
    assert_eq!(slow.read_exactly(10).await, b"start-done");
    assert_eq!(gateway.ended().await, Some(0));
    assert!(slow.is_closed().await);
}

#[tokio::test]
async fn a_drain_without_anything_under_way_ends_at_once() {
    let mut gateway = Gateway::start(&saying("a").replace(&format!("{LISTENER}{ADMIN}"), "")).await;
    let before = tokio::time::Instant::now();
    gateway.signal("INT").await;
    assert_eq!(gateway.ended().await, Some(0));
    assert!(before.elapsed() < Duration::from_secs(2), "{:?}", before.elapsed());
}

#[tokio::test]
async fn a_drain_ends_requests_that_do_not_end() {
    let origin = ByHand::start().await;
    let drain = "drain = { requests = \"300ms\", idle = \"0s\", upgraded = \"0s\" }\n";
    let mut gateway = Gateway::start(&format!("{drain}{}", all_to(&[origin.address]))).await;
    let mut client = gateway.connect().await;
    client.send(GET).await;
    let mut server = origin.accept().await;
    server.head().await;
    gateway.signal("TERM").await;
    assert_eq!(gateway.ended().await, Some(0));
    assert!(client.is_closed().await);
    assert!(server.is_closed().await);
}

#[tokio::test]
async fn a_reload_changes_what_is_answered_and_cuts_nobody() {
    let gateway = Gateway::start_as(&saying("old")).await;
    let mut kept = gateway.connect().await;
    assert_eq!(kept.get("/").await.text(), "old");
    gateway.write_config(&saying("new"));
    gateway.signal("HUP").await;
    gateway.has_said("reloaded: generation 2").await;
    assert_eq!(kept.get("/").await.text(), "new", "on a connection that was there before");
    assert_eq!(gateway.metric("gateway_config_generation").await, 2.0);
    assert_eq!(gateway.metric("gateway_config_reloads_total{result=\"ok\"}").await, 2.0);
}

#[tokio::test]
async fn what_a_reload_cannot_change_is_said() {
    let gateway = Gateway::start_as(&saying("old")).await;
    let more = format!("{}[[listeners]]\naddress = \"127.0.0.2:0\"\n", saying("new"));
    gateway.write_config(&more.replace("threads = 2", "threads = 3"));
    gateway.signal("HUP").await;
    gateway.has_said("listeners have changed; `gateway run --upgrade` applies it").await;
    gateway.has_said("server.threads has changed").await;
    assert_eq!(word_of(&gateway).await, "new", "the rest is applied");
}

#[tokio::test]
async fn a_request_keeps_the_snapshot_it_began_with() {
    let origin = ByHand::start().await;
    let config = |name: &str| {
        let plugin = "plugins = [{ headers = { response = { set = { x-config = \"NAME\" } } } }]\n";
        format!("{LISTENER}{ADMIN}{}{}", all_to(&[origin.address]), plugin.replace("NAME", name))
    };
    let gateway = Gateway::start_as(&config("old")).await;
    let mut client = gateway.connect().await;
    client.send(GET).await;
    let mut server = origin.accept().await;
    server.head().await;
    gateway.write_config(&config("new"));
    assert_eq!(gateway.admin_post("/api/v1/config/reload", "").await.status, 200);
    let answer = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
    server.send(answer).await;
    assert_eq!(client.reply().await.header("x-config"), Some("old"));
    client.send(GET).await;
    server.head().await;
    server.send(answer).await;
    assert_eq!(client.reply().await.header("x-config"), Some("new"), "over the same connection");
}

#[tokio::test]
async fn reloads_under_load_cost_no_request() {
    let origin = Origin::start().await;
    let gateway = Gateway::start(&all_to(&[origin.address])).await;
    let stop = Arc::new(AtomicBool::new(false));
    let done = Arc::new(AtomicUsize::new(0));
    let loads = [true, true, false].map(|keep| {
        tokio::spawn(load(gateway.address(), Arc::clone(&stop), Arc::clone(&done), keep))
    });
    for _ in 0..50 {
        assert_eq!(gateway.admin_post("/api/v1/config/reload", "").await.status, 200);
    }
    let before = done.load(Ordering::Relaxed);
    until("more requests", || async { (done.load(Ordering::Relaxed) > before + 50).then_some(()) })
        .await;
    stop.store(true, Ordering::Relaxed);
    for load in loads {
        load.await.unwrap();
    }
    assert_eq!(origin.seen().len(), done.load(Ordering::Relaxed));
}

#[tokio::test]
async fn a_bad_file_changes_nothing_and_says_why() {
    let gateway = Gateway::start_as(&saying("old")).await;
    let failing_test = "[[tests]]\nrequest = \"GET /\"\nexpect = { status = 418 }\n";
    for (config, why, word) in [
        (
            saying("new").replace("respond", "resond"),
            "config.toml:10:1: unknown key `resond`",
            "resond",
        ),
        (
            format!("{}[[routes]]\npath = \"/x\"\nupstream = \"absent\"\n", saying("new")),
            "absent",
            "absent",
        ),
        (format!("{}{failing_test}", saying("new")), "test GET", "test GET"),
        ("= nonsense".to_owned(), "config.toml:1:1", "unquoted"),
    ] {
        gateway.write_config(&config);
        gateway.signal("HUP").await;
        gateway.has_said(why).await;
        assert_eq!(word_of(&gateway).await, "old", "{why}");
        let reply = gateway.admin_post("/api/v1/config/reload", "").await;
        assert_eq!(reply.status, 422, "{why}: {}", reply.text());
        assert!(reply.text().contains(word), "{why}: {}", reply.text());
        assert_eq!(word_of(&gateway).await, "old", "{why}");
    }
    assert!(gateway.said().contains("not reloaded, the old configuration stays"));
    std::fs::remove_file(gateway.config_path()).unwrap();
    assert_eq!(gateway.admin_post("/api/v1/config/reload", "").await.status, 422);
    assert_eq!(gateway.metric("gateway_config_generation").await, 1.0);
    gateway.write_config(&saying("new"));
    assert_eq!(gateway.admin_post("/api/v1/config/reload", "").await.status, 200);
    assert_eq!(word_of(&gateway).await, "new");
}

#[tokio::test]
async fn a_file_that_changes_is_read_again() {
    let watching = |word: &str| saying(word).replace("[server]\n", "[server]\nwatch = true\n");
    let gateway = Gateway::start_as(&watching("old")).await;
    gateway.write_config(&watching("new"));
    gateway.has_said("reloaded: generation 2").await;
    assert_eq!(word_of(&gateway).await, "new");
    std::fs::write(gateway.config_path(), "nonsense").unwrap();
    gateway.has_said("not reloaded").await;
    assert_eq!(word_of(&gateway).await, "new");
    std::fs::write(gateway.config_path(), watching("newer")).unwrap();
    gateway.has_said("reloaded: generation 3").await;
    assert_eq!(word_of(&gateway).await, "newer");
}

const SWITCH: &str =
    "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";

/// A WebSocket through the gateway: the client's and the server's end.
async fn websocket(gateway: &Gateway, origin: &ByHand) -> (Client, Client) {
    let mut client = gateway.connect().await;
    client
        .send("GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
        .await;
    let mut server = origin.accept().await;
    let head = server.head().await.to_lowercase();
    assert!(
        head.contains("connection: upgrade\r\n") && head.contains("upgrade: websocket\r\n"),
        "{head}"
    );
    server.send(SWITCH).await;
    assert_eq!(client.reply().await.status, 101);
    (client, server)
}

#[tokio::test]
async fn a_websocket_lives_through_a_reload_and_is_told_of_the_end() {
    let origin = ByHand::start().await;
    let drain = "drain = { upgraded = \"200ms\" }\n";
    let config = format!("{LISTENER}{ADMIN}{drain}{}", all_to(&[origin.address]));
    let mut gateway = Gateway::start_as(&config).await;
    let (mut client, mut server) = websocket(&gateway, &origin).await;
    client.send_bytes(b"\x81\x82\0\0\0\0hi").await;
    assert_eq!(server.read_exactly(8).await, b"\x81\x82\0\0\0\0hi");
    gateway.write_config(&config.replace("/{*rest}", "/other/{*rest}"));
    assert_eq!(gateway.admin_post("/api/v1/config/reload", "").await.status, 200);
    server.send_bytes(b"\x81\x02ho").await;
    assert_eq!(client.read_exactly(4).await, b"\x81\x02ho");
    assert_eq!(gateway.metric("gateway_upgraded_connections").await, 1.0);
    // Half a frame: the goodbye must wait for the rest of it.
    server.send_bytes(b"\x81\x04ha").await;
    assert_eq!(client.read_exactly(4).await, b"\x81\x04ha");
    gateway.signal("TERM").await;
    assert_eq!(server.read_exactly(8).await, b"\x88\x82\0\0\0\0\x03\xe9", "masked, 1001");
    server.send_bytes(b"lf").await;
    assert_eq!(client.rest().await, b"lf\x88\x02\x03\xe9", "1001, between two frames");
    drop(client);
    assert_eq!(gateway.ended().await, Some(0));
}

#[tokio::test]
async fn the_access_log_is_opened_anew_when_told() {
    let log = "[access-log]\nfile = \"access.log\"\nflush = \"10ms\"\n";
    let route = "[[routes]]\npath = \"/\"\nrespond = {}\n";
    let gateway = Gateway::start_single(&format!("{log}{route}")).await;
    word_of(&gateway).await;
    gateway.log_of(1).await;
    std::fs::rename(gateway.folder().join("access.log"), gateway.folder().join("old.log")).unwrap();
    gateway.signal("USR1").await;
    until("the new file", || async { gateway.folder().join("access.log").exists().then_some(()) })
        .await;
    word_of(&gateway).await;
    assert_eq!(gateway.log_of(1).await.len(), 1);
    let old = std::fs::read_to_string(gateway.folder().join("old.log")).unwrap();
    assert_eq!(old.lines().count(), 1);
}

/// The same with a socket for the hand-over, and fixed addresses so that the next process has the same.
fn upgradable(config: &str) -> String {
    format!("{LISTENER}{ADMIN}handover = \"handover/socket\"\n{config}")
}

/// The configuration with the addresses the system has chosen: the next process takes sockets over by them.
fn settled(running: &Gateway, config: &str) -> String {
    config.replacen("127.0.0.1:0", &running.address().to_string(), 1).replacen(
        "127.0.0.1:0",
        &running.admin.unwrap().to_string(),
        1,
    )
}

/// Asks without a pause, over kept and new connections, until told to stop: how many were answered, and what failed.
async fn load(
    address: std::net::SocketAddr,
    stop: Arc<AtomicBool>,
    done: Arc<AtomicUsize>,
    keep: bool,
) {
    let mut client = Client::connect(address).await;
    while !stop.load(Ordering::Relaxed) {
        let reply = client.get("/").await;
        assert_eq!(reply.status, 200);
        done.fetch_add(1, Ordering::Relaxed);
        if !keep || reply.header("connection").is_some() {
            client = Client::connect(address).await;
        }
    }
}

#[tokio::test]
async fn the_next_process_takes_over_without_a_lost_request() {
    let origin = Origin::start().await;
    let first = Gateway::start_as(&upgradable(&all_to(&[origin.address]))).await;
    first.write_config(&settled(&first, &upgradable(&all_to(&[origin.address]))));
    let listener = first.address();
    let stop = Arc::new(AtomicBool::new(false));
    let done = Arc::new(AtomicUsize::new(0));
    let loads: Vec<_> = [true, true, false]
        .map(|keep| tokio::spawn(load(listener, Arc::clone(&stop), Arc::clone(&done), keep)))
        .into();
    let mut running = first;
    for _ in 0..3 {
        let before = done.load(Ordering::Relaxed);
        let next = running.upgrade().await;
        assert_eq!(running.ended().await, Some(0), "{}", running.said());
        running = next;
        until("more requests", || async {
            (done.load(Ordering::Relaxed) > before + 50).then_some(())
        })
        .await;
    }
    stop.store(true, Ordering::Relaxed);
    for load in loads {
        load.await.unwrap();
    }
    assert_eq!(running.address(), listener);
    assert_eq!(origin.seen().len(), done.load(Ordering::Relaxed));
}

#[tokio::test]
async fn a_websocket_outlives_the_hand_over_by_its_time() {
    let origin = ByHand::start().await;
    let config = format!("drain = {{ upgraded = \"500ms\" }}\n{}", all_to(&[origin.address]));
    let mut old = Gateway::start_as(&upgradable(&config)).await;
    let (mut client, mut server) = websocket(&old, &origin).await;
    old.write_config(&settled(&old, &upgradable(&config)));
    let next = old.upgrade().await;
    client.send_bytes(b"\x81\x82\0\0\0\0hi").await;
    assert_eq!(server.read_exactly(8).await, b"\x81\x82\0\0\0\0hi", "still there");
    let (_client, _server) = websocket(&next, &origin).await;
    assert_eq!(client.rest().await, b"\x88\x02\x03\xe9");
    drop(client);
    assert_eq!(old.ended().await, Some(0));
}

#[tokio::test]
async fn an_upgrade_that_fails_leaves_the_running_process_alone() {
    let mut gateway =
        Gateway::start_as(&upgradable("[[routes]]\npath = \"/\"\nrespond = { body = \"old\" }\n"))
            .await;
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let new = "[[routes]]\npath = \"/\"\nrespond = { body = \"new\" }\n";
    let good = settled(&gateway, &upgradable(new));
    for (config, why) in [
        (good.replace("respond", "resond"), "unknown key"),
        (
            format!("{good}[[listeners]]\naddress = \"{}\"\n", taken.local_addr().unwrap()),
            "cannot listen on",
        ),
        (good.replace("handover = \"handover/socket\"\n", ""), "server.handover"),
    ] {
        gateway.write_config(&config);
        let (code, said) = gateway.beside(&["run", "--upgrade"]).await;
        assert_eq!((code, said.lines().count()), (Some(1), 1), "{said}");
        assert!(said.contains(why), "{said}");
        assert_eq!(word_of(&gateway).await, "old");
    }
    let nobody = good.replace("handover/socket", "nobody/socket");
    gateway.write_config(&nobody);
    let (code, said) = gateway.beside(&["run", "--upgrade"]).await;
    assert_eq!((code, said.contains("no running gateway answers")), (Some(2), true), "{said}");
    // And one that works still can.
    gateway.write_config(&good);
    let next = gateway.upgrade().await;
    assert_eq!(next.address(), gateway.address());
    assert_eq!(gateway.ended().await, Some(0));
    assert_eq!(word_of(&next).await, "new");
}

#[tokio::test]
async fn what_cannot_start_says_so_in_one_line() {
    let gateway = Gateway::start_as(&saying("here")).await;
    let taken = gateway.address();
    let key = rcgen::KeyPair::generate().unwrap().serialize_pem();
    std::fs::write(gateway.folder().join("key.pem"), key).unwrap();
    std::fs::write(gateway.folder().join("empty.pem"), "").unwrap();
    let tls = |cert: &str| {
        format!(
            "[[listeners]]\naddress = \"127.0.0.1:0\"\ntls = {{ certificates = [{{ cert = \"{cert}\", key = \"key.pem\" }}] }}\n"
        )
    };
    for (config, why) in [
        (LISTENER.replace("127.0.0.1:0", &taken.to_string()), "cannot listen on"),
        (format!("{LISTENER}[admin]\naddress = \"{taken}\"\n"), "cannot listen on"),
        (tls("absent.pem"), "absent.pem"),
        (tls("empty.pem"), "empty.pem"),
        (format!("{LISTENER}[access-log]\nfile = \"absent/access.log\"\n"), "absent is not there"),
    ] {
        gateway.write_config(&config);
        let (code, said) = gateway.beside(&["run"]).await;
        assert_eq!((code, said.lines().count()), (Some(1), 1), "{config}: {said}");
        assert!(said.contains(why), "{said}");
    }
    let (code, said) = gateway.beside(&["run", "--config", "."]).await;
    assert_eq!((code, said.lines().count()), (Some(1), 1), "{said}");
    assert_eq!(word_of(&gateway).await, "here");
}

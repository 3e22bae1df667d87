//! Failures stay small: retries, hedges, breakers, limits, fallbacks, deadlines and stickiness in traffic (issue 5).

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::cognitive_complexity,
    clippy::excessive_nesting,
    reason = "tests"
)]

mod rig;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rig::origin::{HOLD, ok};
use rig::{Client, Gateway, Origin, until, upstream};
use tokio::time::Instant;

const ROUTE: &str = "[[routes]]\nname = \"all\"\npath = \"/{*rest}\"\nupstream = \"origin\"\n";

async fn before(origins: &[&Origin], keys: &str) -> Gateway {
    let addresses: Vec<SocketAddr> = origins.iter().map(|origin| origin.address).collect();
    Gateway::start_single(&format!("{}{ROUTE}", upstream(&addresses, keys))).await
}

fn status(status: u16, fields: &str) -> Vec<u8> {
    format!("HTTP/1.1 {status} Said\r\n{fields}Content-Length: 0\r\n\r\n").into_bytes()
}

async fn unavailable() -> Origin {
    Origin::answering(|_| status(503, "")).await
}

fn reason(reply: &rig::Reply) -> String {
    reply.json()["reason"].as_str().unwrap().to_owned()
}

async fn asked(client: &mut Client, method: &str, body: &str) -> rig::Reply {
    let length = body.len();
    client
        .send(&format!("{method} / HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n{body}"))
        .await;
    client.reply().await
}

#[tokio::test]
async fn a_safe_request_goes_to_another_server_after_503() {
    let (bad, good) = (unavailable().await, Origin::start().await);
    let gateway = before(&[&bad, &good], "ejection = { at-most = 0 }").await;
    let mut client = gateway.connect().await;
    for _ in 0..10 {
        assert_eq!(client.get("/").await.status, 200);
    }
    assert_eq!((bad.seen().len(), good.seen().len()), (5, 10));
    assert_eq!(gateway.metric("gateway_upstream_retries_total{upstream=\"origin\"}").await, 5.0);
}

#[tokio::test]
async fn what_is_not_idempotent_is_not_sent_again() {
    let (bad, good) = (unavailable().await, Origin::start().await);
    let gateway = before(&[&bad, &good], "ejection = { at-most = 0 }").await;
    let mut client = gateway.connect().await;
    let mut statuses = Vec::new();
    for _ in 0..4 {
        statuses.push(asked(&mut client, "POST", "hello").await.status);
    }
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 200, 503, 503]);
    assert_eq!((bad.seen().len(), good.seen().len()), (2, 2));
}

#[tokio::test]
async fn a_short_body_of_an_idempotent_request_is_kept_for_another_try() {
    let bad = unavailable().await;
    let good = Origin::answering(|seen| ok(&String::from_utf8_lossy(&seen.body))).await;
    let keys = "ejection = { at-most = 0 }\nretry = { body = \"16B\" }";
    let gateway = before(&[&bad, &good], keys).await;
    let mut client = gateway.connect().await;
    for _ in 0..2 {
        assert_eq!(asked(&mut client, "PUT", "short").await.text(), "short");
    }
    assert_eq!(bad.only().body, b"short");
    let long = "x".repeat(17);
    let statuses = [
        asked(&mut client, "PUT", &long).await.status,
        asked(&mut client, "PUT", &long).await.status,
    ];
    assert_eq!(statuses.iter().filter(|status| **status == 503).count(), 1, "{statuses:?}");
}

#[tokio::test]
async fn a_server_that_says_when_to_come_again_is_believed() {
    let bad = Origin::answering(|_| status(503, "Retry-After: 30\r\n")).await;
    let other = Origin::start().await;
    let gateway = before(&[&bad, &other], "ejection = { at-most = 0 }").await;
    let mut client = gateway.connect().await;
    let replies = [client.get("/").await, client.get("/").await];
    let refused: Vec<_> = replies.iter().filter(|reply| reply.status == 503).collect();
    assert_eq!((refused.len(), refused[0].header("retry-after")), (1, Some("30")));
    assert_eq!((bad.seen().len(), other.seen().len()), (1, 1));
}

#[tokio::test]
async fn a_storm_of_retries_is_held_by_the_budget() {
    let (one, other) = (unavailable().await, unavailable().await);
    let keys = "ejection = { at-most = 0 }\nretry = { budget = 0.2, floor = 0 }";
    let gateway = before(&[&one, &other], keys).await;
    let mut client = gateway.connect().await;
    for _ in 0..500 {
        assert_eq!(client.get("/").await.status, 503);
    }
    let sent = one.seen().len() + other.seen().len();
    assert!((590..=600).contains(&sent), "{sent} requests at the servers for 500");
}

#[tokio::test]
async fn one_that_fails_in_a_row_is_taken_out_and_comes_back() {
    let bad = Origin::answering(|_| status(500, "")).await;
    let good = [Origin::start().await, Origin::start().await, Origin::start().await];
    let keys = "ejection = { base = \"300ms\", max = \"300ms\" }";
    let gateway = before(&[&bad, &good[0], &good[1], &good[2]], keys).await;
    let mut client = gateway.connect().await;
    let mut failed = 0;
    for _ in 0..100 {
        failed += u32::from(client.get("/").await.status == 500);
    }
    assert_eq!(failed, 5, "as many as in a row");
    gateway.has_said("is taken out: 5 failures in a row").await;
    gateway.has_said("is tried with a few requests").await;
    let seen = bad.seen().len();
    until("a request to try it", || async {
        gateway.connect().await.get("/").await;
        (bad.seen().len() > seen).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_request_that_waits_for_a_server_that_hangs_goes_to_another() {
    let hanging = Origin::answering(|_| HOLD.to_vec()).await;
    let good = [Origin::start().await, Origin::start().await, Origin::start().await];
    let gateway = before(&[&hanging, &good[0], &good[1], &good[2]], "").await;
    let began = Instant::now();
    let mut clients = tokio::task::JoinSet::new();
    // At a steady rate, whatever becomes of those before: the others must go on answering to be compared with.
    for _ in 0..400 {
        let mut client = gateway.connect().await;
        clients.spawn(async move { client.get("/").await.status });
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let statuses = clients.join_all().await;
    assert!(statuses.iter().all(|status| *status == 200), "{statuses:?}");
    assert!(hanging.seen().len() > 10, "{}", hanging.seen().len());
    assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
    gateway.has_said("it has answered nothing").await;
}

#[tokio::test]
async fn a_slow_request_is_hedged() {
    let slow = Origin::answering(|_| HOLD.to_vec()).await;
    let quick = Origin::start().await;
    let gateway = before(&[&slow, &quick], "hedge = { after = \"50ms\" }").await;
    let mut client = gateway.connect().await;
    for _ in 0..4 {
        assert_eq!(client.get("/").await.status, 200);
    }
    assert_eq!((slow.seen().len(), quick.seen().len()), (2, 4));
    assert_eq!(gateway.metric("gateway_upstream_hedges_total{upstream=\"origin\"}").await, 2.0);
    for _ in 0..2 {
        // One of them goes to the slow server, and stays there.
        let mut client = gateway.connect().await;
        client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n").await;
        tokio::spawn(async move { client.rest().await });
    }
    until("both arrive", || async { (slow.seen().len() + quick.seen().len() == 8).then_some(()) })
        .await;
    tokio::time::sleep(Duration::from_millis(150)).await;
    assert_eq!((slow.seen().len(), quick.seen().len()), (3, 5), "only what is safe is hedged");
}

#[tokio::test]
async fn a_breaker_opens_answers_at_once_and_closes_again() {
    let answer = |seen: &rig::Seen| match seen.line().contains("/bad") {
        true => status(500, ""),
        false => ok("well"),
    };
    let origin = Origin::answering(answer).await;
    let keys =
        "circuit-breaker = { error-rate = 0.5, minimum = 10, open-for = \"400ms\", probes = 2 }";
    let gateway = before(&[&origin], keys).await;
    let mut client = gateway.connect().await;
    for _ in 0..10 {
        assert_eq!(client.get("/bad").await.status, 500);
    }
    let open = client.get("/").await;
    assert_eq!((open.status, reason(&open).as_str()), (503, "circuit-open"));
    assert_eq!(open.header("retry-after"), Some("1"));
    assert_eq!(origin.seen().len(), 10);
    let now = gateway.admin_get("/api/v1/upstreams").await.json();
    let shown = (&now["upstreams"][0]["circuit"], &now["upstreams"][0]["circuit_opened"]);
    assert_eq!(shown, (&"open".into(), &1.into()), "{now}");
    gateway.has_said("upstream origin: the circuit breaker opens: 10 of 10 calls failed").await;
    until("it closes", || async {
        (gateway.connect().await.get("/").await.status == 200).then_some(())
    })
    .await;
    assert_eq!(client.get("/").await.status, 200);
    gateway.has_said("the circuit breaker closes").await;
}

#[tokio::test]
async fn a_fallback_answers_when_nobody_else_does() {
    let other = Origin::start().await;
    let nobody = rig::ByHand::start().await.address;
    let config = format!(
        "[upstreams.down]\nservers = [\"{nobody}\"]\nfallback = {{ upstream = \"other\" }}\n\
         [upstreams.other]\nservers = [\"{}\"]\n\
         [[routes]]\npath = \"/other\"\nupstream = \"down\"\n\
         [[routes]]\npath = \"/fixed\"\nupstream = \"down\"\n\
         fallback = {{ status = 200, body = \"[]\", content-type = \"application/json\" }}\n",
        other.address
    );
    let gateway = Gateway::start_single(&config).await;
    let mut client = gateway.connect().await;
    assert_eq!(client.get("/other").await.text(), "GET /other HTTP/1.1");
    assert_eq!(asked_at(&mut client, "POST", "/other", "body").await, 200);
    assert_eq!(other.seen()[1].body, b"body");
    let fixed = client.get("/fixed").await;
    assert_eq!((fixed.status, fixed.text().as_str()), (200, "[]"));
    assert_eq!(fixed.header("content-type"), Some("application/json"));
}

async fn asked_at(client: &mut Client, method: &str, path: &str, body: &str) -> u16 {
    let length = body.len();
    client
        .send(&format!(
            "{method} {path} HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n{body}"
        ))
        .await;
    client.reply().await.status
}

#[tokio::test]
async fn beyond_the_limit_one_waits_or_is_refused() {
    let origin = Origin::answering(|_| HOLD.to_vec()).await;
    let keys = "limit = { in-flight = 1, queue = 1, queue-time = \"3s\" }";
    let series = |what: &str| format!("gateway_limit_{what}{{kind=\"upstream\",name=\"origin\"}}");
    let gateway = before(&[&origin], keys).await;
    let mut holding = gateway.connect().await;
    holding.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    until("it is held", || async { (!origin.seen().is_empty()).then_some(()) }).await;
    let mut waiting = gateway.connect().await;
    let began = Instant::now();
    waiting.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    until("one waits", || async {
        let waiting = gateway.metric(&series("waiting")).await;
        (waiting == 1.0).then_some(())
    })
    .await;
    let full = gateway.connect().await.get("/").await;
    assert_eq!((full.status, reason(&full).as_str()), (503, "limit-full"));
    let late = waiting.reply().await;
    assert_eq!((late.status, reason(&late).as_str()), (503, "limit-waited"));
    assert!(began.elapsed() >= Duration::from_secs(3));
    assert_eq!(origin.seen().len(), 1);
    // The place is given back with the request that held it.
    drop(holding);
    let mut answering = gateway.connect().await;
    answering.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    until("the next one is let in", || async { (origin.seen().len() == 2).then_some(()) }).await;
}

#[tokio::test]
async fn what_the_client_waits_for_is_told_to_the_server() {
    let origin = Origin::answering(|seen| match seen.line().contains("/hold") {
        true => HOLD.to_vec(),
        false => ok(""),
    })
    .await;
    let gateway = before(&[&origin], "").await;
    let mut client = gateway.connect().await;
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as u64;
    let deadline = now() + 5_000;
    let head = |path: &str, fields: &str| format!("GET {path} HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
    client.send(&head("/", &format!("X-Request-Deadline: {deadline}\r\n"))).await;
    assert_eq!(client.reply().await.status, 200);
    let told: u64 = origin.only().header("x-request-deadline").unwrap().parse().unwrap();
    assert!(told.abs_diff(deadline) < 100, "{told} for {deadline}");
    let began = Instant::now();
    client.send(&head("/hold", &format!("X-Request-Deadline: {}\r\n", now() + 300))).await;
    let late = client.reply().await;
    assert_eq!((late.status, reason(&late).as_str()), (504, "deadline"));
    assert!(began.elapsed() < Duration::from_secs(2));
    client.send(&head("/", "X-Request-Deadline: 1\r\n")).await;
    assert_eq!(client.reply().await.status, 504);
    assert_eq!(origin.seen().len(), 2, "it was too late to ask anybody");
}

#[tokio::test]
async fn the_same_key_goes_to_the_same_server() {
    let origins = [Origin::start().await, Origin::start().await, Origin::start().await];
    let all = [&origins[0], &origins[1], &origins[2]];
    let hash = "balance = { consistent-hash = { by = \"header:x-user\" } }";
    let gateway = before(&all, hash).await;
    let mut client = gateway.connect().await;
    for user in 0..30 {
        for _ in 0..3 {
            client
                .send(&format!("GET /{user} HTTP/1.1\r\nHost: a\r\nX-User: {user}\r\n\r\n"))
                .await;
            assert_eq!(client.reply().await.status, 200);
        }
    }
    let mut places: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for (place, origin) in origins.iter().enumerate() {
        assert!(!origin.seen().is_empty(), "number {place} has no users");
        for seen in origin.seen() {
            places.entry(seen.header("x-user").unwrap().to_owned()).or_default().push(place);
        }
    }
    for (user, places) in places {
        assert!(places.len() == 3 && places.iter().all(|place| *place == places[0]), "{user}");
    }
}

#[tokio::test]
async fn a_client_stays_with_its_server_by_a_cookie() {
    let origins = [Origin::start().await, Origin::start().await];
    let gateway =
        before(&[&origins[0], &origins[1]], "sticky = { cookie = \"place\", ttl = \"1h\" }").await;
    let mut client = gateway.connect().await;
    let first = client.get("/").await;
    let set = first.header("set-cookie").unwrap().to_owned();
    assert!(set.ends_with("; Path=/; HttpOnly; SameSite=Lax; Max-Age=3600"), "{set}");
    let cookie = set.split(';').next().unwrap();
    for _ in 0..5 {
        client.send(&format!("GET / HTTP/1.1\r\nHost: a\r\nCookie: a=b; {cookie}\r\n\r\n")).await;
        assert_eq!(client.reply().await.status, 200);
    }
    let mut counts = origins.each_ref().map(|origin| origin.seen().len());
    counts.sort_unstable();
    assert_eq!(counts, [0, 6]);
}

#[tokio::test]
async fn a_subset_is_chosen_by_the_request() {
    let (eu, us) = (Origin::start().await, Origin::start().await);
    let config = |otherwise: &str| {
        format!(
            "[upstreams.origin]\nservers = [{{ address = \"{}\", labels = {{ region = \"eu\" }} }}, \
             {{ address = \"{}\", labels = {{ region = \"us\" }} }}]\n\
             subset = {{ by = \"path:region\", label = \"region\", otherwise = \"{otherwise}\" }}\n\
             [[routes]]\npath = \"/{{region}}/news\"\nupstream = \"origin\"\n",
            eu.address, us.address
        )
    };
    let gateway = Gateway::start_single(&config("none")).await;
    let mut client = gateway.connect().await;
    for _ in 0..3 {
        assert_eq!(client.get("/eu/news").await.status, 200);
    }
    assert_eq!((eu.seen().len(), us.seen().len()), (3, 0));
    let nowhere = client.get("/mars/news").await;
    assert_eq!((nowhere.status, reason(&nowhere).as_str()), (503, "no-server"));
    let gateway = Gateway::start_single(&config("any")).await;
    assert_eq!(gateway.connect().await.get("/mars/news").await.status, 200);
}

#[tokio::test]
async fn under_pressure_the_least_important_goes_first() {
    let origin = Origin::start().await;
    let route = |name: &str, criticality: &str| {
        format!("[[routes]]\npath = \"/{name}\"\nupstream = \"origin\"\n{criticality}\n")
    };
    let config = format!(
        "[limits]\nconnections = 40\n[overload]\nconnections = 0.5\nmemory = \"none\"\ndescriptors = \"none\"\n\
         loop-delay = \"none\"\n{}{}{}{}",
        upstream(&[origin.address], ""),
        route("pay", "criticality = \"critical\""),
        route("read", ""),
        route("suggest", "criticality = \"sheddable\""),
    );
    let gateway = Gateway::start_single(&config).await;
    let mut clients = Vec::new();
    for _ in 0..32 {
        clients.push(gateway.connect().await);
    }
    gateway.has_said("no-keep-alive to shed-sheddable (connections").await;
    let shed = clients[0].get("/suggest").await;
    assert_eq!((shed.status, reason(&shed).as_str()), (503, "shed"));
    assert_eq!(shed.header("connection"), Some("close"));
    let statuses = [clients[1].get("/read").await.status, clients[2].get("/pay").await.status];
    assert_eq!(statuses, [200, 200]);
    for _ in 0..6 {
        clients.push(gateway.connect().await);
    }
    gateway.has_said("shed-sheddable to shed-normal").await;
    let statuses = [clients[3].get("/read").await.status, clients[4].get("/pay").await.status];
    assert_eq!(statuses, [503, 200]);
    drop(clients);
    gateway.has_said("no-keep-alive to normal").await;
    assert_eq!(gateway.connect().await.get("/suggest").await.status, 200);
}

#[tokio::test]
async fn a_route_s_breaker_opens_when_its_servers_cannot_be_reached() {
    let nobody = rig::ByHand::start().await.address;
    let keys = "circuit-breaker = { error-rate = 0.5, minimum = 5, open-for = \"30s\" }\n";
    let gateway = Gateway::start_single(&format!("{}{ROUTE}{keys}", upstream(&[nobody], ""))).await;
    let mut client = gateway.connect().await;
    for _ in 0..5 {
        assert_eq!(client.get("/").await.status, 502);
    }
    assert_eq!(reason(&client.get("/").await), "circuit-open");
}

#[tokio::test]
async fn a_body_that_is_kept_uses_up_the_time_of_its_request_and_not_its_server_s() {
    let origin = Origin::start().await;
    let logged = "[access-log]\nfile = \"access.log\"\nflush = \"10ms\"\n";
    let config = format!("{logged}{}{ROUTE}timeout = \"600ms\"\n", upstream(&[origin.address], ""));
    let gateway = Gateway::start_single(&config).await;
    let mut client = gateway.connect().await;
    let head = "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\n";
    for _ in 0..2 {
        client.send(&format!("{head}ab")).await;
        tokio::time::sleep(Duration::from_millis(250)).await;
        client.send("cd").await;
        assert_eq!(client.reply().await.status, 200);
    }
    let line = gateway.log_of(2).await.remove(1);
    assert!(line["upstream_ms"].as_f64().unwrap() < 200.0, "{line}");
    client.send(&format!("{head}ab")).await;
    let late = client.reply().await;
    assert_eq!((late.status, reason(&late).as_str()), (504, "deadline"));
    assert_eq!(origin.seen().len(), 2);
}

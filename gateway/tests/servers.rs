//! What the admin sees of servers and does with them: their state, drain, and who would get a request (issue 5).

#![allow(clippy::unwrap_used, clippy::panic, clippy::cognitive_complexity, reason = "tests")]

mod rig;

use std::net::SocketAddr;

use rig::gateway::{ADMIN, LISTENER};
use rig::origin::ok;
use rig::{ByHand, Client, Gateway, Origin, until, upstream};
use serde_json::{Value, json};
use tokio::process::Command;

const ROUTE: &str = "[[routes]]\nname = \"all\"\npath = \"/{*rest}\"\nupstream = \"origin\"\n";
/// So that shares are whole at once, and nobody is taken out or asked twice.
const PLAIN: &str = "slow-start = \"0s\"\nejection = { at-most = 0 }\nretry = { attempts = 1 }\n";

fn config(servers: &[SocketAddr], keys: &str) -> String {
    format!("{}{ROUTE}", upstream(servers, &format!("{PLAIN}{keys}")))
}

/// Servers that greet.
async fn origins<const N: usize>() -> [Origin; N] {
    let mut origins = Vec::new();
    for _ in 0..N {
        origins.push(Origin::answering(|_| ok("hello")).await);
    }
    origins.try_into().unwrap_or_else(|_| panic!("not so many"))
}

/// The server that answers a request.
async fn server_of(gateway: &Gateway, origins: &[Origin], request: &str) -> String {
    let before: Vec<usize> = origins.iter().map(|origin| origin.seen().len()).collect();
    let mut client = gateway.connect().await;
    client.send(request).await;
    assert_eq!(client.reply().await.status, 200);
    idle(gateway).await;
    let mut after = origins.iter().zip(before);
    let (asked, _) = after.find(|(origin, before)| origin.seen().len() > *before).unwrap();
    asked.address.to_string()
}

/// Waits until the gateway is done with all requests: a client may have its response a moment before.
async fn idle(gateway: &Gateway) {
    until("nothing to be in flight", || async {
        let now = seen(gateway).await;
        let servers = now["servers"].as_array().unwrap();
        servers.iter().all(|server| server["in_flight"] == 0).then_some(())
    })
    .await;
}

async fn order(gateway: &Gateway, server: &str, order: &str) -> (u16, Value) {
    let path = format!("/api/v1/upstreams/origin/servers/{server}/{order}");
    let reply = gateway.admin_post(&path, "").await;
    (reply.status, reply.json())
}

async fn explain(gateway: &Gateway, question: Value) -> Value {
    let reply = gateway.admin_post("/api/v1/explain", &question.to_string()).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    reply.json()
}

/// The upstream as `GET /api/v1/upstreams` tells it.
async fn seen(gateway: &Gateway) -> Value {
    gateway.admin_get("/api/v1/upstreams").await.json()["upstreams"][0].clone()
}

/// What the program prints when it is asked about this gateway, whose admin address is known only now.
async fn printed(gateway: &Gateway, config: &str, arguments: &[&str]) -> String {
    let admin = gateway.admin.unwrap().to_string();
    let text = format!("{LISTENER}{}{config}", ADMIN.replace("127.0.0.1:0", &admin));
    std::fs::write(gateway.folder().join("asking.toml"), text).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_gateway"));
    command.args(["--config", "asking.toml"]).args(arguments).current_dir(gateway.folder());
    let output =
        rig::soon("the program to end", command.kill_on_drop(true).output()).await.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test]
async fn a_drained_server_ends_what_it_has_begun_and_gets_nothing_new() {
    let (leaving, [staying]) = (ByHand::start().await, origins().await);
    let config = config(&[leaving.address, staying.address], "");
    let gateway = Gateway::start_as(&format!("{LISTENER}{ADMIN}{config}")).await;
    // Of two requests one is the leaving server's turn.
    let mut clients = Vec::new();
    for _ in 0..2 {
        let mut client: Client = gateway.connect().await;
        client.send("GET /begun HTTP/1.1\r\nHost: a\r\n\r\n").await;
        clients.push(client);
    }
    let mut server = leaving.accept().await;
    server.head().await;

    let (status, answer) = order(&gateway, &leaving.address.to_string(), "drain").await;
    assert_eq!((status, &answer["upstream"]), (200, &"origin".into()), "{answer}");
    let now = &answer["servers"][0];
    assert_eq!((&now["switch"], &now["in_flight"]), (&"draining".into(), &1.into()), "{now}");
    assert_eq!((&now["takes_part"], &now["verdict"]), (&false.into(), &"out: draining".into()));
    until("the other request to have ended", || async {
        (staying.seen().len() == 1).then_some(())
    })
    .await;

    let all_stay = async || {
        for _ in 0..4 {
            let mut client = gateway.connect().await;
            assert_eq!(client.get("/new").await.text(), "hello");
        }
    };
    all_stay().await;
    let said = printed(&gateway, &config, &["status"]).await;
    assert!(said.contains("upstream    origin: 1 of 2 servers take part\n"), "{said}");
    let line = format!("  {} out: draining; 1 in flight\n", leaving.address);
    assert!(said.contains(&line), "{said}");
    gateway
        .has_said(&format!("upstream origin: {} is draining by the admin", leaving.address))
        .await;

    // A reload that builds the upstream anew, too, leaves it as it is.
    let changed =
        format!("{LISTENER}{ADMIN}{config}").replace("slow-start", "panic-below = 0.3\nslow-start");
    gateway.write_config(&changed);
    assert_eq!(gateway.admin_post("/api/v1/config/reload", "").await.status, 200);
    all_stay().await;
    let server_now = &seen(&gateway).await["servers"][0];
    assert_eq!((&server_now["switch"], &server_now["in_flight"]), (&"draining".into(), &1.into()));

    server.send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nended").await;
    let mut bodies = Vec::new();
    for client in &mut clients {
        bodies.push(client.reply().await.text());
    }
    bodies.sort();
    assert_eq!(bodies, ["ended", "hello"]);
    idle(&gateway).await;

    let (_, answer) = order(&gateway, &leaving.address.to_string(), "enable").await;
    assert_eq!(answer["servers"][0]["verdict"], "in: 50.0 % of the traffic, up");
    assert_eq!(answer["servers"][0]["switch"], "enabled");
}

#[tokio::test]
async fn who_is_disabled_is_not_used_even_if_nobody_else_is_there() {
    let [only] = origins().await;
    let gateway = Gateway::start(&config(&[only.address], "")).await;
    let address = only.address.to_string();
    assert_eq!(order(&gateway, &address, "disable").await.1["servers"][0]["state"], "disabled");
    assert_eq!(gateway.connect().await.get("/").await.status, 503);
    let takes_part = |state: &str| {
        format!(
            "gateway_server_takes_part{{upstream=\"origin\",server=\"{address}\",state=\"{state}\"}}"
        )
    };
    let metrics = gateway.admin_get("/metrics").await.text();
    assert!(metrics.contains(&format!("{} 0\n", takes_part("disabled"))), "{metrics}");
    order(&gateway, &address, "enable").await;
    assert_eq!(gateway.connect().await.get("/").await.status, 200);
    assert_eq!(gateway.metric(&takes_part("up")).await, 1.0);
}

#[tokio::test]
async fn a_server_is_called_by_its_name_and_unknown_ones_are_told() {
    let [origin] = origins().await;
    let port = origin.address.port();
    let named = format!(
        "[upstreams.origin]\nservers = [\"localhost:{port}\", \"127.0.0.1:{port}\"]\n{PLAIN}{ROUTE}"
    );
    let gateway = Gateway::start(&named).await;
    let (status, answer) = order(&gateway, &format!("localhost:{port}"), "drain").await;
    assert_eq!(status, 200, "{answer}");
    let servers = answer["servers"].as_array().unwrap();
    assert!(servers.iter().all(|server| server["name"] == format!("localhost:{port}")), "{answer}");
    // The same address stands in the list by itself: that one is still used, and metrics show the address once.
    assert_eq!(gateway.connect().await.get("/").await.status, 200);
    let series =
        format!("gateway_server_takes_part{{upstream=\"origin\",server=\"127.0.0.1:{port}\"");
    let metrics = gateway.admin_get("/metrics").await.text();
    let lines: Vec<_> = metrics.lines().filter(|line| line.starts_with(&series)).collect();
    assert_eq!(lines, [format!("{series},state=\"up\"}} 1")]);
    assert_eq!(order(&gateway, "127.0.0.1:1", "drain").await.0, 404);
    assert_eq!(order(&gateway, "localhost", "drain").await.0, 404);
    let path = format!("/api/v1/upstreams/others/servers/127.0.0.1:{port}/drain");
    assert_eq!(gateway.admin_post(&path, "").await.status, 404);
    let path = format!("/api/v1/upstreams/origin/servers/127.0.0.1:{port}/drain");
    assert_eq!(gateway.admin_get(&path).await.status, 405);
}

#[tokio::test]
async fn who_is_ejected_shows_with_its_reason() {
    let busy = b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n";
    let bad = Origin::answering(|_| busy.to_vec()).await;
    let [good] = origins().await;
    let gateway =
        Gateway::start_single(&format!("{}{ROUTE}", upstream(&[bad.address, good.address], "")))
            .await;
    let mut client = gateway.connect().await;
    for _ in 0..30 {
        assert_eq!(client.get("/").await.status, 200);
    }
    let now = seen(&gateway).await;
    let server = &now["servers"][0];
    assert_eq!(
        (&server["state"], &server["standing"]["state"]),
        (&"ejected".into(), &"out".into())
    );
    assert_eq!(server["standing"]["reason"], "5 failures in a row", "{server}");
    assert_eq!(server["standing"]["ejections"], 1);
    let out_for = server["standing"]["out_for_seconds"].as_f64().unwrap();
    assert!(out_for > 0.0 && out_for <= 5.0, "{out_for}");
    let verdict = server["verdict"].as_str().unwrap();
    assert!(
        verdict.starts_with("out: ejected for bad answers (5 failures in a row); tried again in "),
        "{verdict}"
    );
    assert_eq!(now["ejections"], json!([{ "reason": "failures", "count": 1 }]));
    assert_eq!(now["groups"][0]["healthy"], 0.5);
    assert_eq!(now["servers"][1]["share"], 1.0);
    let address = bad.address;
    let takes_part = format!(
        "gateway_server_takes_part{{upstream=\"origin\",server=\"{address}\",state=\"ejected\"}} 0"
    );
    let metrics = gateway.admin_get("/metrics").await.text();
    assert!(metrics.contains(&takes_part), "{metrics}");
    assert!(
        metrics.contains(
            "gateway_upstream_ejections_total{upstream=\"origin\",reason=\"failures\"} 1"
        )
    );
    assert_eq!(gateway.metric("gateway_upstream_retries_total{upstream=\"origin\"}").await, 5.0);
}

#[tokio::test]
async fn times_are_shown_where_the_balance_asks_for_them() {
    let [one] = origins().await;
    for (balance, is_shown) in [("least-time", true), ("round-robin", false)] {
        let gateway =
            Gateway::start(&config(&[one.address], &format!("balance = \"{balance}\""))).await;
        assert!(seen(&gateway).await["servers"][0]["latency_seconds"].is_null());
        gateway.connect().await.get("/").await;
        idle(&gateway).await;
        let shown = seen(&gateway).await["servers"][0]["latency_seconds"].as_f64();
        assert_eq!(shown.is_some_and(|seconds| seconds > 0.0 && seconds < 20.0), is_shown);
        let metrics = gateway.admin_get("/metrics").await.text();
        assert_eq!(metrics.contains("gateway_server_latency_seconds{"), is_shown);
    }
}

#[tokio::test]
async fn what_would_be_picked_is_what_is_picked() {
    let origins: [Origin; 4] = origins().await;
    let addresses: Vec<SocketAddr> = origins.iter().map(|origin| origin.address).collect();
    let keys = "balance = { consistent-hash = { by = \"header:x-user\", bounded-load = 1.25 } }";
    let gateway = Gateway::start(&config(&addresses, keys)).await;
    let mut picked = std::collections::BTreeSet::new();
    for user in 0..20 {
        let question = json!({ "url": "/", "headers": [format!("x-user: {user}")] });
        let live = explain(&gateway, question).await["live"].clone();
        let expected = live["server"].as_str().unwrap().to_owned();
        let request = format!("GET / HTTP/1.1\r\nHost: a\r\nX-User: {user}\r\n\r\n");
        assert_eq!(server_of(&gateway, &origins, &request).await, expected, "user {user}");
        assert_eq!(live["chosen_by"], "the hash of the header x-user, among servers with room");
        picked.insert(expected);
    }
    assert!(picked.len() > 2, "{picked:?}");
    let live = explain(&gateway, json!({ "url": "/" })).await["live"].clone();
    assert_eq!(live["server"], Value::Null);
    assert_eq!(live["chosen_by"], "the less busy of two, because the header x-user is not there");
    let chances = live["servers"].as_array().unwrap().iter();
    for chance in chances.map(|server| server["chance"].as_f64().unwrap()) {
        assert!((0.2..0.3).contains(&chance), "{live}");
    }
}

#[tokio::test]
async fn explaining_takes_no_turn() {
    let origins: [Origin; 2] = origins().await;
    let addresses = [origins[0].address, origins[1].address];
    let gateway = Gateway::start_single(&config(&addresses, "")).await;
    let request = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    let mut before = server_of(&gateway, &origins, request).await;
    for _ in 0..6 {
        let live = explain(&gateway, json!({ "url": "/" })).await["live"].clone();
        assert_eq!((&live["server"], &live["servers"][0]["chance"]), (&Value::Null, &0.5.into()));
        assert_eq!(live["chosen_by"], "turns, by weight");
        let next = server_of(&gateway, &origins, request).await;
        assert_ne!(next, before);
        before = next;
    }
    order(&gateway, &addresses[0].to_string(), "drain").await;
    let live = explain(&gateway, json!({ "url": "/" })).await["live"].clone();
    assert_eq!(live["server"], addresses[1].to_string(), "only one is left: {live}");
    assert_eq!(live["servers"][0]["verdict"], "out: draining");
    assert_eq!(seen(&gateway).await["servers"][1]["in_flight"], 0, "nobody is asked");
}

#[tokio::test]
async fn a_sticky_cookie_and_a_subset_count() {
    let origins: [Origin; 3] = origins().await;
    let [one, two, three] = [0, 1, 2].map(|index: usize| origins[index].address);
    let server = |address: SocketAddr, region: &str| {
        format!("{{ address = \"{address}\", labels = {{ region = \"{region}\" }} }}")
    };
    let servers = [server(one, "eu"), server(two, "eu"), server(three, "us")].join(", ");
    let text = format!(
        "[upstreams.origin]\nservers = [{servers}]\n{PLAIN}sticky = {{ cookie = \"its\" }}\n\
         subset = {{ by = \"path:region\", label = \"region\", otherwise = \"none\" }}\n\
         [[routes]]\nname = \"all\"\npath = \"/{{region}}/{{*rest}}\"\nupstream = \"origin\"\n"
    );
    let gateway = Gateway::start_single(&text).await;
    let live = explain(&gateway, json!({ "url": "/us/x" })).await["live"].clone();
    assert_eq!((&live["server"], &live["subset"]), (&three.to_string().into(), &"us".into()));
    assert_eq!(live["servers"][0]["verdict"], "out: it belongs to another subset");
    let live = explain(&gateway, json!({ "url": "/asia/x" })).await["live"].clone();
    assert_eq!((&live["server"], &live["subset"]), (&Value::Null, &Value::Null));
    assert_eq!(live["chosen_by"], "no server: the path's region names no subset");
    assert_eq!(gateway.connect().await.get("/asia/x").await.status, 503);

    let mut client = gateway.connect().await;
    let reply = client.get("/eu/x").await;
    let cookie = reply.header("set-cookie").unwrap().split(';').next().unwrap().to_owned();
    let question = json!({ "url": "/eu/x", "headers": [format!("cookie: {cookie}")] });
    let live = explain(&gateway, question.clone()).await["live"].clone();
    let request = format!("GET /eu/x HTTP/1.1\r\nHost: a\r\nCookie: {cookie}\r\n\r\n");
    assert_eq!(server_of(&gateway, &origins, &request).await, live["server"].as_str().unwrap());
    assert_eq!(live["chosen_by"], "the cookie its, which names it");
    order(&gateway, live["server"].as_str().unwrap(), "drain").await;
    let after = explain(&gateway, question).await["live"].clone();
    assert_ne!(after["server"], live["server"]);
    let said = "turns, by weight; the cookie its names a server that does not take part";
    assert_eq!(after["chosen_by"], said);
}

#[tokio::test]
async fn the_command_line_tells_it_too() {
    let [one] = origins().await;
    let config = config(&[one.address], "");
    let gateway = Gateway::start_as(&format!("{LISTENER}{ADMIN}{config}")).await;
    let said = printed(&gateway, &config, &["explain", "--live", "GET", "/a"]).await;
    let address = one.address;
    let now = format!(
        "now         {address}, by turns, by weight\n            {address}  100.0 %  \
         in: 100.0 % of the traffic, up; 0 in flight\n"
    );
    assert!(said.starts_with("GET http://localhost/a from 127.0.0.1\n"), "{said}");
    assert!(said.ends_with(&now), "{said}");
    let other = config.replace("name = \"all\"", "name = \"other\"");
    let said = printed(&gateway, &other, &["explain", "--live", "GET", "/a"]).await;
    assert!(
        said.contains(
            "another configuration, it goes to the upstream origin as /a by the route all\n"
        ),
        "{said}"
    );
    let answer = printed(&gateway, &config, &["explain", "--live", "--json", "GET", "/a"]).await;
    let answer: Value = serde_json::from_str(&answer).unwrap();
    assert_eq!(answer["live"]["server"], address.to_string());
    assert_eq!(answer["explanation"]["route"]["name"], "all");
}

#[tokio::test]
async fn what_a_plugin_changes_counts_and_spares_are_told_from_the_rest() {
    let origins: [Origin; 3] = origins().await;
    let [one, two, spare] = [0, 1, 2].map(|index: usize| origins[index].address);
    let text = format!(
        "[upstreams.origin]\nservers = [\"{one}\", \"{two}\", {{ address = \"{spare}\", priority = 1 }}]\n\
         {PLAIN}balance = {{ consistent-hash = {{ by = \"header:x-user\" }} }}\n{ROUTE}\
         plugins = [{{ headers = {{ request = {{ set = {{ x-user = \"everybody\" }} }} }} }}]\n"
    );
    let gateway = Gateway::start(&text).await;
    let mut picked = std::collections::BTreeSet::new();
    for user in 0..10 {
        let question = json!({ "url": "/", "headers": [format!("x-user: {user}")] });
        let live = explain(&gateway, question).await["live"].clone();
        let verdict = "spare: servers of an earlier priority carry all traffic";
        assert_eq!(live["servers"][2]["verdict"], verdict);
        let request = format!("GET / HTTP/1.1\r\nHost: a\r\nX-User: {user}\r\n\r\n");
        let server = server_of(&gateway, &origins, &request).await;
        assert_eq!(live["server"], server, "user {user}");
        picked.insert(server);
    }
    assert_eq!(picked.len(), 1, "the plugin makes them one user: {picked:?}");
    for address in [one, two] {
        order(&gateway, &address.to_string(), "drain").await;
    }
    let live = explain(&gateway, json!({ "url": "/" })).await["live"].clone();
    assert_eq!(live["server"], spare.to_string());
    let groups = seen(&gateway).await["groups"].clone();
    assert_eq!((&groups[0]["share"], &groups[1]["share"]), (&0.0.into(), &1.0.into()), "{groups}");
}

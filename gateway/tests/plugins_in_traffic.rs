//! Each plugin in real traffic: what the server sees, what the client sees, and in which order plugins work.

#![allow(clippy::unwrap_used, clippy::panic, clippy::cognitive_complexity, reason = "tests")]

mod rig;

use rig::origin::ok;
use rig::{ByHand, Client, Gateway, Origin, Reply, all_to, upstream};

/// `alice`, whose password is `correct horse`.
const ALICE: &str = "$argon2id$v=19$m=7168,t=5,p=1$bmV3cyBwb3J0YWwgZWRnZQ$sZc4mlDvBo0ZQ7YugPMOR0wzTXq9EYTFAzp4Ak2VK4s";
const RIGHT: &str = "Authorization: Basic YWxpY2U6Y29ycmVjdCBob3JzZQ==\r\n";
const WRONG: &str = "Authorization: Basic YWxpY2U6d3Jvbmc=\r\n";

async fn with(origin: &Origin, plugins: &str) -> Gateway {
    Gateway::start_single(&format!("{}plugins = [{plugins}]\n", all_to(&[origin.address]))).await
}

async fn ask(gateway: &Gateway, path: &str, fields: &str) -> Reply {
    let mut client = gateway.connect().await;
    client.send(&format!("GET {path} HTTP/1.1\r\nHost: site.example:81\r\n{fields}\r\n")).await;
    client.reply().await
}

fn reason(reply: &Reply) -> (u16, String) {
    (reply.status, reply.json()["reason"].as_str().unwrap().to_owned())
}

#[tokio::test]
async fn headers_are_changed_on_both_ways() {
    let origin = Origin::answering(|_| {
        b"HTTP/1.1 200 OK\r\nServer: secret/1.0\r\nX-Old: kept\r\nContent-Length: 0\r\n\r\n"
            .to_vec()
    })
    .await;
    let gateway = with(
        &origin,
        "{ headers = { request = { set = { x-from = \"{client} of {route}\" }, remove = [\"x-debug\"] }, \
         response = { remove = [\"server\"], rename = { x-old = \"x-new\" }, set = { x-path = \"{path}\" } } } }",
    )
    .await;
    let reply = ask(&gateway, "/some?q", "X-Debug: 1\r\nX-From: me\r\n").await;
    let seen = origin.only();
    assert_eq!((seen.all("x-from"), seen.header("x-debug")), (vec!["127.0.0.1 of all"], None));
    assert_eq!(reply.header("server"), None);
    assert_eq!((reply.header("x-old"), reply.header("x-new")), (None, Some("kept")));
    assert_eq!(reply.header("x-path"), Some("/some"));
}

#[tokio::test]
async fn addresses_are_let_in_or_kept_out() {
    let origin = Origin::start().await;
    let gateway =
        with(&origin, "{ ip = { allow = [\"127.0.0.0/30\"], deny = [\"127.0.0.3\"] } }").await;
    for (source, status) in [("127.0.0.1", 200), ("127.0.0.3", 403), ("127.0.0.9", 403)] {
        let mut client = Client::connect_from(source, gateway.address()).await;
        let reply = client.get("/").await;
        assert_eq!(reply.status, status, "{source}");
        if status == 403 {
            assert_eq!(reason(&reply), (403, "ip-denied".to_owned()));
            assert_eq!(client.get("/").await.status, 403, "the connection goes on");
        }
    }
    assert_eq!(origin.seen().len(), 1);
    assert_eq!(gateway.metric("gateway_refusals_total{reason=\"ip-denied\"}").await, 4.0);
}

#[tokio::test]
async fn a_password_lets_in_and_names_the_user() {
    let origin = Origin::start().await;
    let config = format!(
        "[access-log]\nfile = \"access.log\"\nflush = \"10ms\"\n{}plugins = [\n\
         {{ basic-auth = {{ realm = \"news\", users = {{ alice = \"{ALICE}\" }} }} }},\n\
         {{ headers = {{ request = {{ set = {{ x-user = \"{{identity}}\" }} }} }} }}]\n",
        all_to(&[origin.address])
    );
    let gateway = Gateway::start_single(&config).await;
    assert_eq!(ask(&gateway, "/", RIGHT).await.status, 200);
    let seen = origin.only();
    assert_eq!((seen.header("x-user"), seen.header("authorization")), (Some("alice"), None));
    for (fields, word) in [("", "basic-auth-missing"), (WRONG, "basic-auth-wrong")] {
        let reply = ask(&gateway, "/", &format!("{fields}X-User: alice\r\n")).await;
        assert_eq!(reason(&reply), (401, word.to_owned()));
        assert_eq!(
            reply.header("www-authenticate"),
            Some("Basic realm=\"news\", charset=\"UTF-8\"")
        );
    }
    assert_eq!(origin.seen().len(), 1);
    let log = gateway.log_of(3).await;
    assert_eq!((&log[0]["user"], log[0]["reason"].as_str()), (&"alice".into(), Some("ok")));
    assert_eq!(
        (&log[2]["user"], log[2]["reason"].as_str()),
        (&serde_json::Value::Null, Some("basic-auth-wrong"))
    );
}

#[tokio::test]
async fn an_id_goes_up_and_down_also_with_a_refusal() {
    let origin = Origin::start().await;
    let gateway =
        with(&origin, "{ correlation-id = {} }, { ip = { deny = [\"127.0.0.2\"] } }").await;
    let reply = ask(&gateway, "/", "X-Correlation-Id: abc\r\n").await;
    assert_eq!(reply.header("x-correlation-id"), Some("abc"));
    assert_eq!(origin.only().all("x-correlation-id"), ["abc"]);
    let mut stranger = Client::connect_from("127.0.0.2", gateway.address()).await;
    let reply = stranger.get("/").await;
    assert_eq!((reply.status, reply.header("x-correlation-id").map(str::len)), (403, Some(32)));
}

#[tokio::test]
async fn clients_are_sent_to_the_one_form_of_a_url() {
    let origin = Origin::start().await;
    let gateway =
        with(&origin, "{ redirect = { host = \"www.example.com\", trailing-slash = \"strip\" } }")
            .await;
    let reply = ask(&gateway, "/a/?q=1", "").await;
    assert_eq!(
        (reply.status, reply.header("location")),
        (301, Some("http://www.example.com:81/a?q=1"))
    );
    assert!(origin.seen().is_empty());
    let mut client = gateway.connect().await;
    client.send("GET /a HTTP/1.1\r\nHost: WWW.example.com\r\n\r\n").await;
    assert_eq!(client.reply().await.status, 200);
    // One that was sent away with a body on the way.
    client.send("POST /a/ HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello").await;
    assert_eq!(client.reply().await.status, 308);
}

/// A plugin that leaves its name on the way down and on the way up.
fn named(name: &str) -> String {
    format!("{{ headers = {} }}", leaves(name))
}

fn leaves(name: &str) -> String {
    let add = format!("{{ add = {{ x-way = \"{name}\" }} }}");
    format!("{{ request = {add}, response = {add} }}")
}

#[tokio::test]
async fn plugins_work_in_order_down_and_in_reverse_up() {
    let origin = Origin::start().await;
    let config = format!(
        "[defaults]\nplugins = [{}, {}]\n{}plugins = [\"shared\", {}]\n[plugins.shared]\nheaders = {}\n",
        named("first"),
        named("second"),
        all_to(&[origin.address]),
        named("own"),
        leaves("shared"),
    );
    let gateway = Gateway::start(&config).await;
    let reply = ask(&gateway, "/", "").await;
    assert_eq!(origin.only().all("x-way"), ["first", "second", "shared", "own"]);
    let up: Vec<_> = reply.headers.iter().filter(|(name, _)| name == "x-way").collect();
    let up: Vec<_> = up.iter().map(|(_, value)| value.as_str()).collect();
    assert_eq!(up, ["own", "shared", "second", "first"]);
}

#[tokio::test]
async fn a_refusal_goes_up_through_those_it_had_passed() {
    let origin = Origin::start().await;
    let plugins =
        format!("{}, {{ ip = {{ deny = [\"127.0.0.1\"] }} }}, {}", named("before"), named("after"));
    let gateway = with(&origin, &plugins).await;
    let reply = ask(&gateway, "/", "").await;
    let up: Vec<_> = reply.headers.iter().filter(|(name, _)| name == "x-way").collect();
    assert_eq!((reply.status, up.len(), reply.header("x-way")), (403, 1, Some("before")));
    assert!(origin.seen().is_empty());
}

#[tokio::test]
async fn the_gateways_own_replies_pass_plugins_too() {
    let down = ByHand::start().await.address;
    let origin = Origin::answering(|_| ok("")).await;
    let plugins = format!("plugins = [{}]\n", named("seen"));
    let config = format!(
        "{}[[routes]]\npath = \"/fixed\"\nrespond = {{ body = \"fixed\" }}\n{plugins}\
         [[routes]]\npath = \"/redirect\"\nredirect = {{ to = \"/there\" }}\n{plugins}\
         [upstreams.down]\nservers = [\"{down}\"]\n[[routes]]\npath = \"/down\"\nupstream = \"down\"\n{plugins}\
         [[routes]]\npath = \"/long\"\nupstream = \"origin\"\nbody-limit = \"1B\"\n{plugins}",
        upstream(&[origin.address], "")
    );
    let gateway = Gateway::start(&config).await;
    for (path, fields, status) in [
        ("/fixed", "", 200),
        ("/redirect", "", 307),
        ("/down", "", 502),
        ("/long", "Content-Length: 5\r\n", 413),
    ] {
        let reply = ask(&gateway, path, fields).await;
        assert_eq!((reply.status, reply.header("x-way")), (status, Some("seen")), "{path}");
    }
}

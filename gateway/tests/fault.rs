//! Faults in real traffic: nothing until the admin says so, then as much as the configuration has, and said aloud.

#![allow(clippy::unwrap_used, clippy::panic, clippy::cognitive_complexity, reason = "tests")]

mod rig;

use std::time::Duration;

use rig::{Gateway, Origin, Reply, all_to, until};
use serde_json::Value;
use tokio::time::Instant;

const LOG: &str = "[access-log]\nfile = \"access.log\"\nflush = \"10ms\"\n";

async fn with(origin: &Origin, plugins: &str) -> Gateway {
    Gateway::start_single(&format!("{LOG}{}plugins = [{plugins}]\n", all_to(&[origin.address])))
        .await
}

async fn ask(gateway: &Gateway, fields: &str) -> Reply {
    let mut client = gateway.connect().await;
    client.send(&format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n")).await;
    client.reply().await
}

async fn switch(gateway: &Gateway, word: &str, body: &str) -> Value {
    let reply = gateway.admin_post(&format!("/api/v1/faults/{word}"), body).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    reply.json()
}

async fn faults(gateway: &Gateway) -> Value {
    gateway.admin_get("/api/v1/faults").await.json()
}

const ABORT: &str = "{ fault = { abort = { status = 503, share = 1 } } }";

#[tokio::test]
async fn requests_are_refused_while_the_admin_says_so() {
    let origin = Origin::start().await;
    let gateway = with(&origin, ABORT).await;
    assert_eq!(ask(&gateway, "").await.status, 200, "off at the start");
    let view = faults(&gateway).await;
    assert_eq!((&view["on"], &view["until"]), (&Value::from(false), &Value::Null));
    assert_eq!(view["routes"][0]["name"], "all");
    assert_eq!(view["routes"][0]["faults"][0], "100 % refused with 503");

    let view = switch(&gateway, "enable", "").await;
    let remaining = view["remaining_seconds"].as_f64().unwrap();
    assert!(remaining > 500.0 && remaining <= 600.0, "{remaining}");
    let reply = ask(&gateway, "").await;
    assert_eq!((reply.status, reply.header("x-fault-injected")), (503, Some("abort")));
    assert_eq!(reply.json()["reason"], "fault-injected");

    assert_eq!(switch(&gateway, "disable", "").await["on"], false);
    let reply = ask(&gateway, "").await;
    assert_eq!((reply.status, reply.header("x-fault-injected")), (200, None));
    assert_eq!(origin.seen().len(), 2, "what was refused has not been sent");
    let view = faults(&gateway).await;
    assert_eq!(
        (&view["injected"]["aborted"], &view["injected"]["delayed"]),
        (&1.into(), &0.into())
    );
    assert_eq!(view["routes"][0]["injected"]["aborted"], 1);
    let log = gateway.log_of(3).await;
    let reasons: Vec<_> = log.iter().map(|line| line["reason"].as_str().unwrap()).collect();
    assert_eq!(reasons, ["ok", "fault-injected", "ok"]);
    assert_eq!(gateway.metric("gateway_refusals_total{reason=\"fault-injected\"}").await, 1.0);
    assert_eq!(gateway.metric("gateway_faults_injected_total{kind=\"abort\"}").await, 1.0);
}

#[tokio::test]
async fn requests_are_delayed_and_say_so() {
    let origin = Origin::start().await;
    let plugins =
        "{ fault = { delay = { time = \"300ms\", share = 1 }, headers = [\"x-chaos: on\"] } }";
    let gateway = with(&origin, plugins).await;
    switch(&gateway, "enable", "").await;
    let began = Instant::now();
    let reply = ask(&gateway, "X-Chaos: on\r\n").await;
    assert!(began.elapsed() >= Duration::from_millis(300));
    assert_eq!((reply.status, reply.header("x-fault-injected")), (200, Some("delay")));
    for fields in ["", "X-Chaos: off\r\n"] {
        assert_eq!(ask(&gateway, fields).await.header("x-fault-injected"), None, "{fields}");
    }
    assert_eq!(gateway.log_of(3).await[0]["reason"], "ok");
    assert_eq!(gateway.metric("gateway_faults_injected_total{kind=\"delay\"}").await, 1.0);
}

#[tokio::test]
async fn a_delay_uses_up_the_time_of_the_route() {
    let origin = Origin::start().await;
    let plugins = "{ fault = { delay = { time = \"300ms\", share = 1 } } }]\ntimeout = \"100ms\"\nmethods = [\"GET\"";
    let gateway = with(&origin, plugins).await;
    switch(&gateway, "enable", "").await;
    let reply = ask(&gateway, "").await;
    assert_eq!((reply.status, reply.header("x-fault-injected")), (504, Some("delay")));
    assert_eq!(reply.json()["reason"], "deadline");
}

#[tokio::test]
async fn who_is_delayed_goes_on_when_faults_are_switched_off() {
    let origin = Origin::start().await;
    let plugins = "{ fault = { delay = { time = \"60s\", share = 1, at-once = 1 } } }";
    let gateway = with(&origin, plugins).await;
    switch(&gateway, "enable", "").await;
    let mut client = gateway.connect().await;
    client.send("GET /first HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let delayed = async || (faults(&gateway).await["injected"]["delayed"] == 1).then_some(());
    until("the delay to begin", &delayed).await;
    let second = ask(&gateway, "").await;
    assert_eq!((second.status, second.header("x-fault-injected")), (200, None), "one at a time");
    assert_eq!(faults(&gateway).await["injected"]["not_delayed"], 1);
    switch(&gateway, "disable", "").await;
    let first = client.reply().await;
    assert_eq!((first.status, first.header("x-fault-injected")), (200, Some("delay")));
}

#[tokio::test]
async fn a_client_that_leaves_gives_its_place_back() {
    let origin = Origin::start().await;
    let plugins = "{ fault = { delay = { time = \"60s\", share = 1, at-once = 1 } } }";
    let gateway = with(&origin, plugins).await;
    switch(&gateway, "enable", "").await;
    // The second one can only be delayed when the first has left its place; until then they pass.
    until("a second delay", async || {
        let mut client = gateway.connect().await;
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
        (faults(&gateway).await["injected"]["delayed"].as_u64() >= Some(2)).then_some(())
    })
    .await;
}

#[tokio::test]
async fn faults_go_off_by_themselves_and_everything_is_said() {
    let origin = Origin::start().await;
    let gateway = with(&origin, ABORT).await;
    switch(&gateway, "enable", "{\"for\": \"1h\"}").await;
    gateway.has_said("faults are on for 1h, by the admin: route all\n").await;
    let status = gateway.admin_get("/api/v1/status").await.json();
    assert_eq!(status["faults"]["on"], true);
    let (code, _) = gateway.beside(&["check", "--config", "config.toml"]).await;
    assert_eq!(code, Some(0));
    assert_eq!(gateway.metric("gateway_faults_on").await, 1.0);
    switch(&gateway, "disable", "").await;
    gateway.has_said("faults are off, by the admin\n").await;
    switch(&gateway, "enable", "{\"for\": \"50ms\"}").await;
    gateway.has_said("faults are off: their time is over\n").await;
    assert_eq!(ask(&gateway, "").await.status, 200);
    assert_eq!(gateway.metric("gateway_faults_on").await, 0.0);
    assert_eq!(gateway.said().matches("faults are off").count(), 2);
}

#[tokio::test]
async fn a_reload_changes_the_faults_and_not_the_switch() {
    let origin = Origin::start().await;
    let gateway = with(&origin, ABORT).await;
    switch(&gateway, "enable", "").await;
    assert_eq!(ask(&gateway, "").await.status, 503);
    let text = std::fs::read_to_string(gateway.config_path()).unwrap();
    gateway.write_config(&text.replace("status = 503", "status = 429"));
    assert_eq!(gateway.admin_post("/api/v1/config/reload", "").await.status, 200);
    until("the new fault", async || (ask(&gateway, "").await.status == 429).then_some(())).await;
    let view = faults(&gateway).await;
    assert_eq!(view["on"], true);
    assert!(view["routes"][0]["injected"]["aborted"].as_u64().unwrap() >= 2, "{view}");
}

#[tokio::test]
async fn what_is_no_duration_switches_nothing_on() {
    let origin = Origin::start().await;
    let gateway = with(&origin, ABORT).await;
    for body in ["{\"for\": \"2d\"}", "{\"for\": \"0s\"}", "{\"time\": \"1m\"}", "1m"] {
        let reply = gateway.admin_post("/api/v1/faults/enable", body).await;
        assert_eq!(reply.status, 400, "{body}");
        assert!(reply.json()["detail"].as_str().unwrap().contains("for"), "{}", reply.text());
    }
    assert_eq!(faults(&gateway).await["on"], false);
    assert_eq!(ask(&gateway, "").await.status, 200);
}

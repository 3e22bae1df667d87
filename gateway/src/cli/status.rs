//! `gateway status` and `gateway reload`: what the running gateway says of itself, for people.

use serde_json::Value;

use super::client::{ClientError, ask as ask_gateway};
use crate::config::Config;

/// How the running gateway is.
pub fn ask(config: &Config, json: bool) -> Result<String, ClientError> {
    let body = ask_gateway(config, "GET", "/api/v1/status")?;
    let status = serde_json::from_str(&body).unwrap_or(Value::Null);
    match json {
        true => Ok(body),
        false => Ok(in_words(&status)),
    }
}

/// Makes the running gateway read its configuration again.
pub fn reload(config: &Config) -> Result<String, ClientError> {
    let body = ask_gateway(config, "POST", "/api/v1/config/reload")?;
    let reloaded = serde_json::from_str(&body).unwrap_or(Value::Null);
    let generation =
        reloaded.get("generation").map_or_else(String::new, |it| format!(": generation {it}"));
    let mut text = format!("reloaded{generation}\n");
    for part in list(&reloaded, "not_applied") {
        say(&mut text, &format!("not before a restart: {}", word(part)));
    }
    Ok(text)
}

/// One line a thing, the worst first.
fn in_words(status: &Value) -> String {
    let mut text = String::new();
    let is_ready = status.get("ready").and_then(Value::as_bool).unwrap_or(false);
    say(&mut text, if is_ready { "ready" } else { "not ready" });
    for reason in list(status, "reasons") {
        say(&mut text, &format!("  {}", word(reason)));
    }
    if let Some(refusal) = status.get("last_refusal").filter(|refusal| !refusal.is_null()) {
        let at = refusal.get("at").map_or_else(String::new, word);
        let count = list(refusal, "problems").count();
        say(&mut text, &format!("a configuration was refused at {at}: {count} problems"));
    }
    if let Some(until) = status.get("faults").and_then(|faults| faults.get("until")?.as_str()) {
        say(&mut text, &format!("faults are injected on purpose until {until}"));
    }
    for (key, name) in [
        ("generation", "generation"),
        ("loaded", "loaded"),
        ("started", "started"),
        ("version", "version"),
        ("pid", "pid"),
        ("threads", "threads"),
    ] {
        if let Some(value) = status.get(key) {
            say(&mut text, &format!("{name:<11} {}", word(value)));
        }
    }
    for listener in list(status, "listeners") {
        let address = listener.get("address").map_or_else(String::new, word);
        let tls = listener.get("tls").and_then(Value::as_bool).unwrap_or(false);
        say(&mut text, &format!("listens on  {address}{}", if tls { " (TLS)" } else { "" }));
    }
    for upstream in list(status, "upstreams") {
        say_upstream(&mut text, upstream);
    }
    text
}

/// An upstream's line, and one for each server that does not take part.
fn say_upstream(text: &mut String, upstream: &Value) {
    let shown = |key: &str| upstream.get(key).map_or_else(String::new, word);
    let panics = upstream.get("panic").and_then(Value::as_bool).unwrap_or(false);
    let panic = if panics { "; too few are up, so all are used" } else { "" };
    let (name, servers, taking_part) = (shown("name"), shown("servers"), shown("taking_part"));
    let servers =
        if servers == "1" { "1 server takes".into() } else { format!("{servers} servers take") };
    say(text, &format!("upstream    {name}: {taking_part} of {servers} part{panic}"));
    for other in list(upstream, "others") {
        let shown = |key: &str| other.get(key).map_or_else(String::new, word);
        let (address, verdict, busy) = (shown("address"), shown("verdict"), shown("in_flight"));
        say(text, &format!("  {address} {verdict}; {busy} in flight"));
    }
}

fn say(text: &mut String, line: &str) {
    text.push_str(line);
    text.push('\n');
}

fn list<'v>(value: &'v Value, key: &str) -> impl Iterator<Item = &'v Value> {
    value.get(key).and_then(Value::as_array).into_iter().flatten()
}

/// A value as a person writes it: text without quotes.
fn word(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_reads_from_bad_to_good() {
        let status = serde_json::json!({
            "ready": false, "reasons": ["draining"], "generation": 3,
            "last_refusal": { "at": "2026-11-23T10:00:00Z", "problems": [{}, {}] },
            "faults": { "on": true, "until": "2026-11-23T12:00:00Z", "remaining_seconds": 60.0 },
            "listeners": [{ "address": "127.0.0.1:8443", "tls": true }],
            "upstreams": [
                { "name": "users", "servers": 3, "taking_part": 2, "panic": false, "others": [
                    { "address": "10.0.0.1:80", "verdict": "out: draining", "in_flight": 1 },
                ] },
                { "name": "news", "servers": 1, "taking_part": 1, "panic": true, "others": [] },
            ],
        });
        let expected = "not ready\n  draining\na configuration was refused at 2026-11-23T10:00:00Z: \
                        2 problems\nfaults are injected on purpose until 2026-11-23T12:00:00Z\n\
                        generation  3\nlistens on  127.0.0.1:8443 (TLS)\n\
                        upstream    users: 2 of 3 servers take part\n\
                        \x20 10.0.0.1:80 out: draining; 1 in flight\n\
                        upstream    news: 1 of 1 server takes part; too few are up, so all are used\n";
        assert_eq!(in_words(&status), expected);
    }
}

//! `gateway explain --live`: which server would get a request now, as the running gateway says.

use serde_json::{Value, json};

use super::Explanation;
use crate::cli::client::{ClientError, post};
use crate::config::Config;

/// Asks the running gateway about a request that is written as on the command line; its answer as it came.
pub fn ask(
    config: &Config,
    (method, url): (&str, &str),
    headers: &[String],
    client: Option<&str>,
) -> Result<String, ClientError> {
    let mut body = json!({ "method": method, "url": url, "headers": headers });
    if let Some(client) = client {
        body["client"] = client.into();
    }
    post(config, "/api/v1/explain", &body.to_string())
}

/// What the running gateway says beyond what the config file says, in lines that continue an [`Explanation`].
pub fn in_words(answer: &str, explanation: &Explanation) -> String {
    let answer: Value = serde_json::from_str(answer).unwrap_or_default();
    let mut text = String::new();
    if let Some(difference) = difference(&answer, explanation) {
        line(&mut text, "but", &difference);
    }
    match answer.get("live").filter(|live| !live.is_null()) {
        None => line(&mut text, "now", "no server is asked"),
        Some(live) => text.push_str(&prospect(live)),
    }
    text
}

/// The running gateway may have another configuration than the file.
fn difference(answer: &Value, explanation: &Explanation) -> Option<String> {
    let running = answer.get("explanation")?;
    let route = running.get("route").and_then(|route| route.get("name")).and_then(Value::as_str);
    let ending = running.get("ending").and_then(Value::as_str);
    let is_same = route == explanation.route.as_ref().map(|taken| taken.name.as_str())
        && ending == Some(&*explanation.ending);
    let generation = answer.get("generation")?;
    let route = route.map(|route| format!(" by the route {route}")).unwrap_or_default();
    let differs = format!(
        "in the running gateway (generation {generation}), which has another configuration, it {}{route}",
        ending.unwrap_or_default()
    );
    (!is_same).then_some(differs)
}

fn prospect(live: &Value) -> String {
    let mut text = String::new();
    let word = |key: &str| live.get(key).and_then(Value::as_str);
    if let Some(subset) = word("subset") {
        line(&mut text, "subset", subset);
    }
    let chosen_by = word("chosen_by").unwrap_or_default();
    let servers = live.get("servers").and_then(Value::as_array);
    let servers: Vec<&Value> = servers.into_iter().flatten().collect();
    let is_possible = servers.iter().any(|server| chance(server) > 0.0);
    match word("server") {
        Some(server) => line(&mut text, "now", &format!("{server}, by {chosen_by}")),
        None if is_possible => line(&mut text, "now", &format!("one of these, by {chosen_by}")),
        None => line(&mut text, "now", &format!("none of these, by {chosen_by}")),
    }
    if let Some(held_by) = word("held_by") {
        line(&mut text, "but", &format!("it is held by {held_by}"));
    }
    let address = |server: &Value| server.get("address").and_then(Value::as_str).map(str::to_owned);
    let widest = servers.iter().filter_map(|server| address(server)).map(|text| text.len()).max();
    for server in &servers {
        let address = address(server).unwrap_or_default();
        let percent = chance(server) * 100.0;
        let verdict = server.get("verdict").and_then(Value::as_str).unwrap_or_default();
        let busy = server.get("in_flight").and_then(Value::as_u64).unwrap_or_default();
        let width = widest.unwrap_or_default();
        let said = format!("{address:<width$}  {percent:>5.1} %  {verdict}; {busy} in flight");
        line(&mut text, "", &said);
    }
    text
}

fn chance(server: &Value) -> f64 {
    server.get("chance").and_then(Value::as_f64).unwrap_or_default()
}

fn line(text: &mut String, label: &str, said: &str) {
    text.push_str(&format!("{label:<10}  {said}\n"));
}

#[cfg(test)]
mod tests {
    use super::super::decide::Question;
    use super::super::explain;
    use super::*;
    use crate::config::from_text;

    fn explanation() -> Explanation {
        let config = "[[listeners]]\naddress = \"127.0.0.1:0\"\n[upstreams.users]\nservers = [\"127.0.0.1:1\"]\n\
                      [[routes]]\nname = \"all\"\npath = \"/{*rest}\"\nupstream = \"users\"\n";
        let question = Question::parse("GET", "/a", &[], None).unwrap();
        explain(&from_text("config.toml", config).unwrap(), &question).unwrap()
    }

    fn said(live: &Value, route: &str) -> String {
        let ending = "goes to the upstream users as /a";
        let running = json!({ "route": { "name": route }, "ending": ending });
        let answer = json!({ "generation": 7, "explanation": running, "live": live });
        in_words(&answer.to_string(), &explanation())
    }

    fn server(address: &str, chance: f64, verdict: &str) -> Value {
        json!({ "address": address, "chance": chance, "verdict": verdict, "in_flight": 2 })
    }

    #[test]
    fn the_server_is_told_and_why_it_is_no_other() {
        let servers =
            [server("10.0.0.1:80", 0.0, "out: draining"), server("10.0.0.10:80", 1.0, "in: 100 %")];
        let live = json!({ "server": "10.0.0.10:80", "subset": "eu", "chosen_by": "a hash", "servers": servers });
        let expected = "\
subset      eu
now         10.0.0.10:80, by a hash
            10.0.0.1:80     0.0 %  out: draining; 2 in flight
            10.0.0.10:80  100.0 %  in: 100 %; 2 in flight
";
        assert_eq!(said(&live, "all"), expected);
    }

    #[test]
    fn what_is_left_to_chance_and_what_is_left_to_nobody_is_said() {
        let live = |chance: f64| {
            let servers = [server("a", chance, "in"), server("b", chance, "in")];
            json!({ "server": null, "chosen_by": "turns", "servers": servers })
        };
        assert!(said(&live(0.5), "all").starts_with("now         one of these, by turns\n"));
        assert!(said(&live(0.0), "all").starts_with("now         none of these, by turns\n"));
        assert_eq!(said(&Value::Null, "all"), "now         no server is asked\n");
    }

    #[test]
    fn another_configuration_in_the_running_gateway_is_said() {
        let text = said(&Value::Null, "other");
        assert!(text.starts_with("but         in the running gateway (generation 7)"), "{text}");
        assert!(text.contains("as /a by the route other\n"), "{text}");
    }
}

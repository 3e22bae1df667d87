//! `gateway explain`: what the gateway does with a request and why, worked out from the config alone.

use std::fmt;
use std::net::IpAddr;

use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};
use serde::Serialize;
use thiserror::Error;

pub mod decide;
pub mod live;
mod rivals;

use decide::{Decision, Outcome, Passed, Question};
use rivals::Rival;

use crate::config::{Balance, Config, ListenAddress, Place, Problems, Protocol, ServerAddress};
use crate::routing::Router;

/// Routes that were not candidates, of which the nearest are shown.
const MISSED_MAX: usize = 8;

/// What a request comes to, for people ([`fmt::Display`]) and for programs ([`Serialize`]).
#[derive(Clone, Debug, Serialize)]
pub struct Explanation {
    /// Method and URL.
    request: String,
    /// The client's address.
    client: IpAddr,
    /// The listener that takes it, or why none does.
    listener: String,
    /// The host that was routed by.
    host: String,
    /// The path in its one form.
    path: Option<String>,
    /// Routes whose host and path fit, in the order in which they are tried.
    candidates: Vec<Rival>,
    /// The nearest of the other routes.
    missed: Vec<Rival>,
    /// How many more routes there are.
    missed_more: usize,
    /// The route that takes it.
    route: Option<Taken>,
    /// How it ends, in words.
    ending: String,
    /// The status with which the gateway itself answers.
    status: Option<u16>,
    /// The upstream that sees it.
    upstream: Option<Upstream>,
}

/// The route that takes a request.
#[derive(Clone, Debug, Serialize)]
struct Taken {
    name: String,
    place: String,
    /// The path's parameters with their values.
    parameters: Vec<(String, String)>,
    plugins: Vec<PluginStep>,
    /// The most time the whole request has.
    timeout: Option<String>,
    /// The longest request body, in bytes.
    body_bytes: Option<u64>,
}

/// One plugin of the chain.
#[derive(Clone, Debug, Serialize)]
struct PluginStep {
    name: &'static str,
    place: String,
    /// What it did.
    did: String,
}

/// The upstream that sees a request.
#[derive(Clone, Debug, Serialize)]
struct Upstream {
    name: String,
    place: String,
    /// The method, path and query that the servers see.
    sees: String,
    servers: Vec<String>,
    balance: &'static str,
    protocol: &'static str,
    /// Connect, response and idle time limits.
    timeouts: String,
}

/// Why a request cannot be explained.
#[derive(Debug, Error)]
pub enum QuestionError {
    /// Not a method.
    #[error("\"{0}\" is no method; write one such as GET")]
    Method(String),
    /// Not a URL.
    #[error("\"{0}\" is neither a path nor a URL; write \"/users/7\" or \"https://host/users/7\"")]
    Url(String),
    /// Not a header.
    #[error("\"{0}\" is no header; write \"name: value\"")]
    Header(String),
    /// Not an address.
    #[error("\"{0}\" is no address of a client; write one such as 192.0.2.1")]
    Client(String),
}

impl Question {
    /// Reads a request as it is written on the command line. A path alone is one of `http://localhost`.
    pub fn parse(
        method: &str,
        url: &str,
        headers: &[String],
        client: Option<&str>,
    ) -> Result<Self, QuestionError> {
        let method = Method::from_bytes(method.as_bytes())
            .map_err(|_| QuestionError::Method(method.to_owned()))?;
        let whole =
            if url.starts_with('/') { format!("http://localhost{url}") } else { url.to_owned() };
        let uri = whole.parse::<Uri>().ok().filter(|uri| uri.host().is_some());
        let uri = uri
            .filter(|uri| matches!(uri.scheme_str(), Some("http" | "https")))
            .ok_or_else(|| QuestionError::Url(url.to_owned()))?;
        let mut map = HeaderMap::new();
        for header in headers {
            let (name, value) =
                parse_header(header).ok_or_else(|| QuestionError::Header(header.clone()))?;
            map.append(name, value);
        }
        let client = client.unwrap_or("127.0.0.1");
        let client = client.parse().map_err(|_| QuestionError::Client(client.to_owned()))?;
        Ok(Self { method, uri, headers: map, client })
    }
}

fn parse_header(text: &str) -> Option<(HeaderName, HeaderValue)> {
    let (name, value) = text.split_once(':')?;
    Some((name.trim().parse().ok()?, HeaderValue::from_str(value.trim()).ok()?))
}

/// Explains what becomes of a request under a config. Problems are what keeps the router from being built.
pub fn explain(config: &Config, question: &Question) -> Result<Explanation, Problems> {
    let router = Router::build(&config.routes, &config.sources)
        .map_err(|list| Problems::new(config.sources.clone(), list))?;
    Ok(explain_by(config, &router, question)?.0)
}

/// The same with a router that there is already, and with what was decided.
pub(crate) fn explain_by(
    config: &Config,
    router: &Router,
    question: &Question,
) -> Result<(Explanation, Decision), Problems> {
    let mut decisions = decide::decide(config, router, std::slice::from_ref(question));
    let Some(decision) = decisions.pop() else {
        let problem = crate::config::Problem::nowhere("there is no thread to run the plugins on");
        return Err(Problems::new(config.sources.clone(), vec![problem]));
    };
    let candidates = rivals::candidates(config, router, question, &decision);
    let mut missed = rivals::missed(config, &decision, &candidates);
    let missed_more = missed.len().saturating_sub(MISSED_MAX);
    missed.truncate(MISSED_MAX);
    let explanation = Explanation {
        request: format!("{} {}", question.method, question.uri),
        client: question.client,
        listener: listener(config, &question.uri),
        candidates,
        missed,
        missed_more,
        route: taken(config, &decision),
        ending: ending(config, &decision),
        status: decision.outcome.status().map(|status| status.as_u16()),
        upstream: upstream(config, question, &decision),
        host: decision.host.clone(),
        path: decision.path.clone(),
    };
    Ok((explanation, decision))
}

/// How a request ends, to finish a sentence that begins with it.
pub(super) fn ending(config: &Config, decision: &Decision) -> String {
    let status = decision.outcome.status().map(|status| status.as_u16()).unwrap_or_default();
    match &decision.outcome {
        Outcome::PathRefused(refusal) => format!("is answered with {status}: {refusal}"),
        Outcome::NotFound => format!("is answered with {status}: no route takes it"),
        Outcome::MethodNotAllowed(allow) => {
            let allow = allow.to_str().unwrap_or_default();
            format!("is answered with {status}: the path takes {allow}")
        }
        Outcome::Plugin(_) => {
            let (name, reason) = answering_plugin(config, decision);
            format!("is answered with {status} by the plugin {name}{reason}")
        }
        Outcome::Proxy { upstream, target } => {
            format!("goes to the upstream {} as {target}", config.upstreams[upstream.0].name)
        }
        Outcome::Redirect { location, .. } => {
            format!("is answered with {status}: a redirect to {location}")
        }
        Outcome::Respond(_) => format!("is answered with {status}: a fixed response"),
    }
}

fn answering_plugin<'a>(config: &'a Config, decision: &Decision) -> (&'a str, String) {
    match (decision.route, decision.plugins.last()) {
        (Some((route, _)), Some((index, Passed::Answered(_, reason)))) => {
            let name = config.routes[route].plugins[*index].settings.name();
            (name, reason.as_ref().map(|reason| format!(" ({reason})")).unwrap_or_default())
        }
        _ => ("", String::new()),
    }
}

/// The listeners that take a URL, by scheme and port.
fn listener(config: &Config, uri: &Uri) -> String {
    let tls = uri.scheme_str() == Some("https");
    let port = uri.port_u16().unwrap_or(if tls { 443 } else { 80 });
    let at = |place: Place| config.sources.at(place).to_string();
    let speaks = if tls { "with TLS" } else { "without TLS" };
    let same_port = config.listeners.iter().filter(|listener| match &listener.address {
        ListenAddress::Tcp(address) => address.port() == port,
        ListenAddress::Unix(_) => false,
    });
    let (fit, differ): (Vec<_>, Vec<_>) =
        same_port.partition(|listener| listener.tls.is_some() == tls);
    if let Some(listener) = fit.first() {
        return format!("{} {speaks} ({})", address(&listener.address), at(listener.place));
    }
    if let Some(listener) = differ.first() {
        let (address, place) = (address(&listener.address), at(listener.place));
        return format!("none: {address} ({place}) is not {speaks}");
    }
    format!("none has port {port} {speaks}; routed as if one had")
}

fn address(address: &ListenAddress) -> String {
    match address {
        ListenAddress::Tcp(address) => address.to_string(),
        ListenAddress::Unix(path) => format!("unix:{}", path.display()),
    }
}

fn taken(config: &Config, decision: &Decision) -> Option<Taken> {
    let (index, parameters) = decision.route?;
    let path = decision.path.as_deref()?;
    let route = &config.routes[index];
    let at = |place: Place| config.sources.at(place).to_string();
    let names = route.path.parameters().enumerate();
    let step = |(index, used): (usize, &crate::config::PluginUse)| PluginStep {
        name: used.settings.name(),
        place: at(used.place),
        did: did(decision.plugins.iter().find(|(place, _)| *place == index)),
    };
    Some(Taken {
        name: route.name.clone(),
        place: at(route.place),
        parameters: names
            .map(|(index, name)| (name.to_owned(), parameters.get(path, index).to_owned()))
            .collect(),
        plugins: route.plugins.iter().enumerate().map(step).collect(),
        timeout: route.timeout.map(|timeout| format!("{timeout:?}")),
        body_bytes: route.body_bytes,
    })
}

fn did(passed: Option<&(usize, Passed)>) -> String {
    match passed {
        None => "not reached".to_owned(),
        Some((_, Passed::Continue)) => "lets it pass".to_owned(),
        Some((_, Passed::NotAsked)) => "has nothing to do with requests".to_owned(),
        Some((_, Passed::Waiting)) => "takes too long to say; taken to let it pass".to_owned(),
        Some((_, Passed::Unusable(why))) => format!("cannot be set up here: {why}"),
        Some((_, Passed::Answered(status, reason))) => match reason {
            Some(reason) => format!("refuses with {} ({reason})", status.as_u16()),
            None => format!("answers with {}", status.as_u16()),
        },
    }
}

fn upstream(config: &Config, question: &Question, decision: &Decision) -> Option<Upstream> {
    let Outcome::Proxy { upstream, target } = &decision.outcome else { return None };
    let upstream = &config.upstreams[upstream.0];
    let server = |server: &crate::config::UpstreamServer| {
        let address = match &server.address {
            ServerAddress::Ip(address) => address.to_string(),
            ServerAddress::Name(name, port) => format!("{name}:{port}"),
            ServerAddress::Unix(path) => format!("unix:{}", path.display()),
        };
        if server.weight == 1 { address } else { format!("{address} (weight {})", server.weight) }
    };
    let crate::config::UpstreamTimeouts { connect, response, idle } = &upstream.timeout;
    Some(Upstream {
        name: upstream.name.clone(),
        place: config.sources.at(upstream.place).to_string(),
        sees: format!("{} {target}", question.method),
        servers: upstream.servers.iter().map(server).collect(),
        balance: match upstream.balance {
            Balance::RoundRobin => "round robin",
            Balance::LeastRequests => "the least busy",
            Balance::TwoChoices => "the less busy of two",
            Balance::LeastTime => "the one likely to answer first",
            Balance::ConsistentHash { .. } => "by hash of the request",
        },
        protocol: match (upstream.protocol, &upstream.tls) {
            (Protocol::Http1, None) => "HTTP/1.1",
            (Protocol::Http1, Some(_)) => "HTTP/1.1 with TLS",
            (Protocol::Http2, None) => "HTTP/2",
            (Protocol::Http2, Some(_)) => "HTTP/2 with TLS",
        },
        timeouts: format!("connect {connect:?}, response {response:?}, idle {idle:?}"),
    })
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} from {}", self.request, self.client)?;
        writeln!(f, "{}", self.ending)?;
        writeln!(f)?;
        writeln!(f, "listener    {}", self.listener)?;
        writeln!(f, "host        {}", self.host)?;
        writeln!(f, "path        {}", self.path.as_deref().unwrap_or("refused"))?;
        for (index, candidate) in self.candidates.iter().enumerate() {
            let label = if index == 0 { "candidates" } else { "" };
            writeln!(f, "{label:<10}  {}. {candidate}", index + 1)?;
        }
        for (index, missed) in self.missed.iter().enumerate() {
            let label = if index == 0 { "other" } else { "" };
            writeln!(f, "{label:<10}  - {missed}")?;
        }
        if self.missed_more > 0 {
            writeln!(f, "{:<10}  - and {} more routes", "", self.missed_more)?;
        }
        if let Some(taken) = &self.route {
            write!(f, "{taken}")?;
        }
        self.upstream.as_ref().map_or(Ok(()), |upstream| write!(f, "{upstream}"))
    }
}

impl fmt::Display for Taken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "route       {} ({})", self.name, self.place)?;
        for (index, (name, value)) in self.parameters.iter().enumerate() {
            let label = if index == 0 { "parameters" } else { "" };
            writeln!(f, "{label:<10}  {name} = {value:?}")?;
        }
        for (index, PluginStep { name, place, did }) in self.plugins.iter().enumerate() {
            let label = if index == 0 { "plugins" } else { "" };
            writeln!(f, "{label:<10}  {}. {name} ({place}) {did}", index + 1)?;
        }
        let timeout = self.timeout.as_deref().unwrap_or("none");
        let body = self.body_bytes.map_or("any".to_owned(), |bytes| format!("{bytes} bytes"));
        writeln!(f, "limits      whole request {timeout}, request body {body}")
    }
}

impl fmt::Display for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "upstream    {} ({}) sees {}", self.name, self.place, self.sees)?;
        writeln!(
            f,
            "servers     {}; {}, {}",
            self.servers.join(", "),
            self.balance,
            self.protocol
        )?;
        writeln!(f, "timeouts    {}", self.timeouts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    const CONFIG: &str = r#"
[[listeners]]
address = "127.0.0.1:8080"

[upstreams.users]
servers = ["127.0.0.1:3000", "127.0.0.1:3001"]
timeout = { connect = "2s", response = "5s", idle = "30s" }

[defaults]
plugins = [{ ip = { deny = ["192.0.2.0/24"] } }]

[[routes]]
name = "user"
path = "/users/{id}"
methods = ["GET"]
upstream = "users"
rewrite = "/{id}"
timeout = "10s"
body-limit = "1MiB"
plugins = [{ ip = { allow = ["127.0.0.0/8"] } }]

[[routes]]
name = "beta"
path = "/users/{id}"
methods = ["GET"]
when = 'header["x-beta"] == "1"'
upstream = "users"

[[routes]]
name = "write"
path = "/users/{id}"
methods = ["POST"]
upstream = "users"

[[routes]]
name = "all"
path = "/{*rest}"
respond = { status = 204 }

[[routes]]
name = "other"
host = "other.example.com"
path = "/users/{id}"
redirect = { to = "/{id}" }
"#;

    fn explained(method: &str, url: &str, client: &str) -> serde_json::Value {
        let config =
            config::from_text("gateway.toml", CONFIG).unwrap_or_else(|all| panic!("{all}"));
        let question =
            Question::parse(method, url, &["x-beta: 2".to_owned()], Some(client)).unwrap();
        serde_json::to_value(explain(&config, &question).unwrap()).unwrap()
    }

    /// Name, what decided, and why, of a list of routes.
    fn rivals(list: &serde_json::Value) -> Vec<String> {
        let text = |rival: &serde_json::Value, key: &str| rival[key].as_str().unwrap().to_owned();
        let list = list.as_array().unwrap().iter();
        list.map(|rival| format!("{} {}", text(rival, "name"), text(rival, "because"))).collect()
    }

    #[test]
    fn each_candidate_says_why_it_lost() {
        let explained = explained("GET", "http://localhost:8080/users/%37?x=1", "127.0.0.1");
        assert_eq!(explained["path"], "/users/7");
        assert_eq!(explained["listener"], "127.0.0.1:8080 without TLS (gateway.toml:2:1)");
        assert_eq!(
            rivals(&explained["candidates"]),
            [
                "beta condition: `header[\"x-beta\"] == \"1\"` does not hold; header[\"x-beta\"] is \"2\"",
                "user takes it",
                "write method: it takes POST",
                "all rank: its path is less specific than that of the route that takes it",
            ]
        );
        assert_eq!(rivals(&explained["missed"]), ["other host: it answers to other.example.com"]);
        assert_eq!(explained["route"]["parameters"], serde_json::json!([["id", "7"]]));
        assert_eq!(explained["route"]["plugins"][0]["did"], "lets it pass");
        assert_eq!(explained["upstream"]["sees"], "GET /7?x=1");
        assert_eq!(explained["status"], serde_json::Value::Null);
    }

    #[test]
    fn a_refusal_says_who_refuses() {
        let denied = explained("GET", "http://localhost:8080/users/7", "192.0.2.9");
        assert_eq!(denied["status"], 403);
        assert!(
            denied["ending"].as_str().unwrap().starts_with("is answered with 403 by the plugin ip")
        );
        assert_eq!(denied["route"]["plugins"][1]["did"], "not reached");
        assert_eq!(denied["upstream"], serde_json::Value::Null);
        let dots = explained("GET", "http://localhost:8080/users/../7", "127.0.0.1");
        assert_eq!(dots["ending"], "is answered with 400: the path has a segment \".\" or \"..\"");
        let redirect = explained("GET", "https://other.example.com/users/7", "127.0.0.1");
        assert_eq!(redirect["ending"], "is answered with 307: a redirect to /7");
        assert_eq!(redirect["listener"], "none has port 443 with TLS; routed as if one had");
    }

    #[test]
    fn a_person_reads_the_same() {
        let config = config::from_text("gateway.toml", CONFIG).unwrap();
        let question = Question::parse("GET", "/users/7", &[], None).unwrap();
        let text = explain(&config, &question).unwrap().to_string();
        let expected = "\
GET http://localhost/users/7 from 127.0.0.1
goes to the upstream users as /7

listener    none has port 80 without TLS; routed as if one had
host        localhost
path        /users/7
candidates  1. beta (gateway.toml:22:1) condition: `header[\"x-beta\"] == \"1\"` does not hold; header[\"x-beta\"] is not there
            2. user (gateway.toml:12:1) takes it
            3. write (gateway.toml:29:1) method: it takes POST
            4. all (gateway.toml:35:1) rank: its path is less specific than that of the route that takes it
other       - other (gateway.toml:40:1) host: it answers to other.example.com
route       user (gateway.toml:12:1)
parameters  id = \"7\"
plugins     1. ip (gateway.toml:10:12) lets it pass
            2. ip (gateway.toml:20:12) lets it pass
limits      whole request 10s, request body 1048576 bytes
upstream    users (gateway.toml:5:1) sees GET /7
servers     127.0.0.1:3000, 127.0.0.1:3001; round robin, HTTP/1.1
timeouts    connect 2s, response 5s, idle 30s
";
        assert_eq!(text, expected);
    }

    #[test]
    fn a_request_that_is_none_is_refused_with_what_would_have_done() {
        let parse = |method: &str, url: &str, header: &str, client: &str| {
            Question::parse(method, url, &[header.to_owned()], Some(client))
                .unwrap_err()
                .to_string()
        };
        for (message, part) in [
            (parse("G T", "/", "a: b", "::1"), "no method"),
            (parse("GET", "users", "a: b", "::1"), "neither a path nor a URL"),
            (parse("GET", "ftp://a/b", "a: b", "::1"), "neither a path nor a URL"),
            (parse("GET", "/", "a", "::1"), "no header"),
            (parse("GET", "/", "a: b", "me"), "no address"),
        ] {
            assert!(message.contains(part), "{message}");
        }
    }
}

//! `gateway routes`: all routes in the order in which they are tried.

use std::fmt;

use serde::Serialize;

use crate::config::{Action, Config, HostPattern, Problems, Route};
use crate::routing::Router;

/// All routes, for people ([`fmt::Display`]) and for programs ([`Serialize`]).
#[derive(Clone, Debug, Serialize)]
#[serde(transparent)]
pub struct Listing {
    rows: Vec<Row>,
}

/// One route.
#[derive(Clone, Debug, Serialize)]
struct Row {
    name: String,
    /// As in the config; none: any host.
    hosts: Vec<String>,
    /// None: any method.
    methods: Vec<String>,
    path: String,
    when: Option<String>,
    priority: i32,
    action: String,
    plugins: Vec<&'static str>,
    place: String,
}

/// Lists the routes of a config. Problems are what keeps the router from being built.
pub fn list(config: &Config) -> Result<Listing, Problems> {
    let router = Router::build(&config.routes, &config.sources)
        .map_err(|list| Problems::new(config.sources.clone(), list))?;
    let rows = router.in_order().into_iter().map(|index| row(config, &config.routes[index]));
    Ok(Listing { rows: rows.collect() })
}

fn row(config: &Config, route: &Route) -> Row {
    let host = |host: &HostPattern| match host {
        HostPattern::Exact(host) => host.clone(),
        HostPattern::Wildcard(suffix) => format!("*{suffix}"),
    };
    Row {
        name: route.name.clone(),
        hosts: route.hosts.iter().map(host).collect(),
        methods: route.methods.iter().map(ToString::to_string).collect(),
        path: route.path.text.clone(),
        when: route.when.as_ref().map(|when| one_line(&when.text)),
        priority: route.priority,
        action: action(config, &route.action),
        plugins: route.plugins.iter().map(|used| used.settings.name()).collect(),
        place: config.sources.at(route.place).to_string(),
    }
}

fn action(config: &Config, action: &Action) -> String {
    match action {
        Action::Proxy { upstream, .. } => format!("upstream {}", config.upstreams[upstream.0].name),
        Action::Redirect { status, .. } => format!("redirect {}", status.as_u16()),
        Action::Respond { status, .. } => format!("respond {}", status.as_u16()),
    }
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

const TITLES: [&str; 7] = ["HOST", "METHODS", "PATH", "WHEN", "ACTION", "PLUGINS", "AT"];

impl Row {
    fn cells(&self) -> [String; TITLES.len()] {
        let list = |items: &[String], none: &str| match items {
            [] => none.to_owned(),
            items => items.join(","),
        };
        let plugins = if self.plugins.is_empty() { "-".to_owned() } else { self.plugins.join(" ") };
        [
            list(&self.hosts, "*"),
            list(&self.methods, "*"),
            self.path.clone(),
            self.when.clone().unwrap_or_else(|| "-".to_owned()),
            self.action.clone(),
            plugins,
            self.place.clone(),
        ]
    }
}

impl fmt::Display for Listing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let titles = TITLES.map(str::to_owned);
        let rows: Vec<_> =
            std::iter::once(titles).chain(self.rows.iter().map(Row::cells)).collect();
        let widths: [usize; TITLES.len()] = std::array::from_fn(|column| {
            rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0)
        });
        for row in &rows {
            let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}"));
            writeln!(f, "{}", cells.collect::<Vec<_>>().join("  ").trim_end())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    #[test]
    fn routes_are_listed_in_the_order_in_which_they_are_tried() {
        let text = r#"
[[listeners]]
address = "127.0.0.1:8080"
[upstreams.users]
servers = ["127.0.0.1:3000"]
[[routes]]
path = "/{*rest}"
upstream = "users"
[[routes]]
path = "/users/{id}"
methods = ["GET", "PUT"]
upstream = "users"
plugins = [{ ip = { deny = ["192.0.2.0/24"] } }]
[[routes]]
host = ["*.example.com", "example.org"]
path = "/users/{id}"
when = "has(header.beta)"
respond = { status = 204 }
"#;
        let config = config::from_text("gateway.toml", text).unwrap_or_else(|all| panic!("{all}"));
        let listing = list(&config).unwrap();
        let table = listing.to_string();
        let lines: Vec<Vec<&str>> = table
            .lines()
            .map(|line| line.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).collect())
            .collect();
        let expected = [
            vec!["HOST", "METHODS", "PATH", "WHEN", "ACTION", "PLUGINS", "AT"],
            vec![
                "*.example.com,example.org",
                "*",
                "/users/{id}",
                "has(header.beta)",
                "respond 204",
                "-",
                "gateway.toml:14:1",
            ],
            vec!["*", "GET,PUT", "/users/{id}", "-", "upstream users", "ip", "gateway.toml:9:1"],
            vec!["*", "*", "/{*rest}", "-", "upstream users", "-", "gateway.toml:6:1"],
        ];
        assert_eq!(lines, expected);
        let json = serde_json::to_value(&listing).unwrap();
        assert_eq!(json[1]["methods"], serde_json::json!(["GET", "PUT"]));
        assert_eq!(json[0]["when"], "has(header.beta)");
    }
}

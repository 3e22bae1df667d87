//! Checks `[[routes]]` and `[defaults]`.

use std::collections::HashMap;

use http::{HeaderName, HeaderValue, Method, StatusCode, header};
use plugins::registry::PluginSettings;

use super::resilience::criticality;
use super::{Checking, Names};
use crate::config::at::At;
use crate::config::error::Problem;
use crate::config::fault::{nearest, quoted};
use crate::config::{
    Action, Forwarded, Guards, HostPattern, PathPattern, PluginUse, Route, Template, When, file,
};

/// What routes have in common.
struct Common<'a> {
    plugins: Vec<PluginUse>,
    forwarded: Forwarded,
    server_timing: bool,
    proxy_status: bool,
    body_bytes: Option<u64>,
    names: &'a Names,
}

impl Checking {
    pub(super) fn routes(
        &mut self,
        routes: Vec<At<file::Route>>,
        defaults: file::Defaults,
        names: &Names,
        body_bytes: Option<u64>,
    ) -> Vec<Route> {
        let file::Defaults { plugins, forwarded: headers, server_timing, proxy_status } = defaults;
        let common = Common {
            plugins: self.plugin_uses(plugins, names),
            forwarded: forwarded(&headers),
            server_timing,
            proxy_status,
            body_bytes,
            names,
        };
        let given = routes.iter().filter_map(|route| route.value.name.as_ref());
        let given = given.map(|name| (name.value.clone(), name.place)).collect::<Vec<_>>();
        self.no_twins("a route of this name", given.into_iter());
        let mut routes =
            routes.into_iter().filter_map(|route| self.route(route, &common)).collect::<Vec<_>>();
        name_routes(&mut routes);
        routes
    }

    fn route(&mut self, route: At<file::Route>, common: &Common<'_>) -> Option<Route> {
        let At { place, whole, value: mut route } = route;
        let path = self.take(route.path.place, PathPattern::parse(&route.path.value));
        let hosts = self.hosts(route.host.take());
        let methods = self.methods(&route.methods);
        let own = self.plugin_uses(std::mem::take(&mut route.plugins), common.names);
        if let Some(name) = &route.name
            && (name.value.is_empty() || name.value.chars().any(char::is_control))
        {
            self.refuse(
                name.place,
                "this name cannot be read",
                "give it some letters, or leave it out",
            );
        }
        let actions = [route.upstream.is_some(), route.redirect.is_some(), route.respond.is_some()];
        match actions.into_iter().filter(|given| *given).count() {
            0 if whole => self.refuse(
                place,
                "this route does nothing",
                "give it an upstream, a redirect or respond",
            ),
            0 | 1 => {}
            _ => self.refuse(
                place,
                "this route does two things",
                "give it one of upstream, redirect and respond",
            ),
        }
        self.route_links(&route, path.as_ref(), &common.names.links);
        let path = path?;
        let guards = self.route_guards(&mut route, common.names);
        let action = self.action(&mut route, &path, common.names);
        Some(Route {
            place,
            name: route.name.map(|name| name.value).unwrap_or_default(),
            hosts,
            path,
            methods,
            when: route.when.map(|when| When { place: when.place, text: when.value }),
            priority: route.priority,
            plugins: common.plugins.iter().cloned().chain(own).collect(),
            action: action?,
            timeout: route.timeout.map(|timeout| timeout.0),
            body_bytes: route.body_limit.map_or(common.body_bytes, |limit| limit.0),
            encoded_slashes: route.encoded_slashes,
            criticality: criticality(route.criticality),
            guards,
            server_timing: route.server_timing.unwrap_or(common.server_timing),
            proxy_status: route.proxy_status.unwrap_or(common.proxy_status),
            forwarded: route.forwarded.as_deref().map_or(common.forwarded, forwarded),
        })
    }

    /// What stands before a route; only an upstream needs it.
    fn route_guards(&mut self, route: &mut file::Route, names: &Names) -> Guards {
        let (breaker, limit) = (route.circuit_breaker.take(), route.limit.take());
        let fallback = route.fallback.take();
        if route.redirect.is_some() || route.respond.is_some() {
            let breaker = breaker.as_ref().map(|at| ("circuit-breaker", at.place));
            let limit = limit.as_ref().map(|at| ("limit", at.place));
            let fallback = fallback.as_ref().map(|at| ("fallback", at.place));
            for (key, place) in [breaker, limit, fallback].into_iter().flatten() {
                let what = format!("`{key}` without an upstream");
                self.refuse(place, what, "the gateway's own answers need none");
            }
        }
        self.guards(breaker, limit, fallback, names)
    }

    fn action(
        &mut self,
        route: &mut file::Route,
        path: &PathPattern,
        names: &Names,
    ) -> Option<Action> {
        let rewrite = route.rewrite.take();
        if let (Some(rewrite), None) = (&rewrite, &route.upstream)
            && (route.redirect.is_some() || route.respond.is_some())
        {
            self.refuse(
                rewrite.place,
                "`rewrite` without an upstream",
                "it is the path an upstream sees",
            );
        }
        if let Some(redirect) = route.redirect.take() {
            return self.redirect(redirect.value, path);
        }
        if let Some(respond) = route.respond.take() {
            return self.respond(respond.value);
        }
        let rewrite = match rewrite {
            None => Some(None),
            Some(rewrite) => {
                self.take(rewrite.place, rewrite_template(&rewrite.value, path)).map(Some)
            }
        };
        let name = route.upstream.take()?;
        let upstream = self.named("upstream", &name, &names.upstreams);
        Some(Action::Proxy { upstream: upstream?, rewrite: rewrite? })
    }

    fn redirect(&mut self, redirect: file::Redirect, path: &PathPattern) -> Option<Action> {
        let file::Redirect { to, status } = redirect;
        let code = match &status {
            None => Some(StatusCode::TEMPORARY_REDIRECT),
            Some(status) => match status.value {
                301 | 302 | 303 | 307 | 308 => StatusCode::from_u16(status.value).ok(),
                other => {
                    self.refuse(
                        status.place,
                        format!("{other} is no redirect"),
                        "it takes 301, 302, 303, 307 or 308",
                    );
                    None
                }
            },
        };
        let location = self.take(to.place, location_template(&to.value, path));
        Some(Action::Redirect { status: code?, location: location? })
    }

    fn respond(&mut self, respond: file::Respond) -> Option<Action> {
        let file::Respond { status, body, json, content_type, headers } = respond;
        let code = match status {
            None => Some(StatusCode::OK),
            Some(status) => self.status(&status),
        };
        let mut headers = self.headers(&headers);
        if let (Some(body), Some(_)) = (&body, &json) {
            self.refuse(body.place, "`body` beside `json`", "give one of them");
        }
        let content_type = match (content_type, &json, &body) {
            (Some(given), None, _) => self.take(given.place, header_value(&given.value)),
            (Some(given), Some(_), _) => {
                self.refuse(
                    given.place,
                    "`content-type` beside `json`",
                    "leave it out, or use `body`",
                );
                None
            }
            (None, Some(_), _) => Some(HeaderValue::from_static("application/json")),
            (None, None, Some(_)) => Some(HeaderValue::from_static("text/plain; charset=utf-8")),
            (None, None, None) => None,
        };
        let already = headers.iter().any(|(name, _)| name == header::CONTENT_TYPE);
        if let Some(content_type) = content_type.filter(|_| !already) {
            headers.push((header::CONTENT_TYPE, content_type));
        }
        let body = json.map(|json| json.value.to_string()).or(body.map(|body| body.value));
        Some(Action::Respond { status: code?, headers, body: body.unwrap_or_default() })
    }

    /// A status the gateway may answer with.
    pub(super) fn status(&mut self, status: &At<u16>) -> Option<StatusCode> {
        if !(200..=599).contains(&status.value) {
            self.refuse(
                status.place,
                format!("{} is no status", status.value),
                "it takes 200 to 599",
            );
            return None;
        }
        StatusCode::from_u16(status.value).ok()
    }

    /// Headers as a table: name = "value".
    pub(super) fn headers(
        &mut self,
        headers: &std::collections::BTreeMap<String, At<String>>,
    ) -> Vec<(HeaderName, HeaderValue)> {
        headers
            .iter()
            .filter_map(|(name, value)| {
                let checked =
                    header_name(name).and_then(|name| Ok((name, header_value(&value.value)?)));
                self.take(value.place, checked)
            })
            .collect()
    }

    fn hosts(&mut self, hosts: Option<At<file::OneOrMany>>) -> Vec<HostPattern> {
        let Some(At { place, whole, value }) = hosts else { return Vec::new() };
        let hosts = match value {
            file::OneOrMany::One(host) => vec![At { place, whole, value: host }],
            file::OneOrMany::Many(hosts) => hosts,
        };
        if hosts.is_empty() && whole {
            self.refuse(place, "an empty list of hosts", "leave `host` out to answer to any");
        }
        let hosts = hosts
            .iter()
            .filter_map(|host| {
                Some((self.take(host.place, HostPattern::parse(&host.value))?, host.place))
            })
            .collect::<Vec<_>>();
        self.no_twins("this host", hosts.iter().cloned());
        hosts.into_iter().map(|(host, _)| host).collect()
    }

    fn methods(&mut self, methods: &[At<String>]) -> Vec<Method> {
        let checked = methods
            .iter()
            .filter_map(|at| Some((self.take(at.place, method(&at.value))?, at.place)))
            .collect::<Vec<_>>();
        self.no_twins("this method", checked.iter().cloned());
        checked.into_iter().map(|(method, _)| method).collect()
    }

    fn plugin_uses(&mut self, uses: Vec<At<file::PluginUse>>, names: &Names) -> Vec<PluginUse> {
        uses.into_iter().filter_map(|used| self.plugin_use(used, names)).collect()
    }

    fn plugin_use(&mut self, used: At<file::PluginUse>, names: &Names) -> Option<PluginUse> {
        let At { place, whole, value } = used;
        let settings = match value {
            file::PluginUse::Named(name) => {
                self.named_plugin(&At { place, whole, value: name }, names)?
            }
            // One with faulty parts cannot be built; that was said.
            file::PluginUse::Settings(settings) if !whole => settings,
            file::PluginUse::Settings(settings) => {
                self.buildable(place, &settings);
                settings
            }
        };
        Some(PluginUse { place, settings })
    }

    fn named_plugin(&mut self, name: &At<String>, names: &Names) -> Option<PluginSettings> {
        let known = names.plugins.contains_key(&name.value);
        if !known && PluginSettings::NAMES.contains(&name.value.as_str()) {
            self.refuse(
                name.place,
                format!("there is no [plugins.{}]", name.value),
                format!("write {{ {} = {{ … }} }} for the plugin itself", name.value),
            );
            return None;
        }
        self.named("plugin", name, &names.plugins)
    }
}

fn forwarded(headers: &[file::Forwarded]) -> Forwarded {
    Forwarded {
        x_forwarded: headers.contains(&file::Forwarded::XForwarded),
        rfc7239: headers.contains(&file::Forwarded::Rfc7239),
    }
}

fn rewrite_template(text: &str, path: &PathPattern) -> Result<Template, Problem> {
    if !text.starts_with('/') {
        return Err(Problem::nowhere(format!("{} is no path", quoted(text)))
            .help("it starts with a slash, such as \"/{rest}\""));
    }
    if text.contains(['?', '#']) {
        return Err(Problem::nowhere(format!("{} is more than a path", quoted(text)))
            .help("the client's query goes along as it is"));
    }
    Template::parse(text, path)
}

fn location_template(text: &str, path: &PathPattern) -> Result<Template, Problem> {
    // A location that starts with a parameter, or with two slashes, could be led to any host.
    let starts_well = text.starts_with("https://")
        || text.starts_with("http://")
        || (text.starts_with('/') && !text.starts_with("//"));
    if !starts_well {
        return Err(Problem::nowhere(format!("{} is no place to redirect to", quoted(text)))
            .help("it starts with \"https://\", \"http://\" or one slash"));
    }
    Template::parse(text, path)
}

/// A method; a misspelt one is refused, one of another protocol (PURGE) is not.
pub(super) fn method(text: &str) -> Result<Method, Problem> {
    const KNOWN: [&str; 9] =
        ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT"];
    let wrong = Problem::nowhere(format!("{} is no method", quoted(text)));
    let is_method = !text.is_empty()
        && text.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '-');
    match (KNOWN.contains(&text), nearest(text, &KNOWN)) {
        (false, Some(near)) => Err(wrong.help(format!("did you mean \"{near}\"?"))),
        (false, None) if !is_method => Err(wrong.help("methods are in capitals, such as \"GET\"")),
        (_, _) => Method::from_bytes(text.as_bytes())
            .map_err(|_| wrong.help("methods are in capitals, such as \"GET\"")),
    }
}

fn header_name(text: &str) -> Result<HeaderName, Problem> {
    let name = HeaderName::from_bytes(text.as_bytes())
        .map_err(|_| Problem::nowhere(format!("{} is no header name", quoted(text))))?;
    let framing = [header::CONNECTION, header::CONTENT_LENGTH, header::TRANSFER_ENCODING];
    match framing.contains(&name) {
        true => Err(Problem::nowhere(format!("the header `{name}` cannot be set"))
            .help("the gateway sets it itself")),
        false => Ok(name),
    }
}

pub(super) fn header_value(text: &str) -> Result<HeaderValue, Problem> {
    HeaderValue::from_str(text)
        .map_err(|_| Problem::nowhere(format!("{} is no header value", quoted(text))))
}

/// Gives the routes without a name their path as name, and more where that is shared.
fn name_routes(routes: &mut [Route]) {
    let mut used = HashMap::new();
    for route in routes.iter() {
        let name = if route.name.is_empty() { &route.path.text } else { &route.name };
        *used.entry(name.clone()).or_insert(0) += 1;
    }
    for route in routes.iter_mut().filter(|route| route.name.is_empty()) {
        route.name.clone_from(&route.path.text);
        if used.get(&route.name).is_some_and(|uses| *uses > 1) {
            route.name = long_name(route);
        }
    }
    let mut seen = HashMap::new();
    for route in routes {
        let count = seen.entry(route.name.clone()).and_modify(|count| *count += 1).or_insert(1);
        if *count > 1 {
            route.name = format!("{} #{count}", route.name);
        }
    }
}

/// `GET,POST api.example.com/users/{id}`.
fn long_name(route: &Route) -> String {
    let methods = route.methods.iter().map(Method::as_str).collect::<Vec<_>>().join(",");
    let host = match route.hosts.first() {
        None => String::new(),
        Some(HostPattern::Exact(host)) => host.clone(),
        Some(HostPattern::Wildcard(suffix)) => format!("*{suffix}"),
    };
    format!("{methods} {host}{}", route.path.text).trim_start().to_owned()
}

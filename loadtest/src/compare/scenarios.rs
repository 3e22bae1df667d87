//! The scenarios: what the proxies do, and how the load asks for it.

/// One scenario of the list.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scenario {
    pub(super) name: &'static str,
    pub(super) does: &'static str,
    pub(super) job: Job,
}

/// What a proxy has to do; each config generator writes it in its own proxy's language.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Job {
    /// Half exact, half prefixes; one: everything goes to the origin.
    pub(super) routes: usize,
    pub(super) edge: Edge,
    pub(super) wire: Wire,
    pub(super) task: Task,
    /// Pairs of header rules: one field set in the request, one in the response.
    pub(super) header_rules: usize,
    /// Idle connections to be held beside the active ones.
    pub(super) idle_connections: usize,
    pub(super) asked: Asked,
}

/// Which of many routes the load asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// A prefix in the middle of the table.
    One,
    /// Any prefix, at random, as far as the load can choose.
    Any,
}

/// What an edge does for every request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Edge {
    /// Nothing that can be left out.
    Bare,
    /// Forwarded headers, buffered JSON access log, counters.
    Full,
}

/// What the client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wire {
    Http1,
    /// HTTP/1.1 over TLS, connections kept.
    Tls,
    /// HTTP/1.1 over TLS, a connection and a full handshake for each request.
    TlsNew,
    /// The same, but sessions are resumed.
    TlsResumed,
    /// HTTP/2 over TLS.
    Http2,
    /// HTTP/2 with prior knowledge.
    Http2Clear,
    WebSocket,
}

impl Wire {
    pub(super) const fn is_tls(self) -> bool {
        match self {
            Self::Tls | Self::TlsNew | Self::TlsResumed | Self::Http2 => true,
            Self::Http1 | Self::Http2Clear | Self::WebSocket => false,
        }
    }

    /// A connection for each request.
    pub(super) const fn is_new(self) -> bool {
        matches!(self, Self::TlsNew | Self::TlsResumed)
    }
}

/// What a request is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Task {
    /// An answer of 300 bytes.
    Small,
    /// An answer of so many bytes.
    Down(usize),
    /// A request with a body of so many bytes.
    Up(usize),
    /// An answer that may be kept.
    Cache,
    /// Requests per client are counted; the limit is never reached.
    Limit,
    /// A token is checked (HS256, expiry).
    Jwt,
    Grpc,
    WebSocket,
    /// Three answers joined into one.
    Aggregate,
}

/// Who answers behind the proxies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OriginKind {
    /// nginx with fixed answers: the cheapest.
    Fixed,
    /// `loadtest origin`, which reads what it is sent and speaks WebSocket and gRPC.
    Scripted,
}

const BARE: Job = Job {
    routes: 1,
    edge: Edge::Bare,
    wire: Wire::Http1,
    task: Task::Small,
    header_rules: 0,
    idle_connections: 0,
    asked: Asked::One,
};

const PLAIN: Job = Job { routes: 100, edge: Edge::Full, ..BARE };

const KIB_16: usize = 16 * 1024;
pub(super) const MIB: usize = 1024 * 1024;

/// All of them, in the order of the table.
pub(super) const ALL: [Scenario; 16] = [
    scenario("bare", "one route, nothing else", BARE),
    scenario("plain", "100 routes, forwarded headers, access log, counters", PLAIN),
    scenario("body-16k", "answers of 16 KiB", Job { task: Task::Down(KIB_16), ..BARE }),
    scenario("body-1m", "answers of 1 MiB", Job { task: Task::Down(MIB), ..BARE }),
    scenario("upload", "POST of 1 MiB", Job { task: Task::Up(MIB), ..BARE }),
    scenario("cached", "the answer comes from the cache", Job { task: Task::Cache, ..BARE }),
    scenario("limited", "requests counted per client", Job { task: Task::Limit, ..BARE }),
    scenario("jwt", "a token checked, HS256", Job { task: Task::Jwt, ..BARE }),
    scenario("tls", "HTTP/1.1 over TLS, kept alive", Job { wire: Wire::Tls, ..BARE }),
    scenario(
        "tls-new",
        "a connection and a full handshake a request",
        Job { wire: Wire::TlsNew, ..BARE },
    ),
    scenario(
        "tls-resumed",
        "a connection a request, session resumed",
        Job { wire: Wire::TlsResumed, ..BARE },
    ),
    scenario("http2", "HTTP/2 over TLS", Job { wire: Wire::Http2, ..BARE }),
    scenario(
        "grpc",
        "gRPC echo, HTTP/2 on both sides",
        Job { wire: Wire::Http2Clear, task: Task::Grpc, ..BARE },
    ),
    scenario(
        "websocket",
        "echo of messages of 64 bytes",
        Job { wire: Wire::WebSocket, task: Task::WebSocket, ..BARE },
    ),
    scenario("aggregate", "three answers joined", Job { task: Task::Aggregate, ..BARE }),
    scenario("everything", "plain over HTTP/2 and TLS", Job { wire: Wire::Http2, ..PLAIN }),
];

const fn scenario(name: &'static str, does: &'static str, job: Job) -> Scenario {
    Scenario { name, does, job }
}

impl Scenario {
    pub(super) fn named(name: &str) -> Option<Self> {
        ALL.into_iter().find(|scenario| scenario.name == name)
    }
}

/// One route of a table, to be written in each proxy's language.
pub(super) enum Route {
    Exact(String),
    Prefix(String),
}

impl Job {
    /// A job of `routes` routes and nothing else.
    pub(super) const fn of_routes(routes: usize) -> Self {
        Self { routes, asked: Asked::Any, ..BARE }
    }

    pub(super) const fn of_connections(idle_connections: usize) -> Self {
        Self { idle_connections, ..BARE }
    }

    pub(super) const fn of_header_rules(header_rules: usize) -> Self {
        Self { header_rules, ..BARE }
    }

    /// The table of routes, or one for everything.
    pub(super) fn routes(&self) -> Vec<Route> {
        match self.routes {
            1 => vec![Route::Prefix("/".to_owned())],
            count => (0..count)
                .map(|number| match number % 2 {
                    0 => Route::Prefix(format!("/service-{}/", number / 2)),
                    _ => Route::Exact(format!("/page-{}", number / 2)),
                })
                .collect(),
        }
    }

    pub(super) const fn origin(&self) -> OriginKind {
        match self.task {
            Task::Up(_) | Task::Grpc | Task::WebSocket => OriginKind::Scripted,
            Task::Small
            | Task::Down(_)
            | Task::Cache
            | Task::Limit
            | Task::Jwt
            | Task::Aggregate => OriginKind::Fixed,
        }
    }

    /// What a client asks for; with many routes a prefix in the middle of the table.
    pub(super) fn path(&self) -> String {
        match self.task {
            Task::Cache => "/kept/items/4711?page=2".to_owned(),
            Task::Small | Task::Limit | Task::Jwt => match self.routes {
                1 => "/service-25/items/4711?page=2".to_owned(),
                count => format!("/service-{}/items/4711?page=2", count / 4),
            },
            Task::Down(bytes) => format!("/bytes/{bytes}"),
            Task::Up(_) => "/sink".to_owned(),
            Task::Grpc => "/loadtest.Echo/Unary".to_owned(),
            Task::WebSocket => "/websocket".to_owned(),
            Task::Aggregate => "/aggregate".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_requested_route_is_a_prefix_in_the_middle_of_the_table() {
        for count in [10, 100, 1_000, 10_000] {
            let job = Job::of_routes(count);
            let all = job.routes();
            assert_eq!(all.len(), count);
            let place = all.iter().position(|route| match route {
                Route::Prefix(prefix) => job.path().starts_with(prefix),
                Route::Exact(_) => false,
            });
            assert_eq!(place, Some(count / 4 * 2));
        }
    }

    #[test]
    fn every_scenario_has_its_own_name() {
        for scenario in ALL {
            let named = Scenario::named(scenario.name).expect("in the list");
            assert_eq!(named.does, scenario.does);
        }
        assert!(Scenario::named("bear").is_none());
    }
}

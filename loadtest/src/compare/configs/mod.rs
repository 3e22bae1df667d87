//! The folder of one comparison: the generated configs, each saying the same in its proxy's own language.

mod gateway;
mod haproxy;
mod nginx;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::process::{LOAD_CORE, Started, find_program, free_port, pinned};
use super::proxies::{Kind, Proxy};

/// How many routes the scenario `plain` has; half exact, half prefixes, the requested one in the middle.
const ROUTES: usize = 100;

/// What the load asks for: a prefix route in the middle of the table.
pub(super) const REQUEST_PATH: &str = "/service-50/items/4711?page=2";

/// What the proxies do beside forwarding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scenario {
    /// 100 routes, forwarded headers, buffered JSON access log, counters.
    Plain,
    /// One route and nothing else.
    Bare,
}

impl Scenario {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Bare => "bare",
        }
    }

    pub(super) fn named(name: &str) -> Option<Self> {
        [Self::Plain, Self::Bare].into_iter().find(|scenario| scenario.name() == name)
    }
}

/// What becomes of the generated files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Files {
    Removed,
    Kept,
}

/// One route of the table, to be written in each proxy's language.
enum Route {
    Exact(String),
    Prefix(String),
}

fn routes() -> impl Iterator<Item = Route> {
    (0..ROUTES).map(|number| match number % 2 {
        0 => Route::Prefix(format!("/service-{number}/")),
        _ => Route::Exact(format!("/page-{number}")),
    })
}

/// Where things are, for the config of one proxy.
struct Places<'a> {
    folder: &'a Path,
    port: u16,
    admin_port: u16,
    origin_port: u16,
}

/// A proxy with its config, ready to be started any number of times.
pub(super) struct Prepared<'a> {
    pub(super) proxy: &'a Proxy,
    pub(super) folder: PathBuf,
    pub(super) config: PathBuf,
    /// The same for callgrind, where it has to differ.
    pub(super) single_process_config: PathBuf,
    pub(super) port: u16,
    /// The file that gets a line per request, where there is one.
    pub(super) log: Option<PathBuf>,
}

impl Prepared<'_> {
    /// Adds the program's arguments to a command that began with `pinned` or valgrind.
    pub(super) fn add_arguments(&self, command: &mut Command, config: &Path) {
        self.proxy.add_arguments(command, &self.folder, config);
    }

    pub(super) const fn kind(&self) -> Kind {
        self.proxy.kind
    }
}

/// A running origin.
pub(super) struct Origin {
    pub(super) port: u16,
    _process: Started,
}

/// A temporary folder, removed with this value unless it is to be kept.
pub(super) struct Workspace {
    folder: PathBuf,
    files: Files,
}

impl Workspace {
    pub(super) fn create(files: Files) -> Result<Self, String> {
        let name = format!("gateway-compare-{}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        fs::create_dir(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        Ok(Self { folder, files })
    }

    /// nginx on the load's core: a fixed answer over keep-alive connections.
    pub(super) fn start_origin(&self) -> Result<Origin, String> {
        let folder = self.subfolder("origin")?;
        let port = free_port()?;
        let config = write(&folder, "nginx.conf", &nginx::origin(&folder, port))?;
        let program = find_program("nginx").ok_or("nginx is not installed")?;
        let mut command = pinned(LOAD_CORE, &program);
        command.args(["-e", "stderr", "-p"]).arg(&folder).arg("-c").arg(&config);
        let mut process = Started::start("origin", &mut command, folder.join("messages"))?;
        process.wait_for_port(port, Duration::from_secs(10))?;
        Ok(Origin { port, _process: process })
    }

    /// Writes the configs of one proxy.
    pub(super) fn prepare<'a>(
        &self,
        proxy: &'a Proxy,
        scenario: Scenario,
        origin_port: u16,
    ) -> Result<Prepared<'a>, String> {
        let folder = self.subfolder(&format!("{}-{}", proxy.kind.name(), scenario.name()))?;
        let places =
            Places { folder: &folder, port: free_port()?, admin_port: free_port()?, origin_port };
        let (config, single_process_config) = match proxy.kind {
            Kind::Nginx => (
                write(&folder, "nginx.conf", &nginx::config(scenario, &places))?,
                write(&folder, "single.conf", &nginx::single_process(scenario, &places))?,
            ),
            Kind::Haproxy => {
                write(&folder, "exact.map", &haproxy::exact_map())?;
                write(&folder, "prefix.map", &haproxy::prefix_map())?;
                let path = write(&folder, "haproxy.cfg", &haproxy::config(scenario, &places))?;
                (path.clone(), path)
            }
            Kind::Gateway => {
                let path = write(&folder, "gateway.toml", &gateway::config(scenario, &places))?;
                (path.clone(), path)
            }
        };
        let log = match (scenario, proxy.kind) {
            (Scenario::Plain, Kind::Nginx | Kind::Gateway) => Some(folder.join("access.log")),
            (Scenario::Plain, Kind::Haproxy) | (Scenario::Bare, _) => None,
        };
        Ok(Prepared { proxy, port: places.port, folder, config, single_process_config, log })
    }

    fn subfolder(&self, name: &str) -> Result<PathBuf, String> {
        let folder = self.folder.join(name);
        fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        Ok(folder)
    }
}

impl Drop for Workspace {
    fn drop(&mut self) {
        let folder = self.folder.display();
        match self.files {
            // Also after an error: then they are wanted most.
            Files::Kept => super::report::note(&format!("configs and logs: {folder}")),
            Files::Removed => {
                if let Err(error) = fs::remove_dir_all(&self.folder) {
                    super::report::note(&format!("{folder} stays: {error}"));
                }
            }
        }
    }
}

fn write(folder: &Path, name: &str, text: &str) -> Result<PathBuf, String> {
    let path = folder.join(name);
    fs::write(&path, text).map_err(|error| format!("{}: {error}", path.display()))?;
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_requested_route_is_a_prefix_in_the_middle_of_a_hundred() {
        let all: Vec<Route> = routes().collect();
        assert_eq!(all.len(), 100);
        let place = all.iter().position(|route| match route {
            Route::Prefix(prefix) => REQUEST_PATH.starts_with(prefix),
            Route::Exact(_) => false,
        });
        assert_eq!(place, Some(50));
    }

    #[test]
    fn every_config_names_every_route_only_in_the_full_scenario() {
        let folder = PathBuf::from("/x");
        let places = Places { folder: &folder, port: 1, admin_port: 2, origin_port: 3 };
        for route in routes() {
            let (Route::Exact(path) | Route::Prefix(path)) = route;
            assert!(nginx::config(Scenario::Plain, &places).contains(&format!(" {path} {{")));
            assert!(gateway::config(Scenario::Plain, &places).contains(&format!("\"{path}")));
            let maps = haproxy::exact_map() + &haproxy::prefix_map();
            assert!(maps.contains(&format!("{path} origin\n")));
        }
        for scenario in [Scenario::Bare, Scenario::Plain] {
            let plain = scenario == Scenario::Plain;
            assert_eq!(nginx::config(scenario, &places).contains("X-Forwarded-Proto"), plain);
            assert_eq!(haproxy::config(scenario, &places).contains("X-Forwarded-Proto"), plain);
            assert_eq!(nginx::config(scenario, &places).contains("access.log"), plain);
            assert_eq!(gateway::config(scenario, &places).contains("access.log"), plain);
        }
    }

    #[test]
    fn the_folder_goes_with_its_value() {
        let workspace = Workspace::create(Files::Removed).expect("a temporary folder");
        let folder = workspace.folder.clone();
        assert!(folder.is_dir());
        drop(workspace);
        assert!(!folder.exists());
    }
}

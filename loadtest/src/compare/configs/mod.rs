//! The folder of one comparison: the generated configs, each saying the same in its proxy's own language.

mod caddy;
mod envoy;
mod gateway;
mod haproxy;
pub(super) mod nginx;
mod origin;
mod varnish;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::certificates::{Certificates, CertificatesError};
use super::process::{LOAD_CORE, ProcessError, Started, find_program, free_port, pinned};
use super::proxies::{Kind, Proxy};
use super::scenarios::{Edge, Job, OriginKind, Task};
use crate::failure::FileError;

/// Why a proxy or an origin cannot be prepared.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WorkspaceError {
    #[error("no temporary folder: {0}")]
    NoFolder(io::Error),
    #[error(transparent)]
    Certificates(#[from] CertificatesError),
    #[error(transparent)]
    File(#[from] FileError),
    #[error("loadtest: {0}")]
    Own(io::Error),
    #[error("nginx is not installed")]
    NoNginx,
    #[error(transparent)]
    Process(#[from] ProcessError),
}

/// What becomes of the generated files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Files {
    Removed,
    Kept,
}

/// Where things are, for the config of one proxy.
struct Places<'a> {
    folder: &'a Path,
    port: u16,
    admin_port: u16,
    origin_port: u16,
    certificates: &'a Certificates,
}

/// A proxy with its config, ready to be started any number of times.
pub(super) struct Prepared<'a> {
    pub(super) proxy: &'a Proxy,
    pub(super) job: Job,
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
        self.proxy.add_arguments(command, &self.folder, config, self.port);
    }

    pub(super) const fn kind(&self) -> Kind {
        self.proxy.kind
    }

    /// What the proxy was told.
    pub(super) fn config_text(&self) -> String {
        fs::read_to_string(&self.config).unwrap_or_default()
    }
}

/// A running origin.
pub(super) struct Origin {
    pub(super) port: u16,
    _process: Started,
}

/// A temporary folder, removed with this value unless it is to be kept.
pub(super) struct Workspace {
    pub(super) folder: PathBuf,
    pub(super) certificates: Certificates,
    pub(super) files: Files,
}

impl Workspace {
    pub(super) fn create(files: Files) -> Result<Self, WorkspaceError> {
        let folder = tempfile::Builder::new()
            .prefix("gateway-compare-")
            .tempdir()
            .map_err(WorkspaceError::NoFolder)?
            .keep();
        let certificates = Certificates::within(&folder);
        let workspace = Self { folder, certificates, files };
        workspace.certificates.write()?;
        Ok(workspace)
    }

    /// The origin that a job needs, on the load's core.
    pub(super) fn start_origin(&self, job: &Job) -> Result<Origin, WorkspaceError> {
        let folder = self.subfolder("origin")?;
        let port = free_port()?;
        let mut command = match job.origin() {
            OriginKind::Fixed => fixed_origin(job, &folder, port)?,
            OriginKind::Scripted => {
                let own = std::env::current_exe().map_err(WorkspaceError::Own)?;
                let mut command = pinned(LOAD_CORE, &own);
                command.args(["origin", "--listen", &format!("127.0.0.1:{port}")]);
                command
            }
        };
        let mut process = Started::start("origin", &mut command, folder.join("messages"))?;
        process.wait_for_port(port, Duration::from_secs(10))?;
        Ok(Origin { port, _process: process })
    }

    /// Writes the configs of one proxy.
    pub(super) fn prepare<'a>(
        &self,
        proxy: &'a Proxy,
        name: &str,
        job: &Job,
        origin_port: u16,
    ) -> Result<Prepared<'a>, WorkspaceError> {
        let folder = self.subfolder(&format!("{}-{name}", proxy.kind.name()))?;
        let places = Places {
            folder: &folder,
            port: free_port()?,
            admin_port: free_port()?,
            origin_port,
            certificates: &self.certificates,
        };
        let (config, single_process_config) = write_config(proxy.kind, job, &places)?;
        let log = match (job.edge, proxy.kind) {
            (Edge::Full, Kind::Nginx | Kind::Envoy | Kind::Caddy | Kind::Gateway) => {
                Some(folder.join("access.log"))
            }
            (Edge::Full, Kind::Haproxy | Kind::Varnish) | (Edge::Bare, _) => None,
        };
        let (job, port) = (*job, places.port);
        Ok(Prepared { proxy, job, port, folder, config, single_process_config, log })
    }

    /// A folder within.
    pub(super) fn subfolder(&self, name: &str) -> Result<PathBuf, FileError> {
        let folder = self.folder.join(name);
        fs::create_dir_all(&folder).map_err(FileError::at(&folder))?;
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

fn fixed_origin(job: &Job, folder: &Path, port: u16) -> Result<Command, WorkspaceError> {
    let config = write(folder, "nginx.conf", &origin::config(folder, port))?;
    if let Task::Down(bytes) = job.task {
        let files = folder.join("bytes");
        fs::create_dir_all(&files).map_err(FileError::at(&files))?;
        write(&files, &bytes.to_string(), &"x".repeat(bytes))?;
    }
    let program = find_program("nginx").ok_or(WorkspaceError::NoNginx)?;
    let mut command = pinned(LOAD_CORE, &program);
    command.args(["-e", "stderr", "-p"]).arg(folder).arg("-c").arg(&config);
    Ok(command)
}

/// The config, and the one for callgrind.
fn write_config(
    kind: Kind,
    job: &Job,
    places: &Places<'_>,
) -> Result<(PathBuf, PathBuf), FileError> {
    let folder = places.folder;
    let path = match kind {
        Kind::Nginx => {
            write(folder, "jwt.js", &nginx::token_script())?;
            let single = write(folder, "single.conf", &nginx::single_process(job, places))?;
            return Ok((write(folder, "nginx.conf", &nginx::config(job, places))?, single));
        }
        Kind::Haproxy => {
            write(folder, "exact.map", &haproxy::exact_map(job))?;
            write(folder, "prefix.map", &haproxy::prefix_map(job))?;
            write(folder, "haproxy.cfg", &haproxy::config(job, places))?
        }
        Kind::Envoy => write(folder, "envoy.json", &envoy::config(job, places))?,
        Kind::Varnish => write(folder, "varnish.vcl", &varnish::config(job, places))?,
        Kind::Caddy => write(folder, "Caddyfile", &caddy::config(job, places))?,
        Kind::Gateway => write(folder, "gateway.toml", &gateway::config(job, places))?,
    };
    Ok((path.clone(), path))
}

fn write(folder: &Path, name: &str, text: &str) -> Result<PathBuf, FileError> {
    let path = folder.join(name);
    fs::write(&path, text).map_err(FileError::at(&path))?;
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::super::scenarios::{Route, Scenario};
    use super::*;

    /// The text of every config that says what the proxy does.
    fn text(kind: Kind, job: &Job) -> String {
        let certificates = Certificates::within(Path::new("/x"));
        let places = Places {
            folder: Path::new("/x"),
            port: 1,
            admin_port: 2,
            origin_port: 3,
            certificates: &certificates,
        };
        match kind {
            Kind::Nginx => nginx::config(job, &places),
            Kind::Haproxy => {
                [haproxy::config(job, &places), haproxy::exact_map(job), haproxy::prefix_map(job)]
                    .concat()
            }
            Kind::Envoy => envoy::config(job, &places),
            Kind::Varnish => varnish::config(job, &places),
            Kind::Caddy => caddy::config(job, &places),
            Kind::Gateway => gateway::config(job, &places),
        }
    }

    fn job(name: &str) -> Job {
        Scenario::named(name).expect("in the list").job
    }

    #[test]
    fn every_config_names_every_route_and_what_an_edge_does() {
        for kind in [Kind::Nginx, Kind::Haproxy, Kind::Envoy, Kind::Caddy, Kind::Gateway] {
            let plain = text(kind, &job("plain"));
            let missing = job("plain").routes().into_iter().find(|route| {
                let (Route::Exact(path) | Route::Prefix(path)) = route;
                !["{path} ", "{path}\"", "{path}*", "{path}{*"]
                    .iter()
                    .any(|form| plain.contains(&form.replace("{path}", path)))
            });
            assert!(missing.is_none(), "{}", kind.name());
            let logs = if kind == Kind::Haproxy { "log ring@" } else { "access.log" };
            assert!(plain.contains(logs), "{}", kind.name());
            assert!(!text(kind, &job("bare")).contains(logs), "{}", kind.name());
        }
    }

    #[test]
    fn forwarded_fields_are_set_only_where_an_edge_is_asked_for() {
        for kind in [Kind::Nginx, Kind::Haproxy, Kind::Envoy, Kind::Caddy] {
            let says = |name: &str| text(kind, &job(name)).to_lowercase().contains("x-real-ip");
            assert!(says("plain") && says("everything") && !says("bare"), "{}", kind.name());
        }
    }

    #[test]
    fn certificates_are_given_wherever_tls_is_spoken() {
        for scenario in super::super::scenarios::ALL {
            for kind in [Kind::Nginx, Kind::Haproxy, Kind::Envoy, Kind::Caddy, Kind::Gateway] {
                let has = text(kind, &scenario.job).contains("/x/");
                let has_certificate = has
                    && ["/x/site.pem", "/x/both.pem"]
                        .iter()
                        .any(|path| text(kind, &scenario.job).contains(path));
                let name = kind.name();
                assert_eq!(has_certificate, scenario.job.wire.is_tls(), "{name} {}", scenario.name);
            }
        }
    }

    #[test]
    fn header_rules_are_written_as_often_as_asked_for() {
        for kind in [Kind::Nginx, Kind::Haproxy, Kind::Envoy, Kind::Caddy, Kind::Gateway] {
            let lower = text(kind, &Job::of_header_rules(7)).to_lowercase();
            for field in ["x-rule-", "x-done-"] {
                assert_eq!(lower.matches(field).count(), 7, "{} {field}", kind.name());
            }
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

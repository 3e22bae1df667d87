//! What is measured: a gateway that runs already, or one that is started here with an origin beside it.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use tempfile::TempDir;
use tokio::process::{Child, Command};
use tokio::time::{Instant, interval};

use crate::connection::fetch;
use crate::failure::Failure;
use crate::origin;

/// How long a gateway may take to be ready.
const READY_TIME: Duration = Duration::from_secs(20);

/// Which gateway is measured: `--gateway`, or `--target` with `--pid`.
#[derive(Args, Debug)]
pub(crate) struct Wanted {
    /// Start this program, with a config of our own and an origin beside it.
    #[arg(long, value_name = "PROGRAM", conflicts_with_all = ["target", "pid"])]
    gateway: Option<PathBuf>,
    /// Measure what listens here; behind it has to be a `loadtest origin`.
    #[arg(long, value_name = "HOST:PORT", requires = "pid")]
    target: Option<SocketAddr>,
    /// Its process.
    #[arg(long)]
    pid: Option<u32>,
}

/// A gateway to measure; one that was started here ends with this value.
pub(crate) struct Rig {
    pub(crate) target: SocketAddr,
    pub(crate) pid: u32,
    pub(crate) started: Option<Gateway>,
}

impl Rig {
    pub(crate) async fn new(wanted: &Wanted) -> Result<Self, Failure> {
        match wanted {
            Wanted { gateway: Some(program), .. } => {
                let gateway = Gateway::start(program).await?;
                let pid = gateway.pid;
                Ok(Self { target: gateway.target, pid, started: Some(gateway) })
            }
            Wanted { gateway: None, target: Some(target), pid: Some(pid) } => {
                Ok(Self { target: *target, pid: *pid, started: None })
            }
            Wanted { .. } => Err(Failure::Setting {
                option: "--gateway",
                reason: "give a program, or --target and --pid of a running one",
            }),
        }
    }
}

/// A gateway started here.
pub(crate) struct Gateway {
    pub(crate) target: SocketAddr,
    pub(crate) admin: SocketAddr,
    pub(crate) origin: SocketAddr,
    pub(crate) program: PathBuf,
    pub(crate) config: PathBuf,
    pub(crate) child: Child,
    pid: u32,
    _folder: TempDir,
}

/// The admin token of gateways started here.
pub(crate) const TOKEN: &str = "loadtest-token";

impl Gateway {
    async fn start(program: &Path) -> Result<Self, Failure> {
        let program = std::path::absolute(program)
            .map_err(|source| Failure::File { path: program.to_owned(), source })?;
        let origin = origin::start().await?;
        let folder = private_folder()?;
        let (target, admin) = (free_address()?, free_address()?);
        let config = folder.path().join("gateway.toml");
        let text = config_text(target, admin, origin, folder.path());
        std::fs::write(&config, text)
            .map_err(|source| Failure::File { path: config.clone(), source })?;
        let mut child = command(&program, &config)
            .spawn()
            .map_err(|source| Failure::Program { program: program.clone(), source })?;
        wait_until_ready(admin, &mut child).await?;
        let pid = child.id().ok_or(Failure::Ended { status: "no process id".to_owned() })?;
        Ok(Self { target, admin, origin, program, config, child, pid, _folder: folder })
    }
}

/// `gateway run --config F`; killed when its value is dropped.
pub(crate) fn command(program: &Path, config: &Path) -> Command {
    let mut command = Command::new(program);
    command.args(["run", "--config"]).arg(config).kill_on_drop(true);
    command.stdin(std::process::Stdio::null()).stdout(std::process::Stdio::null());
    command
}

/// Asks `/readyz` until it says yes.
pub(crate) async fn wait_until_ready(admin: SocketAddr, child: &mut Child) -> Result<(), Failure> {
    let started = Instant::now();
    let mut look = interval(Duration::from_millis(20));
    while started.elapsed() < READY_TIME {
        look.tick().await;
        if let Ok(Some(status)) = child.try_wait() {
            return Err(Failure::Ended { status: status.to_string() });
        }
        if fetch(admin, "GET", "/readyz").await.is_ok_and(|answer| answer.status == 200) {
            return Ok(());
        }
    }
    Err(Failure::TooLate { what: "readiness", seconds: READY_TIME.as_secs() })
}

/// The hand-over socket must not be in a folder that others may enter.
fn private_folder() -> Result<TempDir, Failure> {
    let failed = |source| Failure::File { path: std::env::temp_dir(), source };
    let folder = tempfile::Builder::new().prefix("loadtest-").tempdir().map_err(failed)?;
    let private = std::fs::Permissions::from_mode(0o700);
    std::fs::set_permissions(folder.path(), private).map_err(failed)?;
    Ok(folder)
}

/// A port of the loopback that was free a moment ago.
fn free_address() -> Result<SocketAddr, Failure> {
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let failed = |source| Failure::Socket { address: any, source };
    TcpListener::bind(any).and_then(|listener| listener.local_addr()).map_err(failed)
}

/// One worker, everything to the origin, limits wide enough that they are not what is measured, an access log as in use.
fn config_text(target: SocketAddr, admin: SocketAddr, origin: SocketAddr, folder: &Path) -> String {
    let folder = folder.display();
    format!(
        r#"[[listeners]]
address = "{target}"

[server]
threads = 1
handover = "{folder}/handover.sock"
drain = {{ delay = "0s", upgraded = "1s" }}

[limits]
body = "none"

[admin]
address = "{admin}"
token = {{ text = "{TOKEN}" }}

[access-log]
file = "{folder}/access.log"

[upstreams.origin]
servers = ["{origin}"]

[[routes]]
path = "/{{*rest}}"
upstream = "origin"
"#
    )
}

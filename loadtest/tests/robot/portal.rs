//! The whole portal on free ports: the services in this process, before them the gateway's program with the
//! repository's `config.toml`.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use crate::stores::Stores;

/// How long the gateway may take to listen.
const START_TIME_MAX: Duration = Duration::from_secs(30);

/// Ends with its value.
pub(crate) struct Portal {
    pub(crate) gateway: SocketAddr,
    pub(crate) recommendation: SocketAddr,
    _program: Child,
    _services: Services,
    _folder: TempDir,
    _stores: Stores,
}

impl Portal {
    pub(crate) async fn start(stores: Stores) -> Self {
        let services = Services::start(&stores).await;
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("config.toml");
        std::fs::write(&config, services.config()).unwrap();
        let (program, gateway) = run_gateway(&config).await;
        let recommendation = services.recommendation.address();
        Self {
            gateway,
            recommendation,
            _program: program,
            _services: services,
            _folder: folder,
            _stores: stores,
        }
    }
}

struct Services {
    users: users::Running,
    news: Vec<news::Running>,
    recommendation: recommendation::Running,
    auth: auth::Running,
}

impl Services {
    async fn start(stores: &Stores) -> Self {
        let users = users::start(users::Configuration {
            listen: any_port(),
            grpc_listen: any_port(),
            database: stores.database("users").await.parse().unwrap(),
            queue: stores.queue().parse().unwrap(),
            // The least that argon2 takes: the robot is not about its cost.
            hash_cost: users::HashCost { memory_kib: 8, passes: 1 },
        });
        let users = users.await.unwrap();
        let mut news = Vec::new();
        for theme in ["famous", "politics", "sports"] {
            news.push(start_news(stores, theme).await);
        }
        let recommendation = recommendation::start(recommendation::Settings {
            listen: any_port(),
            database: stores.database("recommendation").await.parse().unwrap(),
            events: stores.events().parse().unwrap(),
            users: format!("http://{}", users.grpc_address()).parse().unwrap(),
            users_timeout_ms: 1000,
            remember_days: 30,
        });
        let recommendation = recommendation.await.unwrap();
        let auth = auth::start(auth::Settings::new(
            any_port(),
            stores.database("auth").await.parse().unwrap(),
            "http://127.0.0.1:8080/auth/v1".parse().unwrap(),
            format!("http://{}", users.address()).parse().unwrap(),
        ));
        Self { users, news, recommendation, auth: auth.await.unwrap() }
    }

    /// The repository's own, with the addresses that hold here.
    fn config(&self) -> String {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../config.toml");
        let mut config = std::fs::read_to_string(path).unwrap();
        let [famous, politics, sports] = &self.news[..] else { panic!("three types of news") };
        for (port, address) in [
            (8080, any_port()),
            (9000, any_port()),
            (3001, self.users.address()),
            (3011, famous.address()),
            (3012, politics.address()),
            (3013, sports.address()),
            (3021, self.recommendation.address()),
            (3031, self.auth.address()),
        ] {
            let said = format!("\"127.0.0.1:{port}\"");
            assert!(config.contains(&said), "config.toml names {said}");
            config = config.replace(&said, &format!("\"{address}\""));
        }
        config
    }
}

async fn start_news(stores: &Stores, theme: &str) -> news::Running {
    let settings = news::Settings {
        theme: theme.parse().unwrap(),
        address: any_port(),
        event_log: stores.database(&format!("{theme}_event_log")).await.parse().unwrap(),
        latest: stores.database(&format!("{theme}_latest")).await.parse().unwrap(),
        read_side: news::ReadSide::CatchUp,
    };
    news::start_with(settings, stores.events().parse().unwrap()).await.unwrap()
}

async fn run_gateway(config: &Path) -> (Child, SocketAddr) {
    let mut program = Command::new(gateway_program())
        .args(["run", "--config"])
        .arg(config)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(program.stderr.take().unwrap()).lines();
    let listening = async {
        let mut said = String::new();
        while let Some(line) = lines.next_line().await.unwrap() {
            if let Some(address) = line.strip_prefix("listening on ") {
                return address.parse().unwrap();
            }
            said += &(line + "\n");
        }
        panic!("the gateway did not start: {said}");
    };
    let address = tokio::time::timeout(START_TIME_MAX, listening).await.unwrap();
    // What it says later nobody reads, and it must not wait for that.
    tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
    (program, address)
}

/// Cargo builds it beside us when it tests the workspace, before any test runs.
fn gateway_program() -> PathBuf {
    let program = Path::new(env!("CARGO_BIN_EXE_loadtest")).with_file_name("gateway");
    assert!(program.is_file(), "{} is not there: `cargo build -p gateway`", program.display());
    program
}

fn any_port() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

//! The portal's services in this process, each with stores of its own.

use std::fs::File;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Mutex;

use tracing_subscriber::EnvFilter;

use crate::addresses::Addresses;
use crate::failure::Failure;

const USERS: &str = "users";
const FAMOUS: &str = "famous-news";
const POLITICS: &str = "politics-news";
const SPORTS: &str = "sports-news";

/// The services that run.
pub(crate) struct Portal {
    users: users::Running,
    famous: news::Running,
    politics: news::Running,
    sports: news::Running,
}

impl Portal {
    /// Starts all of them, or says which does not.
    pub(crate) async fn start(addresses: &Addresses, data: &Path) -> Result<Self, Failure> {
        let users = users::Settings {
            address: addresses.users,
            database: users::Database::Sqlite(data.join("users.sqlite")),
            hash_cost: users::HashCost::default(),
        };
        let users = users::start(users).await.map_err(|error| Failure::ServiceNotStarted {
            name: USERS,
            reason: error.to_string(),
        })?;
        Ok(Self {
            users,
            famous: start_news(FAMOUS, addresses.famous, data).await?,
            politics: start_news(POLITICS, addresses.politics, data).await?,
            sports: start_news(SPORTS, addresses.sports, data).await?,
        })
    }

    /// Each service's name and where it really listens.
    pub(crate) fn addresses(&self) -> [(&'static str, SocketAddr); 4] {
        let Self { users, famous, politics, sports } = self;
        [
            (USERS, users.address()),
            (FAMOUS, famous.address()),
            (POLITICS, politics.address()),
            (SPORTS, sports.address()),
        ]
    }

    /// Resolves when one of them ends, which none should.
    pub(crate) async fn failed(&mut self) -> Failure {
        let Self { users, famous, politics, sports } = self;
        let (name, reason) = tokio::select! {
            ended = users.ended() => (USERS, ended.err().map(|error| error.to_string())),
            ended = famous.ended() => (FAMOUS, ended.err().map(|error| error.to_string())),
            ended = politics.ended() => (POLITICS, ended.err().map(|error| error.to_string())),
            ended = sports.ended() => (SPORTS, ended.err().map(|error| error.to_string())),
        };
        Failure::ServiceEnded { name, reason: reason.unwrap_or_else(|| "no reason".to_owned()) }
    }

    /// Lets begun requests finish and ends all of them.
    pub(crate) async fn stop(self) -> Result<(), Failure> {
        let Self { users, famous, politics, sports } = self;
        let (users, famous, politics, sports) =
            tokio::join!(users.stop(), famous.stop(), politics.stop(), sports.stop());
        let news = [(FAMOUS, famous), (POLITICS, politics), (SPORTS, sports)];
        for (name, stopped) in news {
            stopped.map_err(|error| Failure::ServiceEnded { name, reason: error.to_string() })?;
        }
        users.map_err(|error| Failure::ServiceEnded { name: USERS, reason: error.to_string() })
    }
}

async fn start_news(
    name: &'static str,
    address: SocketAddr,
    data: &Path,
) -> Result<news::Running, Failure> {
    let failed = |reason: String| Failure::ServiceNotStarted { name, reason };
    let theme = name.trim_end_matches("-news").parse();
    let settings = news::Settings {
        theme: theme.map_err(|error: news::BadTheme| failed(error.to_string()))?,
        address,
        event_log: news::Database::Sqlite(data.join(format!("{name}-event-log.sqlite"))),
        latest: news::Database::Sqlite(data.join(format!("{name}-latest.sqlite"))),
        read_side: news::ReadSide::CatchUp,
    };
    news::start(settings).await.map_err(|error| failed(error.to_string()))
}

/// Lets the services log to a file of this run, so that the terminal stays readable.
pub(crate) fn log_to(data: &Path) -> Result<(), Failure> {
    let path = data.join("services.log");
    let file = File::create(&path).map_err(|source| Failure::Folder { path, source })?;
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt().json().with_env_filter(filter).with_writer(Mutex::new(file)).init();
    Ok(())
}

//! The portal's services in this process, each with stores of its own.

use std::fmt::Display;
use std::fs::File;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Mutex;

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tracing_subscriber::EnvFilter;

use crate::addresses::Addresses;
use crate::failure::Failure;

/// The services that run.
pub(crate) struct Portal {
    services: Vec<Service>,
    /// Told by a service that ends by itself.
    ended: mpsc::UnboundedReceiver<Ended>,
}

/// One of them.
struct Service {
    name: &'static str,
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    task: JoinHandle<Result<(), String>>,
}

struct Ended {
    name: &'static str,
    reason: String,
}

/// Keeps a running service in a task of its own, until it ends or is stopped. The services share no crate, so their
/// types are only alike.
macro_rules! keep {
    ($name:expr, $running:expr, $told:expr) => {{
        let mut running = $running;
        let (address, told) = (running.address(), $told.clone());
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(async move {
            tokio::select! {
                ended = running.ended() => {
                    let reason = ended.map_or_else(|error| error.to_string(), |()| "no reason".to_owned());
                    // Nobody listens any more when everything ends.
                    drop(told.send(Ended { name: $name, reason }));
                    Ok(())
                }
                _ = stopped => running.stop().await.map_err(|error| error.to_string()),
            }
        });
        Service { name: $name, address, stop, task }
    }};
}

impl Portal {
    /// Starts all of them, or says which does not.
    pub(crate) async fn start(addresses: &Addresses, data: &Path) -> Result<Self, Failure> {
        let (told, ended) = mpsc::unbounded_channel();
        let mut services = Vec::new();
        let users = start_users(addresses, data).await?;
        let (users_http, users_grpc) = (users.address(), users.grpc_address());
        services.push(keep!(USERS, users, told));
        for (name, address) in [
            ("famous-news", addresses.famous),
            ("politics-news", addresses.politics),
            ("sports-news", addresses.sports),
        ] {
            services.push(keep!(name, start_news(name, address, data).await?, told));
        }
        let recommendation = start_recommendation(addresses, users_grpc, data).await?;
        services.push(keep!(RECOMMENDATION, recommendation, told));
        services.push(keep!(AUTH, start_auth(addresses, users_http, data).await?, told));
        Ok(Self { services, ended })
    }

    /// Each service's name and where it really listens.
    pub(crate) fn addresses(&self) -> Vec<(&'static str, SocketAddr)> {
        self.services.iter().map(|service| (service.name, service.address)).collect()
    }

    /// Resolves when one of them ends, which none should.
    pub(crate) async fn failed(&mut self) -> Failure {
        match self.ended.recv().await {
            Some(Ended { name, reason }) => Failure::ServiceEnded { name, reason },
            // Each task holds a sender until it has ended.
            None => std::future::pending().await,
        }
    }

    /// Lets begun requests finish and ends all of them, in the order in which they lean on each other.
    pub(crate) async fn stop(self) -> Result<(), Failure> {
        let mut outcome = Ok(());
        for Service { name, address: _, stop, task } in self.services.into_iter().rev() {
            // Who has ended already hears nothing.
            stop.send(()).ok();
            let stopped = task.await.map_err(|error| error.to_string()).and_then(|stopped| stopped);
            outcome = outcome.and(stopped.map_err(|reason| Failure::ServiceEnded { name, reason }));
        }
        outcome
    }
}

const USERS: &str = "users";
const RECOMMENDATION: &str = "recommendation";
const AUTH: &str = "auth";

fn not_started<E: Display>(name: &'static str) -> impl Fn(E) -> Failure {
    move |error| Failure::ServiceNotStarted { name, reason: error.to_string() }
}

async fn start_users(addresses: &Addresses, data: &Path) -> Result<users::Running, Failure> {
    let settings = users::Settings {
        address: addresses.users,
        database: users::Database::Sqlite(data.join("users.sqlite")),
        hash_cost: users::HashCost::default(),
    };
    users::start(settings).await.map_err(not_started(USERS))
}

async fn start_recommendation(
    addresses: &Addresses,
    users_grpc: SocketAddr,
    data: &Path,
) -> Result<recommendation::Running, Failure> {
    let database = recommendation::Database::Sqlite(data.join("recommendation.sqlite"));
    let users = format!("http://{users_grpc}").parse().map_err(not_started(RECOMMENDATION))?;
    let settings = recommendation::Settings {
        listen: addresses.recommendation,
        database,
        events: recommendation::Events::Http,
        users,
        users_timeout_ms: 1_000,
        remember_days: 30,
    };
    recommendation::start(settings).await.map_err(not_started(RECOMMENDATION))
}

async fn start_auth(
    addresses: &Addresses,
    users: SocketAddr,
    data: &Path,
) -> Result<auth::Running, Failure> {
    let edge = format!("http://{}", addresses.gateway);
    let database = auth::Database::Sqlite(data.join("auth.sqlite"));
    let issuer = format!("{edge}/auth/v1").parse().map_err(not_started(AUTH))?;
    let users = format!("http://{users}").parse().map_err(not_started(AUTH))?;
    // Without TLS only on 127.0.0.1, where browsers take that for safe; elsewhere there is no client to try.
    let clients = auth::Registry::demo(&format!("{edge}/callback"), &format!("{edge}/")).ok();
    let settings =
        auth::Settings { clients, ..auth::Settings::new(addresses.auth, database, issuer, users) };
    auth::start(settings).await.map_err(not_started(AUTH))
}

async fn start_news(
    name: &'static str,
    address: SocketAddr,
    data: &Path,
) -> Result<news::Running, Failure> {
    let theme = name.trim_end_matches("-news").parse();
    let settings = news::Settings {
        theme: theme.map_err(not_started::<news::BadTheme>(name))?,
        address,
        event_log: news::Database::Sqlite(data.join(format!("{name}-event-log.sqlite"))),
        latest: news::Database::Sqlite(data.join(format!("{name}-latest.sqlite"))),
        read_side: news::ReadSide::CatchUp,
    };
    news::start(settings).await.map_err(not_started(name))
}

/// Lets the services log to a file of this run, so that the terminal stays readable.
pub(crate) fn log_to(data: &Path) -> Result<(), Failure> {
    let path = data.join("services.log");
    let file = File::create(&path).map_err(|source| Failure::Folder { path, source })?;
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt().json().with_env_filter(filter).with_writer(Mutex::new(file)).init();
    Ok(())
}

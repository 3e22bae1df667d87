//! The portal's services in this process, each with stores of its own.

use std::fmt::Display;
use std::fs::File;
use std::net::SocketAddr;
use std::path::Path;
use std::str::FromStr;
use std::sync::Mutex;

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tracing_subscriber::EnvFilter;

use crate::addresses::Addresses;
use crate::failure::Failure;
use crate::stores::Stores;

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
    pub(crate) async fn start(
        addresses: &Addresses,
        data: &Path,
        stores: &Stores,
    ) -> Result<Self, Failure> {
        let (told, ended) = mpsc::unbounded_channel();
        let mut services = Vec::new();
        let starting = Starting { addresses, data, stores };
        let users = starting.users().await?;
        let (users_http, users_grpc) = (users.address(), users.grpc_address());
        services.push(keep!(USERS, users, told));
        for (name, address) in [
            ("famous-news", addresses.famous),
            ("politics-news", addresses.politics),
            ("sports-news", addresses.sports),
        ] {
            services.push(keep!(name, starting.news(name, address).await?, told));
        }
        let recommendation = starting.recommendation(users_grpc).await?;
        services.push(keep!(RECOMMENDATION, recommendation, told));
        services.push(keep!(AUTH, starting.auth(users_http).await?, told));
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

/// What every service is started with.
struct Starting<'a> {
    addresses: &'a Addresses,
    data: &'a Path,
    stores: &'a Stores,
}

impl Starting<'_> {
    async fn database<D>(&self, service: &'static str, name: &str) -> Result<D, Failure>
    where
        D: FromStr<Err: Display>,
    {
        let url = self.stores.database(self.data, name).await?;
        url.parse().map_err(not_started(service))
    }

    async fn users(&self) -> Result<users::Running, Failure> {
        let listen = self.addresses.users;
        let configuration = users::Configuration {
            listen,
            grpc_listen: SocketAddr::new(listen.ip(), 0),
            database: self.database(USERS, "users").await?,
            queue: self.stores.queue().parse().map_err(not_started(USERS))?,
            hash_cost: users::HashCost::default(),
        };
        users::start(configuration).await.map_err(not_started(USERS))
    }

    async fn recommendation(
        &self,
        users_grpc: SocketAddr,
    ) -> Result<recommendation::Running, Failure> {
        let failed = not_started::<recommendation::BadUrl>(RECOMMENDATION);
        let users = format!("http://{users_grpc}").parse().map_err(not_started(RECOMMENDATION))?;
        let settings = recommendation::Settings {
            listen: self.addresses.recommendation,
            database: self.database(RECOMMENDATION, "recommendation").await?,
            events: self.stores.events().parse().map_err(failed)?,
            users,
            users_timeout_ms: 1_000,
            remember_days: 30,
        };
        recommendation::start(settings).await.map_err(not_started(RECOMMENDATION))
    }

    async fn auth(&self, users: SocketAddr) -> Result<auth::Running, Failure> {
        let edge = format!("http://{}", self.addresses.gateway);
        let database = self.database(AUTH, "auth").await?;
        let issuer = format!("{edge}/auth/v1").parse().map_err(not_started(AUTH))?;
        let users = format!("http://{users}").parse().map_err(not_started(AUTH))?;
        // Without TLS only on 127.0.0.1, where browsers take that for safe; elsewhere there is no client to try.
        let clients = auth::Registry::demo(&format!("{edge}/callback"), &format!("{edge}/")).ok();
        let settings = auth::Settings {
            clients,
            ..auth::Settings::new(self.addresses.auth, database, issuer, users)
        };
        auth::start(settings).await.map_err(not_started(AUTH))
    }

    async fn news(
        &self,
        name: &'static str,
        address: SocketAddr,
    ) -> Result<news::Running, Failure> {
        let theme = name.trim_end_matches("-news").parse();
        let settings = news::Settings {
            theme: theme.map_err(not_started::<news::BadTheme>(name))?,
            address,
            event_log: self.database(name, &format!("{name}-event-log")).await?,
            latest: self.database(name, &format!("{name}-latest")).await?,
            read_side: news::ReadSide::CatchUp,
        };
        let events = self.stores.events().parse().map_err(not_started::<news::BadUrl>(name))?;
        news::start_with(settings, events).await.map_err(not_started(name))
    }
}

/// Lets the services log to a file of this run, so that the terminal stays readable.
pub(crate) fn log_to(data: &Path) -> Result<(), Failure> {
    let path = data.join("services.log");
    let file = File::create(&path).map_err(|source| Failure::Folder { path, source })?;
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt().json().with_env_filter(filter).with_writer(Mutex::new(file)).init();
    Ok(())
}

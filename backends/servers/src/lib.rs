//! Real PostgreSQL, Redis and RabbitMQ for tests: each on a free port, in a folder that goes away.
//!
//! ```no_run
//! # async fn example() -> Result<(), servers::StartError> {
//! let mut database = servers::PostgreSql::start().await?;
//! let url = database.url(); // postgres://postgres@127.0.0.1:21875/postgres
//! database.kill_9().await; // as if the power had failed, but for the disk's own cache
//! database.start_again().await?; // the same port, the same data
//! # Ok(())
//! # }
//! ```
//!
//! A server ends when its value is dropped, and also when the test is killed: a watchdog waits for the end of a
//! pipe that only the test holds open. What is written and acknowledged is synced to disk, so that `kill_9` proves
//! something. A program that is not installed is a [`StartError::NotInstalled`] that names the Debian package:
//! a test that needs it fails with that message and is not skipped.
//!
//! A [`ServiceProcess`] is one of the portal's own services, to be killed in between or told to stop.
//!
//! What is deliberately absent: configuration. A test that needs another server than these starts it by itself.

mod postgresql;
mod rabbitmq;
mod redis;

mod service;

mod server;

mod process;
mod program;

mod port;

pub use port::free_port;
pub use postgresql::PostgreSql;
pub use program::NotInstalled;
pub use rabbitmq::RabbitMq;
pub use redis::Redis;
pub use server::StartError;
pub use service::ServiceProcess;

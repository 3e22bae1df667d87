//! The service as its clients see it, over real sockets, on SQLite and on PostgreSQL.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail where it stands")]
#![allow(clippy::print_stdout, reason = "the sums of the kills are worth seeing")]
#![allow(
    clippy::cognitive_complexity,
    reason = "each assertion counts as a branch; a story has many"
)]

/// Runs each scenario as a test of its own on SQLite, and lets `postgres` run all of them on one server.
macro_rules! scenarios {
    ($($name:ident),* $(,)?) => {
        mod sqlite {
            $(#[tokio::test]
            async fn $name() {
                super::$name(crate::rig::Rig::on_sqlite().await).await;
            })*
        }

        pub(crate) async fn run_all_on(server: &crate::rig::PostgresServer) {
            $(Box::pin(async { $name(server.rig().await).await }).await;)*
        }
    };
}

mod browser;
mod document;
mod process;
mod rig;
mod users_stub;

mod independent_client;
mod keeping;
mod keys;
mod kill;
mod logout;
mod operation;
mod password_login;
mod postgres;
mod program;
mod provider;
mod token;

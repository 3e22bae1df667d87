//! An instance as its clients see it, over real sockets: each story on embedded stores, and all of them on PostgreSQL
//! and RabbitMQ.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail where it stands")]
#![allow(clippy::cognitive_complexity, reason = "a story has as many checks as it needs")]
#![allow(clippy::print_stderr, reason = "the ledger of the kill test is for people")]

/// Makes a test of each story on embedded stores, and one function that tells all of them in the homes it is given.
macro_rules! stories {
    ($($story:ident),+ $(,)?) => {
        mod embedded {
            $(#[tokio::test]
            async fn $story() {
                super::$story(&crate::homes::Homes::Embedded).await;
            })+
        }

        pub(crate) async fn all(homes: &crate::homes::Homes) {
            $(eprintln!(stringify!($story));
            $story(homes).await;)+
        }
    };
}

mod homes;
mod rig;

mod endpoints;
mod event_sourcing;
mod operation;
mod versions;

mod files;
mod kill;
mod program;
mod real;

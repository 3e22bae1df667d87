//! What happens to the origins behind while a run goes on.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use crate::connection::fetch;
use crate::failure::Failure;

/// An origin takes another behaviour.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Change {
    /// Since the end of the warm-up.
    pub(super) after: Duration,
    /// The origin's control.
    pub(super) control: SocketAddr,
    /// In the control's own words.
    pub(super) behaviour: String,
}

/// Makes the changes when they are due; one that fails ends the run, whose figures would be of something else.
pub(super) async fn make(mut changes: Vec<Change>, begin: Instant) -> Result<(), Failure> {
    changes.sort_by_key(|change| change.after);
    for Change { after, control, behaviour } in changes {
        sleep_until(begin + after).await;
        let answer = fetch(control, "PUT", &format!("/behaviour?{behaviour}")).await?;
        if answer.status != 200 {
            return Err(Failure::Status(answer.status));
        }
    }
    Ok(())
}

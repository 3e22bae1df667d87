//! The end-to-end robot: does at a running gateway what a reader of the news portal does, and says which promise was kept.

mod journey;

mod users;

mod news;

mod bad_input;

mod recommendation;

mod aggregate;

mod login;

mod promise;

mod question;

mod account;

use clap::{Args, ValueEnum};

use crate::failure::Failure;
use account::Account;
use promise::Robot;
use question::BaseUrl;

/// Where the portal is, and which steps its gateway can do already.
#[derive(Args, Debug)]
pub(crate) struct Settings {
    /// The gateway that stands before the portal: http://HOST:PORT
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8080")]
    gateway: BaseUrl,
    /// The recommendation service itself, which is told what was viewed unless the gateway publishes it
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:3021")]
    recommendation: BaseUrl,
    /// Steps that the gateway does by itself; the others the robot does in its place, and says so
    #[arg(long, value_name = "STEPS", value_enum, value_delimiter = ',')]
    through_gateway: Vec<Step>,
}

/// A step that needs a feature of the gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Step {
    /// Publishing that an article was viewed.
    Viewed,
    /// Joining the pages of all types.
    Aggregate,
}

/// Goes the whole way, or as far as the first broken promise. Fails if there is nobody to ask.
pub(crate) async fn run(settings: Settings) -> Result<Account, Failure> {
    let Settings { gateway, recommendation, through_gateway } = settings;
    gateway.reach().await?;
    if !through_gateway.contains(&Step::Viewed) {
        recommendation.reach().await?;
    }
    let mut robot = Robot::new(gateway, recommendation, through_gateway);
    // What was broken, and that it ended there, is in the account.
    drop(journey::travel(&mut robot).await);
    Ok(robot.account)
}

//! The commands of the program: what may be typed, and what each does.

use std::fmt::Display;
use std::io::{self, Write};
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use thiserror::Error;

use crate::config::{self, Config, Problems};
use crate::server::{self, HandoverError, RunError};

pub mod check;
pub mod client;
pub mod explain;
pub mod routes;
pub mod schema;
pub mod status;
pub mod tests_in_config;

/// An API gateway and smart proxy: one binary, one TOML file, one admin endpoint.
#[derive(Debug, Parser)]
#[command(
    name = "gateway",
    version,
    after_help = "Exit codes: 0 well, 1 refused (config, arguments), 2 failed at run time."
)]
pub struct Arguments {
    /// The configuration
    #[arg(long, short, global = true, value_name = "FILE", default_value = "config.toml")]
    config: PathBuf,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve; what happens without a command
    Run {
        /// Take the listeners over from the running process, which then ends when its last request has
        #[arg(long)]
        upgrade: bool,
    },
    /// Say everything that is wrong with the configuration, and run the tests in it
    Check,
    /// Print the JSON schema of the configuration, for editors
    Schema,
    /// Tell where a request would go, and why; nothing needs to run, but for --live
    Explain(Question),
    /// List the routes in the order in which they are tried; nothing needs to run
    Routes {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Tell how the running gateway is
    Status {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Make the running gateway read its configuration again
    Reload,
}

#[derive(Args, Debug)]
struct Question {
    /// The method, such as GET
    method: String,
    /// The URL, or a path alone
    url: String,
    /// A header of the request; may be repeated
    #[arg(long = "header", short = 'H', value_name = "NAME: VALUE")]
    headers: Vec<String>,
    /// The client's address
    #[arg(long, value_name = "ADDRESS")]
    client: Option<String>,
    /// Ask the running gateway, too, which server would get it now
    #[arg(long)]
    live: bool,
    /// As JSON
    #[arg(long)]
    json: bool,
}

/// Why a command did not do what it should.
#[derive(Debug, Error)]
pub enum Failure {
    /// The configuration is wrong.
    #[error("{0}")]
    Refused(#[from] Problems),
    /// The request to explain is none.
    #[error(transparent)]
    Question(#[from] explain::QuestionError),
    /// The gateway does not run.
    #[error(transparent)]
    Run(#[from] RunError),
    /// The running gateway does not answer as it should.
    #[error(transparent)]
    Client(#[from] client::ClientError),
    /// Nobody reads what is printed.
    #[error("cannot print: {0}")]
    Output(#[from] io::Error),
    /// What is to be printed is no JSON.
    #[error("cannot print: {0}")]
    Json(#[from] serde_json::Error),
}

/// Who has to do something about a [`Failure`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blame {
    /// Whoever wrote the configuration or the arguments: exit code 1.
    Input,
    /// The system it runs on: exit code 2.
    System,
}

impl Failure {
    /// Who has to do something about it.
    pub fn blame(&self) -> Blame {
        match self {
            Self::Refused(_) | Self::Question(_) => Blame::Input,
            Self::Run(RunError::Refused(_) | RunError::Bind(_) | RunError::Log(_))
            | Self::Run(RunError::Handover(HandoverError::NotConfigured)) => Blame::Input,
            Self::Run(RunError::Handover(_)) => Blame::System,
            Self::Client(error) => error.blame(),
            Self::Output(_) | Self::Json(_) => Blame::System,
        }
    }
}

/// Does what was asked for.
pub fn execute(arguments: Arguments) -> Result<(), Failure> {
    let Arguments { config: path, command } = arguments;
    let load = || config::load(&path);
    match command.unwrap_or(Command::Run { upgrade: false }) {
        Command::Run { upgrade } => Ok(server::run(load()?, &path, upgrade)?),
        Command::Check => print(&check::check(&path, load()?)?),
        Command::Schema => print(&schema::text()?),
        Command::Explain(question) => explain_to(&load()?, &question),
        Command::Routes { json } => print_as(json, &routes::list(&load()?)?),
        Command::Status { json } => print(&status::ask(&load()?, json)?),
        Command::Reload => print(&status::reload(&load()?)?),
    }
}

fn explain_to(config: &Config, question: &Question) -> Result<(), Failure> {
    let Question { method, url, headers, client, live, json } = question;
    let asked = explain::decide::Question::parse(method, url, headers, client.as_deref())?;
    let answer = match live {
        true => Some(explain::live::ask(config, (method, url), headers, client.as_deref())?),
        false => None,
    };
    match (answer, json) {
        (Some(answer), true) => print(&answer),
        (Some(answer), false) => {
            let explanation = explain::explain(config, &asked)?;
            print(&format!("{explanation}{}", explain::live::in_words(&answer, &explanation)))
        }
        (None, json) => print_as(*json, &explain::explain(config, &asked)?),
    }
}

fn print_as<T: Display + serde::Serialize>(json: bool, value: &T) -> Result<(), Failure> {
    match json {
        true => print(&serde_json::to_string_pretty(value)?),
        false => print(&value.to_string()),
    }
}

/// One final line break, whether the text has one or not.
fn print(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    match writeln!(out, "{}", text.trim_end_matches('\n')).and_then(|()| out.flush()) {
        // `gateway routes | head` is no failure.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => Ok(result?),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_arguments_fit_together() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn without_a_command_the_gateway_runs() {
        let arguments = Arguments::try_parse_from(["gateway", "--config", "a.toml"]).unwrap();
        assert!(arguments.command.is_none());
        assert_eq!(arguments.config, PathBuf::from("a.toml"));
    }
}

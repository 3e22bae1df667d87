//! RabbitMQ with a name, a port mapper and folders of its own.

use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::port::free_port;
use crate::process::Process;
use crate::program::Program;
use crate::server::{Kind, Server, StartError};

/// The one on Debian's PATH is a wrapper that insists on the system's own folders.
const SERVER: Program = Program {
    name: "rabbitmq-server",
    package: "rabbitmq-server",
    besides: &["/usr/lib/rabbitmq/bin"],
};
const PORT_MAPPER: Program = Program { name: "epmd", package: "erlang-base", besides: &[] };

/// A RabbitMQ server that nobody else uses.
#[derive(Debug)]
pub struct RabbitMq(Server<Installation>);

impl RabbitMq {
    /// Starts an empty one and waits until it answers, which takes several seconds.
    pub async fn start() -> Result<Self, StartError> {
        let program = SERVER.find()?;
        let port_mapper = PortMapper::start()?;
        let distribution_port = free_port();
        Ok(Self(Server::start(Installation { program, port_mapper, distribution_port }).await?))
    }

    /// `amqp://guest:guest@127.0.0.1:PORT/%2f`; it stays the same over [`Self::start_again`].
    pub fn url(&self) -> String {
        format!("amqp://guest:guest@127.0.0.1:{}/%2f", self.0.port())
    }

    /// Ends it with all its processes as a power failure would.
    pub async fn kill_9(&mut self) {
        self.0.kill_9().await;
    }

    /// Starts it on the same port with the data it had, and waits until it answers.
    pub async fn start_again(&mut self) -> Result<(), StartError> {
        self.0.start_again().await
    }
}

#[derive(Debug)]
struct Installation {
    program: PathBuf,
    port_mapper: PortMapper,
    distribution_port: u16,
}

/// Erlang's register of running nodes. Left to itself Erlang starts one for the whole machine that never ends.
#[derive(Debug)]
struct PortMapper {
    _process: Process,
    _folder: TempDir,
    port: u16,
}

impl PortMapper {
    fn start() -> Result<Self, StartError> {
        let program = PORT_MAPPER.find()?;
        let port = free_port();
        let mut command = Command::new(&program);
        command.args(["-address", "127.0.0.1", "-port", &port.to_string()]);
        let folder = tempfile::tempdir().map_err(StartError::Folder)?;
        let process = Process::start(command, folder.path())
            .map_err(|source| StartError::Spawn { program, source })?;
        Ok(Self { _process: process, _folder: folder, port })
    }
}

impl Kind for Installation {
    const NAME: &'static str = "RabbitMQ";
    const QUESTION: &'static [u8] = b"AMQP\0\0\x09\x01";
    // A method frame on channel 0: connection.start. It listens only when it has started in full.
    const ANSWER: &'static [u8] = b"\x01\0\0";

    fn prepare(&self, folder: &Path) -> Result<(), StartError> {
        std::fs::write(folder.join("enabled-plugins"), "[].").map_err(StartError::Folder)
    }

    fn command(&self, folder: &Path, port: u16) -> Command {
        let mut command = Command::new(&self.program);
        let Self { program: _, port_mapper, distribution_port } = self;
        command
            // Of the system's configuration nothing is read.
            .env("RABBITMQ_CONF_ENV_FILE", folder.join("no-environment"))
            .env("RABBITMQ_CONFIG_FILE", folder.join("no-configuration"))
            .env("RABBITMQ_ADVANCED_CONFIG_FILE", folder.join("no-configuration"))
            .env("RABBITMQ_ENABLED_PLUGINS_FILE", folder.join("enabled-plugins"))
            .env("RABBITMQ_MNESIA_BASE", folder.join("data"))
            .env("RABBITMQ_LOG_BASE", folder.join("logs"))
            .env("RABBITMQ_LOGS", "-")
            // Where Erlang keeps its cookie.
            .env("HOME", folder)
            .env("RABBITMQ_NODENAME", format!("rabbit{port}@localhost"))
            .env("RABBITMQ_NODE_IP_ADDRESS", "127.0.0.1")
            .env("RABBITMQ_NODE_PORT", port.to_string())
            .env("RABBITMQ_DIST_PORT", distribution_port.to_string())
            .env("ERL_EPMD_PORT", port_mapper.port.to_string())
            .env("ERL_EPMD_ADDRESS", "127.0.0.1")
            // One scheduler that sleeps when there is nothing to do: the test needs the cores.
            .env("RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS", "+S 1:1 +sbwt none +sbwtdcpu none");
        command
    }
}

//! The life of a server of any kind: start on a free port, answer, be killed, start again.

use std::fs::Permissions;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::Duration;

use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

use crate::port::free_port;
use crate::process::{self, Process, is_alive};
use crate::program::NotInstalled;

/// How long a server may take until it answers: RabbitMQ needs several seconds of two busy cores.
const START_TIME_MAX: Duration = Duration::from_secs(60);
/// Starts that may fail because somebody took the port, or because what was killed is not gone yet.
const ATTEMPTS_MAX: u32 = 5;
const PAUSE: Duration = Duration::from_millis(20);
/// Enough of a log to see why its server ended.
const LOG_BYTES_SHOWN: usize = 4000;

/// What is particular to one kind of server.
pub(crate) trait Kind {
    /// What people call it.
    const NAME: &'static str;
    /// A question in its protocol to which only a server that is ready answers with [`Self::ANSWER`].
    const QUESTION: &'static [u8];
    /// How that answer begins.
    const ANSWER: &'static [u8];

    /// Makes what has to be in the folder before the first start.
    fn prepare(&self, folder: &Path) -> Result<(), StartError>;
    /// How it is started.
    fn command(&self, folder: &Path, port: u16) -> Command;
}

/// A server that runs or was killed, and its folder.
#[derive(Debug)]
pub(crate) struct Server<K> {
    kind: K,
    port: u16,
    // Declared before the folder, so that nobody writes there any more when it is removed.
    process: Option<Process>,
    folder: TempDir,
}

impl<K: Kind> Server<K> {
    /// Starts a server with no data and waits until it answers.
    pub(crate) async fn start(kind: K) -> Result<Self, StartError> {
        let folder = tempfile::Builder::new()
            .prefix("server-")
            .permissions(Permissions::from_mode(0o711))
            .tempdir()
            .map_err(StartError::Folder)?;
        kind.prepare(folder.path())?;
        let mut server = Self { kind, port: 0, process: None, folder };
        let mut attempts = 0;
        loop {
            server.port = free_port();
            attempts += 1;
            match server.start_once().await {
                Err(StartError::Ended { .. }) if attempts < ATTEMPTS_MAX => {}
                Err(error) => return Err(error),
                Ok(()) => return Ok(server),
            }
        }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Ends the server and every process of it as a power failure would, and waits until all are gone.
    pub(crate) async fn kill_9(&mut self) {
        let Some(mut process) = self.process.take() else { return };
        let killed = process.kill_9();
        while killed.iter().any(|process| is_alive(*process)) {
            sleep(PAUSE).await;
        }
    }

    /// Starts a killed server with its data on its port; one that runs is killed first.
    pub(crate) async fn start_again(&mut self) -> Result<(), StartError> {
        self.kill_9().await;
        let mut attempts = 0;
        loop {
            attempts += 1;
            match self.start_once().await {
                Err(StartError::Ended { .. }) if attempts < ATTEMPTS_MAX => sleep(PAUSE).await,
                started => return started,
            }
        }
    }

    async fn start_once(&mut self) -> Result<(), StartError> {
        let command = self.kind.command(self.folder.path(), self.port);
        let program = command.get_program().to_owned();
        let process = Process::start(command, self.folder.path())
            .map_err(|source| StartError::Spawn { program: PathBuf::from(program), source })?;
        self.process = Some(process);
        let ready = self.wait_until_ready().await;
        if ready.is_err() {
            self.kill_9().await;
        }
        ready
    }

    async fn wait_until_ready(&mut self) -> Result<(), StartError> {
        let until = Instant::now() + START_TIME_MAX;
        let address = SocketAddr::from(([127, 0, 0, 1], self.port));
        loop {
            let Some(process) = &mut self.process else { return Ok(()) };
            if let Some(status) = process.ended().map_err(StartError::Folder)? {
                let log = end_of_log(self.folder.path());
                return Err(StartError::Ended { name: K::NAME, status, log });
            }
            let answer = timeout(START_TIME_MAX / 30, ask::<K>(address)).await;
            if matches!(answer, Ok(Ok(Answer::Ready))) {
                return Ok(());
            }
            if Instant::now() >= until {
                let log = end_of_log(self.folder.path());
                return Err(StartError::Silent { name: K::NAME, log });
            }
            sleep(PAUSE).await;
        }
    }
}

enum Answer {
    Ready,
    NotYet,
}

async fn ask<K: Kind>(address: SocketAddr) -> io::Result<Answer> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(K::QUESTION).await?;
    let mut answer = vec![0; K::ANSWER.len()];
    stream.read_exact(&mut answer).await?;
    Ok(if answer == K::ANSWER { Answer::Ready } else { Answer::NotYet })
}

fn end_of_log(folder: &Path) -> String {
    let text = std::fs::read(process::log(folder)).unwrap_or_default();
    let shown = text.len().saturating_sub(LOG_BYTES_SHOWN);
    String::from_utf8_lossy(text.get(shown..).unwrap_or_default()).into_owned()
}

/// Why a server does not run.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A program is missing; the message says which package has it.
    #[error(transparent)]
    NotInstalled(#[from] NotInstalled),
    /// PostgreSQL refuses to run as root and there is nobody else to run it as.
    #[error("PostgreSQL cannot run as root, and there is no user `postgres` to run it as")]
    NobodyToRunAs,
    /// The folder for data and logs cannot be made or read.
    #[error("the server's folder: {0}")]
    Folder(#[source] io::Error),
    /// The program is there but cannot be run.
    #[error("cannot run {}: {source}", program.display())]
    Spawn {
        /// What was to be run.
        program: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The server ended instead of answering.
    #[error("{name} ended at once ({status}):\n{log}")]
    Ended {
        /// Which server.
        name: &'static str,
        /// How it ended.
        status: ExitStatus,
        /// The end of what it wrote.
        log: String,
    },
    /// The server runs but does not answer.
    #[error("{name} did not answer within {} s:\n{log}", START_TIME_MAX.as_secs())]
    Silent {
        /// Which server.
        name: &'static str,
        /// The end of what it wrote.
        log: String,
    },
}

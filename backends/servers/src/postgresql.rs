//! PostgreSQL that syncs every commit, run as somebody else when we are root.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::program::Program;
use crate::server::{Kind, Server, StartError};

const BESIDES: &[&str] = &["/usr/lib/postgresql/*/bin"];
const INITDB: Program = Program { name: "initdb", package: "postgresql", besides: BESIDES };
const POSTGRES: Program = Program { name: "postgres", package: "postgresql", besides: BESIDES };
/// Who runs it when we are root, as Debian's own does.
const USER: &str = "postgres";

/// A PostgreSQL server that nobody else uses.
#[derive(Debug)]
pub struct PostgreSql(Server<Installation>);

impl PostgreSql {
    /// Starts one with an empty database and waits until it answers.
    pub async fn start() -> Result<Self, StartError> {
        let run_as = match rustix::process::getuid().is_root() {
            true => Some(account(USER).ok_or(StartError::NobodyToRunAs)?),
            false => None,
        };
        let installation =
            Installation { initdb: INITDB.find()?, postgres: POSTGRES.find()?, run_as };
        Ok(Self(Server::start(installation).await?))
    }

    /// `postgres://postgres@127.0.0.1:PORT/postgres`; it stays the same over [`Self::start_again`].
    pub fn url(&self) -> String {
        format!("postgres://postgres@127.0.0.1:{}/postgres", self.0.port())
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

/// An account's numbers.
#[derive(Debug, Clone, Copy)]
struct Account {
    user: u32,
    group: u32,
}

/// The account of this name, from `/etc/passwd`: `NAME:x:USER:GROUP:…`.
fn account(name: &str) -> Option<Account> {
    let accounts = std::fs::read_to_string("/etc/passwd").ok()?;
    let line = accounts.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    let mut fields = line.split(':').skip(1);
    Some(Account { user: fields.next()?.parse().ok()?, group: fields.next()?.parse().ok()? })
}

#[derive(Debug)]
struct Installation {
    initdb: PathBuf,
    postgres: PathBuf,
    run_as: Option<Account>,
}

impl Installation {
    fn run(&self, program: &Path, folder: &Path) -> Command {
        let mut command = Command::new(program);
        // The caller's folder may be one that this user may not enter.
        command.current_dir(folder);
        if let Some(Account { user, group }) = self.run_as {
            command.uid(user).gid(group);
        }
        command
    }
}

fn data(folder: &Path) -> PathBuf {
    folder.join("data")
}

impl Kind for Installation {
    const NAME: &'static str = "PostgreSQL";
    // The first message of its protocol, version 3.0: length, version, parameters in pairs, each ended by a zero.
    const QUESTION: &'static [u8] = b"\0\0\0\x29\0\x03\0\0user\0postgres\0database\0postgres\0\0";
    // `R`, length 8, 0: you are in. While it recovers its log it sends an error, which begins with `E`.
    const ANSWER: &'static [u8] = b"R\0\0\0\x08\0\0\0\0";

    fn prepare(&self, folder: &Path) -> Result<(), StartError> {
        let data = data(folder);
        std::fs::create_dir(&data).map_err(StartError::Folder)?;
        if let Some(Account { user, group }) = self.run_as {
            std::os::unix::fs::chown(&data, Some(user), Some(group)).map_err(StartError::Folder)?;
        }
        let made = self
            .run(&self.initdb, folder)
            // What it makes is worth nothing should the machine fail now; later everything is synced.
            .args(["--no-sync", "--auth=trust", "--username=postgres"])
            // Small segments are quicker to make than the usual 16 MB.
            .args(["--encoding=UTF8", "--no-locale", "--wal-segsize=1", "--pgdata"])
            .arg(&data)
            .output()
            .map_err(|source| StartError::Spawn { program: self.initdb.clone(), source })?;
        if made.status.success() {
            return Ok(());
        }
        let log = String::from_utf8_lossy(&made.stderr).into_owned();
        Err(StartError::Ended { name: Self::NAME, status: made.status, log })
    }

    fn command(&self, folder: &Path, port: u16) -> Command {
        let mut command = self.run(&self.postgres, folder);
        command.arg("-D").arg(data(folder)).args(["-p", &port.to_string(), "-h", "127.0.0.1"]);
        // No sockets in /var/run, which only Debian's own may write, and little memory.
        for setting in ["unix_socket_directories=", "shared_buffers=16MB", "max_wal_senders=0"] {
            command.args(["-c", setting]);
        }
        command
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_question_tells_its_own_length() {
        let question = Installation::QUESTION;
        assert_eq!(question[..4], (question.len() as u32).to_be_bytes());
    }

    #[test]
    fn root_has_an_account_and_nobody_of_an_unlikely_name_has() {
        assert!(matches!(account("root"), Some(Account { user: 0, group: 0 })));
        assert!(account("roo").is_none());
    }
}

//! A child process with all its descendants: started in a group of its own, ended by `kill -9` whatever happens.

use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};

/// Reads until the test is gone, then kills what the test had started and removes the folder. Descendants in other
/// groups end by themselves when they miss their parent, which takes them a moment.
const WATCHDOG: &str = r#"read -r _; kill -9 "-$1"; sleep 1; rm -rf -- "$2""#;

/// A running process, its descendants, and the watchdog that ends them should this process die.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    watchdog: Child,
}

impl Process {
    /// Starts it with nothing to read and both outputs appended to `log` in its folder.
    pub(crate) fn start(mut command: Command, folder: &Path) -> io::Result<Self> {
        let log = std::fs::File::options().create(true).append(true).open(log(folder))?;
        command
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .process_group(0);
        let mut child = command.spawn()?;
        let watchdog = Command::new("sh")
            .args(["-c", WATCHDOG, "watchdog", &child.id().to_string()])
            .arg(folder)
            .stdin(Stdio::piped())
            .process_group(0)
            .spawn();
        match watchdog {
            Ok(watchdog) => Ok(Self { child, watchdog }),
            Err(error) => {
                child.kill()?;
                child.wait()?;
                Err(error)
            }
        }
    }

    /// How it ended, if it has.
    pub(crate) fn ended(&mut self) -> io::Result<Option<ExitStatus>> {
        self.child.try_wait()
    }

    /// Kills the process and its descendants; returns those that may need a moment to be gone.
    pub(crate) fn kill_9(&mut self) -> Vec<Pid> {
        let descendants = descendants(id(&self.child));
        // Whoever is not there any more need not be killed; nothing else can go wrong with our own children.
        _ = kill_process_group(id(&self.child), Signal::KILL);
        for descendant in &descendants {
            _ = kill_process(*descendant, Signal::KILL);
        }
        _ = self.child.wait();
        _ = self.watchdog.kill();
        _ = self.watchdog.wait();
        descendants
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill_9();
    }
}

/// What a process in this folder writes.
pub(crate) fn log(folder: &Path) -> PathBuf {
    folder.join("log")
}

/// Whether a process is there and not only waiting to be buried.
pub(crate) fn is_alive(process: Pid) -> bool {
    matches!(stat(process), Some((state, _)) if !matches!(state, 'Z' | 'X'))
}

fn id(child: &Child) -> Pid {
    Pid::from_child(child)
}

/// Children, their children and so on: servers put some of them into groups of their own.
fn descendants(ancestor: Pid) -> Vec<Pid> {
    let Ok(entries) = Path::new("/proc").read_dir() else {
        return Vec::new();
    };
    let ids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let parents: Vec<(Pid, i32)> =
        ids.filter_map(Pid::from_raw).filter_map(|id| Some((id, stat(id)?.1))).collect();
    let mut found = vec![ancestor];
    let mut next = 0;
    while let Some(parent) = found.get(next).copied() {
        let children = parents.iter().filter(|(_, of)| *of == parent.as_raw_nonzero().get());
        found.extend(children.map(|(child, _)| child));
        next += 1;
    }
    found.split_off(1)
}

/// The state of a process and its parent's id, from `/proc/ID/stat`: `ID (NAME) STATE PARENT …`.
fn stat(process: Pid) -> Option<(char, i32)> {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", process.as_raw_nonzero())).ok()?;
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    Some((fields.next()?.chars().next()?, fields.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descendants_in_groups_of_their_own_are_killed_too() {
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", "setsid sleep 100 & echo started; wait"]);
        let mut process = Process::start(command, folder.path()).unwrap();
        let leader = id(&process.child);
        let sleeps = |process: &Pid| {
            let name = std::fs::read_to_string(format!("/proc/{}/comm", process.as_raw_nonzero()));
            name.is_ok_and(|name| name == "sleep\n")
        };
        while !descendants(leader).iter().any(sleeps) {
            std::thread::yield_now();
        }
        let killed = process.kill_9();
        assert!(!killed.is_empty());
        while killed.iter().any(|it| is_alive(*it)) {
            std::thread::yield_now();
        }
    }

    #[test]
    fn the_watchdog_kills_when_the_test_is_gone() {
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new("sleep");
        command.arg("100");
        let mut process = Process::start(command, folder.path()).unwrap();
        // What the system does with our end of the pipe when we die.
        drop(process.watchdog.stdin.take());
        let status = process.child.wait().unwrap();
        assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(9));
        process.watchdog.wait().unwrap();
        assert!(!folder.path().exists(), "the folder goes away");
    }
}

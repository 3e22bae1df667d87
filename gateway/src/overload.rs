//! What the process has too much of: the workers' lateness, memory, connections, file descriptors; and what it gives up.

use std::fs;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use resilience::Moment;
use resilience::overload::{Change, Ladder, Level, Readings, Settings};

use crate::config;

/// How long it must have been calm before something is given back.
const DWELL: Duration = Duration::from_secs(2);
/// A rung is left below this share of the pressure at which it was climbed.
const CALM: f64 = 0.9;

/// The ladder, and where the process stands on it.
#[derive(Debug, Default)]
pub(crate) struct Overload {
    /// [`Level`] as a number. Relaxed: advice, nothing hangs on it.
    level: AtomicU8,
    /// How late the latest worker came back since it was last asked, in nanoseconds.
    loop_delay: AtomicU64,
    ladder: Mutex<Option<Known>>,
}

/// A ladder, and what it was built from.
#[derive(Debug)]
struct Known {
    config: config::Overload,
    ladder: Ladder,
    readings: Readings,
    /// Of the look before: one late loop may be anything.
    delay_before: Duration,
}

impl Overload {
    /// What is given up now.
    pub(crate) fn level(&self) -> Level {
        match self.level.load(Ordering::Relaxed) {
            0 => Level::Normal,
            1 => Level::NoKeepAlive,
            2 => Level::ShedSheddable,
            3 => Level::ShedNormal,
            _ => Level::RefuseConnections,
        }
    }

    /// A worker came back to its loop so much too late.
    pub(crate) fn came_back_late(&self, delay: Duration) {
        let delay = u64::try_from(delay.as_nanos()).unwrap_or(u64::MAX);
        self.loop_delay.fetch_max(delay, Ordering::Relaxed);
    }

    /// Takes a step up or down the ladder, if there is reason to. To be called about twice a second.
    pub(crate) fn look(&self, config: &config::Config, open: usize, now: Moment) -> Option<Change> {
        let mut known = self.ladder.lock().unwrap_or_else(PoisonError::into_inner);
        if known.as_ref().is_none_or(|known| known.config != config.overload) {
            let ladder = Ladder::new(settings(&config.overload));
            let config = config.overload.clone();
            self.level.store(0, Ordering::Relaxed);
            let readings = Readings::default();
            *known = Some(Known { config, ladder, readings, delay_before: Duration::ZERO });
        }
        let known = known.as_mut()?;
        let delay = Duration::from_nanos(self.loop_delay.swap(0, Ordering::Relaxed));
        let lasting = delay.min(std::mem::replace(&mut known.delay_before, delay));
        known.readings = read(&config.overload, lasting, share(open, config.limits.connections));
        let change = known.ladder.read(now, &known.readings);
        self.level.store(known.ladder.level() as u8, Ordering::Relaxed);
        change
    }
}

/// What is not looked at has a threshold all the same, and reads as nothing.
fn settings(config: &config::Overload) -> Settings {
    Settings {
        loop_delay: config.loop_delay.unwrap_or(Duration::from_secs(1)),
        memory: config.memory.unwrap_or(0.9),
        connections: config.connections.unwrap_or(0.9),
        descriptors: config.descriptors.unwrap_or(0.9),
        dwell: DWELL,
        calm: CALM,
    }
}

fn read(config: &config::Overload, delay: Duration, connections: f64) -> Readings {
    Readings {
        loop_delay: config.loop_delay.map_or(Duration::ZERO, |_| delay),
        memory: config.memory.and_then(|_| memory()).unwrap_or(0.0),
        connections: config.connections.map_or(0.0, |_| connections),
        descriptors: config.descriptors.and_then(|_| descriptors()).unwrap_or(0.0),
    }
}

fn share(used: usize, of: usize) -> f64 {
    used as f64 / of.max(1) as f64
}

/// The process' own memory as a share of what its cgroup allows, else of the machine's. Not the cgroup's use: that counts
/// the page cache, which the system takes back.
fn memory() -> Option<f64> {
    let statm = fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = statm.split_whitespace().nth(1)?.parse().ok()?;
    let used = pages * rustix::param::page_size() as u64;
    Some(used as f64 / allowed_memory()? as f64)
}

fn allowed_memory() -> Option<u64> {
    let of_machine = fs::read_to_string("/proc/meminfo").ok()?;
    let kibibytes = of_machine.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let machine = kibibytes.trim().trim_end_matches("kB").trim().parse::<u64>().ok()? * 1024;
    Some(of_cgroup().map_or(machine, |cgroup| cgroup.min(machine)))
}

/// `memory.max` of the process' cgroup (version 2) or of one above it, the least of them.
fn of_cgroup() -> Option<u64> {
    let own = fs::read_to_string("/proc/self/cgroup").ok()?;
    let path = own.lines().find_map(|line| line.strip_prefix("0::"))?.to_owned();
    let mut folder = std::path::PathBuf::from(format!("/sys/fs/cgroup{path}"));
    let mut least = None;
    while folder.starts_with("/sys/fs/cgroup") {
        let text = fs::read_to_string(folder.join("memory.max")).unwrap_or_default();
        if let Ok(bytes) = text.trim().parse::<u64>() {
            least = Some(least.map_or(bytes, |least: u64| least.min(bytes)));
        }
        folder.pop();
    }
    least
}

fn descriptors() -> Option<f64> {
    let open = fs::read_dir("/proc/self/fd").ok()?.count();
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current?;
    Some(open as f64 / limit.max(1) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_uses_some_but_not_all() {
        let shares = [memory().expect("memory"), descriptors().expect("descriptors")];
        for share in shares {
            assert!(share > 0.0 && share < 0.9, "{share}");
        }
    }
}

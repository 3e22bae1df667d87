//! What the operating system says of the process, under the names every Prometheus client uses.

use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

use prometheus::proto::MetricFamily;

use super::exposition::{counter, gauge};

/// Ticks of a second in `/proc/self/stat`; Linux fixed it at 100 for what it tells programs.
const TICKS_PER_SECOND: f64 = 100.0;

/// Memory, CPU, descriptors, threads and start; what `/proc` does not tell is left out.
pub(super) fn families(started: SystemTime) -> Vec<MetricFamily> {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let since = started.duration_since(UNIX_EPOCH).unwrap_or_default();
    let mut families = vec![gauge(
        "process_start_time_seconds",
        "When the process started, in Unix time.",
        since.as_secs_f64(),
    )];
    let gauges = [
        ("process_resident_memory_bytes", "Memory in RAM.", bytes(&status, "VmRSS:")),
        ("process_virtual_memory_bytes", "Memory in address space.", bytes(&status, "VmSize:")),
        ("process_threads", "Threads of the process.", field(&status, "Threads:")),
        ("process_open_fds", "Open file descriptors.", open_descriptors()),
        ("process_max_fds", "How many file descriptors may be open.", soft_limit(&limits)),
    ];
    families.extend(
        gauges.into_iter().filter_map(|(name, help, value)| Some(gauge(name, help, value?))),
    );
    families.extend(cpu_seconds(&stat).map(|seconds| {
        counter("process_cpu_seconds_total", "CPU time, user and system.", seconds)
    }));
    families
}

/// A number after a key of `/proc/self/status`.
fn field(status: &str, key: &str) -> Option<f64> {
    let line = status.lines().find_map(|line| line.strip_prefix(key))?;
    line.split_whitespace().next()?.parse().ok()
}

/// The same in kB, which that file means as 1,024 bytes.
fn bytes(status: &str, key: &str) -> Option<f64> {
    field(status, key).map(|kibibytes| kibibytes * 1_024.0)
}

/// User and system time: the 14th and 15th field, counted after the command's closing bracket (the second field).
fn cpu_seconds(stat: &str) -> Option<f64> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let user: f64 = fields.next()?.parse().ok()?;
    let system: f64 = fields.next()?.parse().ok()?;
    Some((user + system) / TICKS_PER_SECOND)
}

fn open_descriptors() -> Option<f64> {
    Some(fs::read_dir("/proc/self/fd").ok()?.count() as f64)
}

fn soft_limit(limits: &str) -> Option<f64> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_time_is_read_behind_a_command_name_with_brackets() {
        let stat = "42 (a) b) c) S 1 42 42 0 -1 4194304 100 0 0 0 250 50 0 0 20 0 3 0 100 1000 10";
        assert_eq!(cpu_seconds(stat), Some(3.0));
    }

    #[test]
    fn this_process_tells_its_memory_and_descriptors() {
        let families = families(SystemTime::now());
        let value = |name: &str| {
            let family = families.iter().find(|family| family.name() == name).unwrap();
            family.get_metric()[0].get_gauge().get_value()
        };
        assert!(value("process_resident_memory_bytes") > 100_000.0);
        assert!(value("process_open_fds") >= 3.0);
        assert!(value("process_max_fds") >= value("process_open_fds"));
        assert!(value("process_start_time_seconds") > 1.7e9);
    }
}

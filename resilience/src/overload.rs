//! What the process gives up first when it has too much to do: a ladder, climbed quickly and left slowly.

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::{Moment, criticality::Criticality};

/// Where the ladder begins, for each thing that can run out.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// How late a worker's loop may come back; twice as late is one rung more. More than zero.
    pub loop_delay: Duration,
    /// Share of the memory (of the cgroup, else of the machine), below 1; each quarter of the rest is one rung more.
    pub memory: f64,
    /// Share of the connections allowed, below 1; each quarter of the rest is one rung more.
    pub connections: f64,
    /// Share of the file descriptors allowed, below 1; each quarter of the rest is one rung more.
    pub descriptors: f64,
    /// How long it must have been calm before one rung is left.
    pub dwell: Duration,
    /// A rung is left below this share of the pressure at which it is climbed; below 1, about 0.9.
    pub calm: f64,
}

/// What was measured, all at about the same time.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Readings {
    /// How late the latest of the workers' loops came back.
    pub loop_delay: Duration,
    /// Share of the memory in use, 0 to 1.
    pub memory: f64,
    /// Share of the allowed connections that are open, 0 to 1.
    pub connections: f64,
    /// Share of the allowed file descriptors that are open, 0 to 1.
    pub descriptors: f64,
}

/// What is given up; each rung with all before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Nothing.
    #[default]
    Normal,
    /// Connections close after their answer.
    NoKeepAlive,
    /// Sheddable requests are refused.
    ShedSheddable,
    /// Normal requests are refused too; only critical ones are answered.
    ShedNormal,
    /// New connections are not accepted.
    RefuseConnections,
}

/// What it is that runs out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The workers' time.
    LoopDelay,
    /// Memory.
    Memory,
    /// Connections.
    Connections,
    /// File descriptors.
    Descriptors,
}

/// A rung climbed or left, for the log and a metric.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Change {
    /// Where it stood.
    pub from: Level,
    /// Where it stands.
    pub to: Level,
    /// What presses most.
    pub cause: Cause,
    /// How much: 1 at the first rung, a quarter more for each of the others.
    pub pressure: f64,
}

/// The ladder: one thread gives readings a few times a second, all others look at the level.
#[derive(Debug)]
pub struct Ladder {
    settings: Settings,
    level: AtomicU8,
    /// Since when the pressure has been low enough to leave the rung; none while it is not.
    calm_since: Mutex<Option<Moment>>,
}

impl Ladder {
    /// At the foot.
    pub const fn new(settings: Settings) -> Self {
        Self { settings, level: AtomicU8::new(0), calm_since: Mutex::new(None) }
    }

    /// What is given up now; one Relaxed load.
    pub fn level(&self) -> Level {
        // It is only advice: nothing else is read on the strength of it.
        Level::at(self.level.load(Ordering::Relaxed))
    }

    /// Takes readings, and climbs or leaves one rung at most: one odd reading closes keep-alive connections and no more,
    /// while true overload is at the top after four.
    pub fn read(&self, now: Moment, readings: &Readings) -> Option<Change> {
        let mut calm_since = self.calm_since.lock().unwrap_or_else(PoisonError::into_inner);
        let (cause, pressure) = self.pressure(readings);
        let from = self.level();
        if pressure >= from.above().entered_at() && from != Level::RefuseConnections {
            *calm_since = None;
            return Some(self.step(from, from.above(), (cause, pressure)));
        }
        if from == Level::Normal || pressure >= from.entered_at() * self.settings.calm {
            *calm_since = None;
            return None;
        }
        let since = *calm_since.get_or_insert(now);
        if now.since(since) < self.settings.dwell {
            return None;
        }
        // The next rung down has to be calm for as long again.
        *calm_since = Some(now);
        Some(self.step(from, from.below(), (cause, pressure)))
    }

    /// What presses most, and how much: 1 at the first rung.
    pub fn pressure(&self, readings: &Readings) -> (Cause, f64) {
        let Settings { loop_delay, memory, connections, descriptors, dwell: _, calm: _ } =
            self.settings;
        let shares = [
            (Cause::Memory, pressure_of_share(readings.memory, memory)),
            (Cause::Connections, pressure_of_share(readings.connections, connections)),
            (Cause::Descriptors, pressure_of_share(readings.descriptors, descriptors)),
        ];
        let delay = (Cause::LoopDelay, pressure_of_delay(readings.loop_delay, loop_delay));
        shares.into_iter().fold(delay, |most, next| if next.1 > most.1 { next } else { most })
    }

    fn step(&self, from: Level, to: Level, (cause, pressure): (Cause, f64)) -> Change {
        self.level.store(to as u8, Ordering::Relaxed);
        Change { from, to, cause, pressure }
    }
}

impl Level {
    const ALL: [Self; 5] = [
        Self::Normal,
        Self::NoKeepAlive,
        Self::ShedSheddable,
        Self::ShedNormal,
        Self::RefuseConnections,
    ];

    /// Whether a request of this criticality is refused.
    pub fn sheds(self, criticality: Criticality) -> bool {
        match criticality {
            Criticality::Critical => false,
            Criticality::Normal => self >= Self::ShedNormal,
            Criticality::Sheddable => self >= Self::ShedSheddable,
        }
    }

    /// As in a log or a metric.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Normal => "normal",
            Self::NoKeepAlive => "no-keep-alive",
            Self::ShedSheddable => "shed-sheddable",
            Self::ShedNormal => "shed-normal",
            Self::RefuseConnections => "refuse-connections",
        }
    }

    fn at(index: u8) -> Self {
        Self::ALL.get(usize::from(index)).copied().unwrap_or(Self::RefuseConnections)
    }

    fn above(self) -> Self {
        Self::at(self as u8 + 1)
    }

    fn below(self) -> Self {
        Self::at((self as u8).saturating_sub(1))
    }

    /// The pressure at which it is climbed.
    fn entered_at(self) -> f64 {
        0.75 + 0.25 * f64::from(self as u8)
    }
}

/// 1 at the threshold and 2 when nothing is left. Not a number counts as nothing in use: a reading that failed must not
/// shed anybody.
fn pressure_of_share(share: f64, threshold: f64) -> f64 {
    if share <= threshold {
        return share / threshold;
    }
    if share.is_nan() { 0.0 } else { 1.0 + (share.min(1.0) - threshold) / (1.0 - threshold) }
}

/// 1 at the threshold and a quarter more for each doubling: a delay has no natural end.
fn pressure_of_delay(delay: Duration, threshold: Duration) -> f64 {
    let times = delay.as_secs_f64() / threshold.as_secs_f64();
    if times <= 1.0 { times } else { 1.0 + 0.25 * times.log2() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ladder() -> Ladder {
        Ladder::new(Settings {
            loop_delay: Duration::from_millis(100),
            memory: 0.9,
            connections: 0.9,
            descriptors: 0.9,
            dwell: Duration::from_secs(2),
            calm: 0.9,
        })
    }

    fn at(seconds: f64) -> Moment {
        Moment::after(Duration::from_secs_f64(seconds))
    }

    fn memory(share: f64) -> Readings {
        Readings { memory: share, ..Readings::default() }
    }

    fn delay(milliseconds: u64) -> Readings {
        Readings { loop_delay: Duration::from_millis(milliseconds), ..Readings::default() }
    }

    #[test]
    fn each_reading_names_what_presses_most() {
        let cases = [
            (memory(0.45), Cause::Memory, 0.5),
            (memory(0.95), Cause::Memory, 1.5),
            (memory(1.3), Cause::Memory, 2.0),
            (memory(f64::NAN), Cause::LoopDelay, 0.0),
            (delay(50), Cause::LoopDelay, 0.5),
            (delay(400), Cause::LoopDelay, 1.5),
            (Readings { connections: 0.9, ..delay(50) }, Cause::Connections, 1.0),
            (Readings { descriptors: 0.975, ..memory(0.95) }, Cause::Descriptors, 1.75),
        ];
        for (readings, cause, expected) in cases {
            let (who, pressure) = ladder().pressure(&readings);
            assert_eq!(who, cause, "{readings:?}");
            assert!((pressure - expected).abs() < 1e-9, "{readings:?}: {pressure}");
        }
    }

    #[test]
    fn it_climbs_one_rung_a_reading_up_to_the_one_the_pressure_asks_for() {
        let cases = [
            (delay(99), Level::Normal),
            (delay(100), Level::NoKeepAlive),
            (delay(200), Level::ShedSheddable),
            (delay(400), Level::ShedNormal),
            (delay(800), Level::RefuseConnections),
            (memory(0.91), Level::NoKeepAlive),
            (memory(0.926), Level::ShedSheddable),
            (memory(0.951), Level::ShedNormal),
            (memory(0.976), Level::RefuseConnections),
        ];
        for (readings, expected) in cases {
            let ladder = ladder();
            let mut last = Level::Normal;
            for turn in 0..10 {
                let change = ladder.read(at(f64::from(turn) * 0.1), &readings);
                assert!(ladder.level() as u8 <= last as u8 + 1, "{readings:?}: more than one rung");
                assert_eq!(change.is_some(), ladder.level() != last);
                last = ladder.level();
            }
            assert_eq!(last, expected, "{readings:?}");
        }
    }

    #[test]
    fn it_is_left_rung_by_rung_and_only_after_a_calm_time() {
        let ladder = ladder();
        for turn in 0..4 {
            ladder.read(at(f64::from(turn)), &delay(800));
        }
        assert_eq!(ladder.level(), Level::RefuseConnections);
        let mut seen = Vec::new();
        for tenth in 0..90 {
            let now = at(4.0 + f64::from(tenth) / 10.0);
            if let Some(change) = ladder.read(now, &delay(1)) {
                seen.push((tenth, change.to));
            }
        }
        let expected = [
            (20, Level::ShedNormal),
            (40, Level::ShedSheddable),
            (60, Level::NoKeepAlive),
            (80, Level::Normal),
        ];
        assert_eq!(seen, expected);
    }

    #[test]
    fn between_climbing_and_leaving_nothing_changes() {
        let ladder = ladder();
        ladder.read(at(0.0), &memory(0.91));
        // Below where it is climbed, above nine tenths of that: for as long as one likes.
        for second in 1..1000 {
            let share = if second % 2 == 0 { 0.83 } else { 0.90 };
            assert_eq!(ladder.read(at(f64::from(second)), &memory(share)), None);
        }
        assert_eq!(ladder.level(), Level::NoKeepAlive);
    }

    #[test]
    fn one_loud_reading_starts_the_calm_time_anew() {
        let ladder = ladder();
        ladder.read(at(0.0), &memory(0.91));
        ladder.read(at(1.0), &memory(0.5));
        ladder.read(at(2.9), &memory(0.85));
        ladder.read(at(3.0), &memory(0.5));
        assert_eq!(ladder.read(at(4.9), &memory(0.5)), None);
        let change = ladder.read(at(5.0), &memory(0.5)).map(|change| (change.from, change.to));
        assert_eq!(change, Some((Level::NoKeepAlive, Level::Normal)));
    }

    #[test]
    fn the_least_important_goes_first_and_the_critical_never() {
        for level in Level::ALL {
            let refused = Criticality::ALL.map(|criticality| level.sheds(criticality));
            assert!(!refused[0], "{}", level.name());
            assert!(refused.is_sorted(), "{}", level.name());
        }
        assert!(Level::ShedSheddable.sheds(Criticality::Sheddable));
        assert!(!Level::ShedSheddable.sheds(Criticality::Normal));
        assert!(Level::ShedNormal.sheds(Criticality::Normal));
    }
}

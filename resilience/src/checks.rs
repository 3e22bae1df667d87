//! Active health: how many answers in a row bring a server up or down, and when it is asked next.

use std::time::Duration;

use crate::Moment;

/// What decides between up and down.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Time from one check to the next; each is up to a tenth earlier or later.
    pub interval: Duration,
    /// Good answers in a row that bring a server up again; at least 1.
    pub up: u32,
    /// Bad answers in a row that take it down; at least 1.
    pub down: u32,
}

/// What the checks of one server said so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// No check has come back yet.
    Unknown,
    /// Answers well.
    Up,
    /// Does not.
    Down,
}

/// A change, for the picture, the log and a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It takes requests (again).
    Up,
    /// It takes none.
    Down,
}

/// The checks of one server, as a state machine.
#[derive(Clone, Debug)]
pub struct Checked {
    settings: Settings,
    health: Health,
    /// Answers in a row that speak against `health`.
    against: u32,
    since: Moment,
}

/// How far a check may be from its turn, as a share of the interval, so that many gateways do not ask at once.
const JITTER: f64 = 0.1;

impl Checked {
    /// Of a server nothing is known about.
    pub fn new(settings: Settings, now: Moment) -> Self {
        Self { settings, health: Health::Unknown, against: 0, since: now }
    }

    /// Takes the result of one check. The first one decides at once: who starts beside a dead server must not send it
    /// requests for three intervals (HAProxy and Envoy do so too).
    pub fn result(&mut self, ok: bool, now: Moment) -> Option<Change> {
        let needed = match (self.health, ok) {
            (Health::Up, true) | (Health::Down, false) => {
                self.against = 0;
                return None;
            }
            (Health::Unknown, true | false) => 1,
            (Health::Up, false) => self.settings.down,
            (Health::Down, true) => self.settings.up,
        };
        self.against += 1;
        if self.against < needed {
            return None;
        }
        self.against = 0;
        self.since = now;
        self.health = if ok { Health::Up } else { Health::Down };
        Some(if ok { Change::Up } else { Change::Down })
    }

    /// When to ask next, after a check that began at `now`. `chance` is a random share between 0 and 1.
    /// The first check comes within a tenth of the interval, and no later than after a second.
    pub fn next(&self, now: Moment, chance: f64) -> Moment {
        let interval = self.settings.interval;
        let chance = chance.clamp(0.0, 1.0);
        match self.health {
            Health::Unknown => {
                now + interval.mul_f64(JITTER).min(Duration::from_secs(1)).mul_f64(chance)
            }
            Health::Up | Health::Down => {
                now + interval.mul_f64(1.0 - JITTER + 2.0 * JITTER * chance)
            }
        }
    }

    /// What is known.
    pub fn health(&self) -> Health {
        self.health
    }

    /// Since when.
    pub fn since(&self) -> Moment {
        self.since
    }

    /// Answers in a row that speak against it, and how many of them turn it, for who asks why.
    pub fn doubts(&self) -> (u32, u32) {
        match self.health {
            Health::Unknown => (self.against, 1),
            Health::Up => (self.against, self.settings.down),
            Health::Down => (self.against, self.settings.up),
        }
    }

    /// Takes new settings over from a reload; what is known stays.
    pub fn change(&mut self, settings: Settings) {
        self.settings = settings;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(up: u32, down: u32) -> Checked {
        Checked::new(Settings { interval: Duration::from_secs(5), up, down }, Moment::ZERO)
    }

    /// Feeds answers (`+` good, `-` bad) and tells the change after each: `U`, `D` or `.` for none.
    fn changes(up: u32, down: u32, answers: &str) -> String {
        let mut checked = checked(up, down);
        let mut tell = |(turn, answer): (usize, char)| {
            let now = Moment::after(Duration::from_secs(5 * (turn as u64 + 1)));
            match checked.result(answer == '+', now) {
                Some(Change::Up) => 'U',
                Some(Change::Down) => 'D',
                None => '.',
            }
        };
        answers.chars().enumerate().map(&mut tell).collect()
    }

    #[test]
    fn thresholds_count_answers_in_a_row() {
        let cases = [
            ("+", "U", "the first answer decides"),
            ("-", "D", "the first answer decides"),
            ("+---", "U..D", "three bad ones take it down"),
            ("+--+---", "U.....D", "a good one between forgives"),
            ("-++", "D.U", "two good ones bring it up"),
            ("-+-++", "D...U", "a bad one between begins anew"),
            ("+---++---", "U..D.U..D", "and so on"),
        ];
        for (answers, expected, why) in cases {
            assert_eq!(changes(2, 3, answers), expected, "{why}: {answers}");
        }
    }

    #[test]
    fn checks_are_spread_by_a_tenth() {
        let mut checked = checked(2, 3);
        let now = Moment::after(Duration::from_secs(100));
        assert_eq!(checked.next(now, 0.0), now, "the first may come at once");
        assert_eq!(checked.next(now, 1.0).since(now), Duration::from_millis(500));
        checked.result(true, now);
        assert_eq!(checked.next(now, 0.0).since(now), Duration::from_millis(4500));
        assert_eq!(checked.next(now, 1.0).since(now), Duration::from_millis(5500));
    }

    #[test]
    fn who_asks_why_is_told() {
        let mut checked = checked(2, 3);
        let later = Moment::after(Duration::from_secs(7));
        assert_eq!(checked.health(), Health::Unknown);
        checked.result(true, later);
        checked.result(false, later + Duration::from_secs(5));
        assert_eq!(
            (checked.health(), checked.since(), checked.doubts()),
            (Health::Up, later, (1, 3))
        );
        checked.change(Settings { interval: Duration::from_secs(1), up: 1, down: 2 });
        assert_eq!(checked.result(false, later + Duration::from_secs(6)), Some(Change::Down));
    }
}

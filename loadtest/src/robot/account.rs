//! What the robot saw: a line a promise, with what was expected, what came, and how long it took.

use std::process::ExitCode;
use std::time::Duration;

use serde_json::{Value, json};

use crate::report::{Kept, say};

/// The lines in the order in which they were made.
pub(crate) struct Account {
    gateway: String,
    run: String,
    /// What the robot did in the gateway's place.
    notes: Vec<String>,
    lines: Vec<Line>,
}

/// One promise.
#[derive(Debug)]
pub(crate) struct Line {
    pub(crate) promise: String,
    pub(crate) question: String,
    pub(crate) expected: String,
    pub(crate) came: String,
    pub(crate) took: Duration,
    pub(crate) kept: Kept,
}

impl Account {
    pub(crate) fn new(gateway: String, run: String) -> Self {
        Self { gateway, run, notes: Vec::new(), lines: Vec::new() }
    }

    pub(crate) fn note(&mut self, text: &str) {
        self.notes.push(text.to_owned());
    }

    pub(crate) fn add(&mut self, line: Line) {
        self.lines.push(line);
    }

    /// Prints everything; the exit code is 1 if a promise was broken.
    pub(crate) fn print(&self, json: bool) -> ExitCode {
        match json {
            true => say(&self.document().to_string()),
            false => self.table().iter().for_each(|line| say(line)),
        }
        match self.kept() {
            Kept::Yes => ExitCode::SUCCESS,
            Kept::No => ExitCode::FAILURE,
        }
    }

    fn kept(&self) -> Kept {
        Kept::from(self.lines.iter().all(|line| line.kept == Kept::Yes))
    }

    fn table(&self) -> Vec<String> {
        let head = format!("robot {} at {}", self.run, self.gateway);
        let notes = self.notes.iter().map(|note| format!("not through the gateway: {note}"));
        let total: Duration = self.lines.iter().map(|line| line.took).sum();
        let foot = match self.kept() {
            Kept::Yes => {
                format!("all {} promises kept, in {:.1?}", self.lines.len(), total)
            }
            Kept::No => format!("promise {} is broken; the rest was not tried", self.lines.len()),
        };
        let lines = self.lines.iter().map(Line::to_string);
        std::iter::once(head).chain(notes).chain(lines).chain([foot]).collect()
    }

    fn document(&self) -> Value {
        let Self { gateway, run, notes, lines } = self;
        let promises: Vec<Value> = lines.iter().map(Line::document).collect();
        let kept = self.kept() == Kept::Yes;
        json!({
            "robot": run,
            "gateway": gateway,
            "not_through_gateway": notes,
            "promises": promises,
            "kept": kept,
        })
    }
}

impl Line {
    fn document(&self) -> Value {
        let Self { promise, question, expected, came, took, kept } = self;
        json!({
            "promise": promise,
            "question": question,
            "expected": expected,
            "came": came,
            "took_ms": milliseconds(*took),
            "kept": *kept == Kept::Yes,
        })
    }
}

impl std::fmt::Display for Line {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { promise, question, expected, came, took, kept } = self;
        let kept = match kept {
            Kept::Yes => "kept  ",
            Kept::No => "BROKEN",
        };
        let took = milliseconds(*took);
        write!(
            formatter,
            "{kept} {took:>8.1} ms  {promise}: {question}, expected {expected}, came {came}"
        )
    }
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broken_promise_tells_what_was_expected_and_what_came() {
        let mut account = Account::new("http://portal.test".to_owned(), "1".to_owned());
        account.note("the aggregate");
        let line = |kept| Line {
            promise: "an article is there".to_owned(),
            question: "GET http://portal.test/7".to_owned(),
            expected: "200".to_owned(),
            came: "404 {}".to_owned(),
            took: Duration::from_micros(1500),
            kept,
        };
        account.add(line(Kept::Yes));
        assert_eq!(account.kept(), Kept::Yes);
        account.add(line(Kept::No));
        assert_eq!(account.kept(), Kept::No);
        let table = account.table();
        assert_eq!(table[1], "not through the gateway: the aggregate");
        assert_eq!(
            table[3],
            "BROKEN      1.5 ms  an article is there: GET http://portal.test/7, expected 200, came 404 {}"
        );
        assert_eq!(account.document()["promises"][1]["came"], "404 {}");
        assert_eq!(account.document()["promises"][1]["took_ms"], 1.5);
        assert_eq!(account.document()["kept"], false);
    }
}

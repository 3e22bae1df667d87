//! A promise: what is asked, what has to come, and that the robot goes no further when it did not.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::Value;
use tokio::time::{Instant, interval};

use crate::failure::Failure;
use crate::report::Kept;
use crate::robot::Step;
use crate::robot::account::{Account, Line};
use crate::robot::question::{Answer, BaseUrl, Question};

/// How much of an answer is shown that was not what had to come.
const CAME_CHARACTERS_MAX: usize = 400;
/// Between two questions whose answer has to come within a time.
const PAUSE: Duration = Duration::from_millis(20);

/// A promise was broken; which one is in the account.
pub(crate) struct Broken;

/// One journey: whom it asks, what its users and labels are called, and what it saw.
pub(crate) struct Robot {
    gateway: BaseUrl,
    recommendation: BaseUrl,
    through_gateway: Vec<Step>,
    /// In every name of this journey, so that no other has the same.
    pub(crate) run: String,
    pub(crate) account: Account,
}

impl Robot {
    pub(crate) fn new(
        gateway: BaseUrl,
        recommendation: BaseUrl,
        through_gateway: Vec<Step>,
    ) -> Self {
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let run = format!("{:x}-{:x}", since_1970.as_micros(), std::process::id());
        let account = Account::new(gateway.to_string(), run.clone());
        Self { gateway, recommendation, through_gateway, run, account }
    }

    /// Whether the gateway does this step; if not the robot does, and the account says so.
    pub(crate) fn leaves_to_gateway(&mut self, step: Step, instead: &str) -> bool {
        let leaves = self.through_gateway.contains(&step);
        if !leaves {
            self.account.note(instead);
        }
        leaves
    }

    pub(crate) fn at_gateway(&self, method: &'static str, path: impl Into<String>) -> Question {
        Question::new(&self.gateway, method, path)
    }

    pub(crate) fn at_recommendation(&self, method: &'static str, path: &str) -> Question {
        Question::new(&self.recommendation, method, path)
    }

    /// Asks once. What came is the body as JSON.
    pub(crate) async fn expect(
        &mut self,
        promise: &str,
        question: &Question,
        expected: Expected,
    ) -> Result<Value, Broken> {
        let begun = Instant::now();
        let came = question.ask().await;
        let took = came.as_ref().map_or_else(|_| begun.elapsed(), |answer| answer.took);
        self.judge(promise, question, expected, Came { answer: came, took })
    }

    /// Asks again and again, until what had to come has come or the time is over.
    pub(crate) async fn expect_within(
        &mut self,
        limit: Duration,
        promise: &str,
        question: &Question,
        expected: Expected,
    ) -> Result<Value, Broken> {
        let begun = Instant::now();
        let mut pause = interval(PAUSE);
        let came = loop {
            pause.tick().await;
            let asked = begun.elapsed();
            let came = question.ask().await;
            if came.as_ref().is_ok_and(|answer| expected.accepts(answer.status, &answer.body))
                || asked >= limit
            {
                break came;
            }
        };
        let expected = expected.within(limit);
        self.judge(promise, question, expected, Came { answer: came, took: begun.elapsed() })
    }

    fn judge(
        &mut self,
        promise: &str,
        question: &Question,
        expected: Expected,
        came: Came,
    ) -> Result<Value, Broken> {
        let Came { answer, took } = came;
        let kept = Kept::from(
            answer.as_ref().is_ok_and(|answer| expected.accepts(answer.status, &answer.body)),
        );
        let words = match (&answer, kept) {
            (Ok(answer), Kept::Yes) => answer.status.to_string(),
            (Ok(answer), Kept::No) => format!("{} {}", answer.status, excerpt(&answer.text)),
            (Err(failure), _) => format!("no answer: {failure}"),
        };
        self.account.add(Line {
            promise: promise.to_owned(),
            // Whose paths they are is at the top of the account.
            question: question.to_string().replacen(&self.gateway.to_string(), "", 1),
            expected: expected.words,
            came: words,
            took,
            kept,
        });
        match (answer, kept) {
            (Ok(answer), Kept::Yes) => Ok(answer.body),
            (Ok(_) | Err(_), _) => Err(Broken),
        }
    }
}

struct Came {
    answer: Result<Answer, Failure>,
    took: Duration,
}

/// What has to come.
pub(crate) struct Expected {
    status: u16,
    words: String,
    right: Box<dyn Fn(&Value) -> bool>,
}

impl Expected {
    pub(crate) fn status(status: u16) -> Self {
        Self { status, words: status.to_string(), right: Box::new(|_| true) }
    }

    /// A status, and a body that is judged; `words` say what it has to be.
    pub(crate) fn with(
        status: u16,
        words: impl AsRef<str>,
        right: impl Fn(&Value) -> bool + 'static,
    ) -> Self {
        let words = format!("{status} with {}", words.as_ref());
        Self { status, words, right: Box::new(right) }
    }

    /// `{"error": …}`
    pub(crate) fn error(status: u16) -> Self {
        Self::with(status, "an error", |body| !text(body, "/error").is_empty())
    }

    fn within(mut self, limit: Duration) -> Self {
        self.words = format!("{} within {} ms", self.words, limit.as_millis());
        self
    }

    pub(crate) fn accepts(&self, status: u16, body: &Value) -> bool {
        status == self.status && (self.right)(body)
    }
}

/// One line of a body, not too long.
fn excerpt(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(CAME_CHARACTERS_MAX) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

/// The text at this place, nothing if there is none.
pub(crate) fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// The list at this place, empty if there is none.
pub(crate) fn list<'a>(value: &'a Value, pointer: &str) -> &'a [Value] {
    value.pointer(pointer).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_answer_keeps_a_promise_only_with_its_status_and_its_body() {
        let expected = Expected::with(200, "a name", |body| text(body, "/name") == "Ann");
        for (status, body, met) in [
            (200, json!({ "name": "Ann" }), true),
            (201, json!({ "name": "Ann" }), false),
            (200, json!({ "name": "Bob" }), false),
            (200, Value::Null, false),
        ] {
            assert_eq!(expected.accepts(status, &body), met, "{status} {body}");
        }
    }

    #[test]
    fn a_long_answer_is_cut_between_characters() {
        assert_eq!(excerpt("a\n  b"), "a b");
        let cut = excerpt(&"ä".repeat(500));
        assert_eq!(cut.chars().count(), CAME_CHARACTERS_MAX + 1);
    }
}

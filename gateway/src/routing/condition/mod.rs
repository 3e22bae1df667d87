//! `when` of a route: a condition in CEL over the request, compiled when the router is built.
//!
//! | variable | what it is |
//! |---|---|
//! | `method`, `scheme`, `host`, `path` | texts; the host without its port, the path in its one form |
//! | `client` | the client's address as text, for `in_network(client, "10.0.0.0/8")` |
//! | `header` | headers by lower-case name, repeated ones joined by `, ` |
//! | `query` | the first value of each name, percent-decoded |
//! | `cookie` | the first value of each name |
//! | `params` | the path's parameters, percent-decoded |
//!
//! A condition that looks at something that is not there (`header["x-beta"] == "1"` without that header) does not
//! hold; `"x-beta" in header` asks whether it is. A condition that cannot be evaluated (`int(query.page)` of a word)
//! does not hold either, and is counted.
//!
//! The patterns of `matches` and the networks of `in_network` are fixed texts, compiled once. Loops (`exists`, `all`,
//! `filter`, …) do not nest and see at most [`values::ENTRIES_MAX`] entries, so the work a request can ask for is bounded.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};

use cel::common::types::CelBool;
use cel::{Context, ExecutionError, IdedExpr, Value};

use super::parameters::Parameters;
use super::router::Asked;
use crate::config::{PathPattern, Problem, When};

mod analyse;
mod functions;
mod nesting;
mod trial;
pub mod values;

use analyse::Uses;
use functions::{ENVIRONMENT, Literal};
use values::Values;

/// The longest condition, in bytes.
pub const TEXT_MAX: usize = 2_048;

/// A compiled condition.
#[derive(Debug)]
pub struct Condition {
    expression: IdedExpr,
    uses: Uses,
    /// Patterns and networks, which the expression refers to by their index.
    literals: Vec<Literal>,
    /// The names of the path's parameters, from the left.
    parameters: Vec<String>,
    errors: AtomicU64,
}

/// What a condition said, and about what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Whether it holds; if it could not be evaluated, why.
    pub holds: Result<bool, String>,
    /// What it refers to, each with its value in this request (`None`: not there).
    pub looked_at: Vec<(String, Option<String>)>,
}

impl Condition {
    /// Compiles a condition; `path` tells which parameters there are.
    pub fn compile(when: &When, path: &PathPattern) -> Result<Self, Problem> {
        let problem = |what: String| Problem::at(when.place, what);
        if when.text.len() > TEXT_MAX {
            let what = format!("the condition has {} bytes", when.text.len());
            return Err(problem(what).help(format!("at most {TEXT_MAX} do")));
        }
        if nesting::levels(&when.text) > nesting::LEVELS_MAX {
            let help =
                format!("{} levels do; split the condition with && and ||", nesting::LEVELS_MAX);
            let what = "the condition has too many brackets and ? within each other".to_owned();
            return Err(problem(what).help(help));
        }
        let parsed = catch_unwind(AssertUnwindSafe(|| ENVIRONMENT.parser().parse(&when.text)));
        let mut expression = match parsed {
            Ok(Ok(expression)) => expression,
            Ok(Err(errors)) => return Err(problem(analyse::unreadable(&errors))),
            Err(_) => return Err(problem("the condition cannot be read".to_owned())),
        };
        let parameters: Vec<_> = path.parameters().map(str::to_owned).collect();
        let analysis = analyse::analyse(&mut expression, &parameters)
            .map_err(|fault| Problem { help: fault.help, ..problem(fault.what) })?;
        let (uses, literals) = (analysis.uses, analysis.literals);
        let condition = Self { expression, uses, literals, parameters, errors: AtomicU64::new(0) };
        catch_unwind(AssertUnwindSafe(|| trial::check(&condition, &analysis.texts)))
            .map_err(|_| problem("the condition cannot be evaluated".to_owned()))?
            .map_err(|fault| Problem { help: fault.help, ..problem(fault.what) })?;
        Ok(condition)
    }

    /// Whether it holds for a request.
    pub fn holds(&self, asked: &Asked<'_>, parameters: &Parameters) -> bool {
        match self.evaluate(asked, parameters) {
            Ok(holds) => holds,
            Err(Failure::Absent) => false,
            Err(Failure::Failed(_)) => {
                // A statistic: nothing is ordered by it.
                self.errors.fetch_add(1, Ordering::Relaxed);
                false
            }
        }
    }

    /// How often it could not be evaluated.
    pub fn errors(&self) -> u64 {
        self.errors.load(Ordering::Relaxed)
    }

    /// Whether it holds and why, for people. Not counted.
    pub fn explain(&self, asked: &Asked<'_>, parameters: &Parameters) -> Verdict {
        let holds = match self.evaluate(asked, parameters) {
            Ok(holds) => Ok(holds),
            Err(Failure::Absent) => Ok(false),
            Err(Failure::Failed(why)) => Err(why),
        };
        let values = Values::new(asked, parameters, self);
        Verdict { holds, looked_at: values.looked_at(&self.uses) }
    }

    fn evaluate(&self, asked: &Asked<'_>, parameters: &Parameters) -> Result<bool, Failure> {
        let values = Values::new(asked, parameters, self);
        evaluate(&self.expression, &values)
    }
}

/// Why there is no verdict.
#[derive(Debug)]
enum Failure {
    /// It looks at a key that is not there.
    Absent,
    /// It cannot be evaluated.
    Failed(String),
}

/// Evaluates an expression to a yes or no. A panic in the interpreter, of which none is known, is a failure like any
/// other: what a client sends must not end its connection's thread.
fn evaluate(expression: &IdedExpr, values: &Values<'_>) -> Result<bool, Failure> {
    let evaluated = catch_unwind(AssertUnwindSafe(|| {
        let mut context = Context::with_env(ENVIRONMENT.clone());
        context.set_variable_resolver(values);
        let value = Value::resolve_val(expression, &context)?;
        Ok(value.downcast_ref::<CelBool>().map(|value| *value.inner()))
    }));
    match evaluated {
        Ok(Ok(Some(holds))) => Ok(holds),
        Ok(Ok(None)) => Err(Failure::Failed("the result is neither true nor false".to_owned())),
        Ok(Err(ExecutionError::NoSuchKey(_))) => Err(Failure::Absent),
        Ok(Err(error)) => Err(Failure::Failed(error.to_string())),
        Err(_) => Err(Failure::Failed("the interpreter failed".to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Place;
    use crate::routing::sample::{self, Request};

    fn compile(text: &str) -> Result<Condition, Problem> {
        let when = When { place: Place::default(), text: text.to_owned() };
        Condition::compile(&when, &sample::pattern("/users/{id}/{*rest}"))
    }

    /// Whether a condition holds for a request to `/users/{id}/{*rest}`.
    fn holds(text: &str, request: &Request) -> bool {
        let condition = compile(text).unwrap_or_else(|problem| panic!("{text}: {problem:?}"));
        condition.holds(&request.asked(), &parameters(&request.path))
    }

    fn parameters(path: &str) -> Parameters {
        let (router, _) = sample::build(vec![sample::route("- - /users/{id}/{*rest}")]).unwrap();
        router.candidates("", path).first().map(|(_, parameters)| *parameters).unwrap_or_default()
    }

    fn request() -> Request {
        Request::new("POST api.example.com /users/caf%C3%A9/a+b?page=2&q=a%20b+c&q=other&flag")
            .with("x-beta", "1")
            .with("accept", "text/html")
            .with("accept", "text/plain")
            .with("cookie", "user_id=7; theme = dark")
            .with("cookie", "user_id=8")
    }

    #[test]
    fn a_condition_sees_every_part_of_a_request() {
        for text in [
            "method == 'POST' && scheme == 'http' && host == 'api.example.com'",
            "path.startsWith('/users/') && path.endsWith('/a+b')",
            "header['x-beta'] == '1'",
            "'x-beta' in header && !('x-alpha' in header) && !has(header.host)",
            "header.accept == 'text/html, text/plain'",
            "query.page == '2' && int(query.page) > 1",
            "query['q'] == 'a b c' && query.flag == ''",
            "cookie.user_id == '7' && cookie['theme'] == 'dark'",
            "client == '192.0.2.1'",
            "in_network(client, '192.0.2.0/24') && !in_network(client, '10.0.0.0/8')",
            "client.in_network('192.0.2.1')",
            "params.id == 'café' && params.rest == 'a+b'",
            "path.matches('^/users/[^/]+/a') && matches(host, 'api[.]')",
            "header.exists(name, name == 'x-beta' && header[name] == '1')",
            "query.size() == 3 && size(cookie) == 2",
            "['POST', 'PUT'].exists(m, m == method)",
            "method in ['POST', 'PUT'] ? true : false",
            "header[?'x-none'].orValue('none') == 'none'",
            "optional.of(method).hasValue()",
        ] {
            assert!(holds(text, &request()), "{text}");
            assert!(!holds(&format!("!({text})"), &request()), "not {text}");
        }
    }

    #[test]
    fn what_is_not_there_does_not_hold_and_is_no_error() {
        for text in ["header['x-none'] == '1'", "query.none != '1'", "!(cookie.none == '1')"] {
            let condition = compile(text).unwrap();
            assert!(!condition.holds(&request().asked(), &Parameters::default()), "{text}");
            assert_eq!(condition.errors(), 0, "{text}");
        }
    }

    #[test]
    fn what_cannot_be_evaluated_does_not_hold_and_is_counted() {
        for text in [
            "int(query.q) > 3",
            "in_network(header['x-beta'], '10.0.0.0/8')",
            "10 / (int(query.page) - 2) == 1",
            "int(query.page) * 9223372036854775807 > 1",
            "-(int(query.page) - 2 - 9223372036854775807 - 1) > 1",
        ] {
            let condition = compile(text).unwrap();
            assert!(!condition.holds(&request().asked(), &Parameters::default()), "{text}");
            assert_eq!(condition.errors(), 1, "{text}");
        }
    }

    /// Conditions that cannot work, what is said of them, and what would have done.
    const REFUSED: &[(&str, &str, &str)] = &[
        ("methd == 'GET'", "unknown variable `methd` in the condition", "did you mean `method`?"),
        (
            "method == 'GET' || body == ''",
            "unknown variable `body` in the condition",
            "there are method, scheme, host, path, client, header, query, cookie, params",
        ),
        (
            "path.startWith('/')",
            "unknown function `startWith` in the condition",
            "did you mean `startsWith`?",
        ),
        (
            "false && path.starts('/')",
            "unknown function `starts` in the condition",
            "did you mean `startsWith`?",
        ),
        (
            "path",
            "the condition is of type string",
            "a condition is true or false: compare it with something",
        ),
        (
            "size(path) + 1",
            "the condition is of type int",
            "a condition is true or false: compare it with something",
        ),
        (
            "header['X-Beta'] == '1'",
            "there is never a header `X-Beta`: their names are in lower case",
            "write `x-beta`",
        ),
        ("params.ids == '1'", "the path has no parameter `ids`", "did you mean `id`?"),
        (
            "in_network(client, '10.0.0.0/33')",
            "\"10.0.0.0/33\" is neither a network nor an address",
            "write \"10.0.0.0/8\", \"2001:db8::/32\" or \"192.0.2.1\"",
        ),
        ("path.matches('(')", "the pattern \"(\" is no regular expression", "unclosed group"),
        (
            "path.matches(header.x)",
            "the second argument of `matches` is computed from the request",
            "it is a fixed text, so that it is read once",
        ),
        (
            "header.all(a, query.all(b, a == b))",
            "the condition has a loop (`all`, `exists`, `map`, `filter`, …) within a loop",
            "loops can follow each other but not nest",
        ),
    ];

    #[test]
    fn a_condition_that_cannot_work_is_refused_with_what_would_have_done() {
        for (text, what, help) in REFUSED {
            let problem = compile(text).unwrap_err();
            assert_eq!(
                (problem.what.as_str(), problem.help.as_deref()),
                (*what, Some(*help)),
                "{text}"
            );
        }
        for text in [
            "",
            "method ==",
            "method = 'GET'",
            "size(path) && true",
            "path > 5",
            "1 + path == 2",
            "@literal0",
            "\u{0}",
        ] {
            assert!(compile(text).is_err(), "{text:?}");
        }
        assert!(compile(&"a".repeat(TEXT_MAX + 1)).unwrap_err().help.is_some());
    }

    #[test]
    fn only_what_a_condition_refers_to_is_looked_at() {
        let condition =
            compile("header['x-beta'] == '1' && method == 'GET' && has(query.none)").unwrap();
        let verdict = condition.explain(&request().asked(), &Parameters::default());
        let expected = [
            ("method", Some("POST")),
            ("header[\"x-beta\"]", Some("1")),
            ("query[\"none\"]", None),
        ];
        let expected = expected.map(|(name, value)| (name.to_owned(), value.map(str::to_owned)));
        assert_eq!(verdict, Verdict { holds: Ok(false), looked_at: expected.to_vec() });
    }

    #[test]
    fn the_deepest_condition_is_evaluated_without_running_out_of_stack() {
        let deep = |before: &str, middle: &str, after: &str| {
            let count = (TEXT_MAX - middle.len() - 10) / (before.len() + after.len());
            format!("{}{middle}{}", before.repeat(count), after.repeat(count))
        };
        for text in &[
            deep("1+", "1 > 0", ""),
            deep("(", "true", ")"),
            "(".repeat(nesting::LEVELS_MAX) + "true" + &")".repeat(nesting::LEVELS_MAX),
            "[".repeat(nesting::LEVELS_MAX) + "1" + &"]".repeat(nesting::LEVELS_MAX) + " == []",
            "1+".repeat(analyse::DEPTH_MAX - 3) + "1 > 0",
            deep("!", "true", ""),
            deep("[", "1", "]") + " == []",
            deep("true?true:", "true", ""),
            deep("", "path.size() == 0", " || true"),
            deep("", "optional.of(1)", ".or(x)"),
        ] {
            if let Ok(condition) = compile(text) {
                condition.holds(&request().asked(), &Parameters::default());
            }
        }
    }
}

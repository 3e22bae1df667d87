//! `correlation-id`: gives each request an id that joins the log lines of every hop.
//!
//! 1. The request's own id is kept if it stands once, has 1 to 128 characters and only `A-Z a-z 0-9 . _ ~ + / = : -`.
//! 2. Else a fresh one is made: 128 random bits as 32 hexadecimal digits.
//! 3. The upstream sees it, the access log prints it, and the response carries it, also when the gateway refuses.
//! 4. With `traceparent = true` the request also has a W3C trace context: a valid `traceparent` goes through as it is;
//!    a missing or invalid one is replaced by a fresh one, and `tracestate`, which belonged to it, is removed. An id
//!    that has to be made is then the trace's id, so that logs and traces are found by the same word.
//!
//! What the client sees: the header in every response of the route.
//!
//! Caveat: the id is a word for people who search, not a secret and not proof of anything; a client may choose its own.
//! Put this plugin first: what stands before it refuses without an id. Tracers that follow their parent record nothing
//! while `sampled` is false.
//!
//! ```toml
//! plugins = [
//!   { correlation-id = { header = "x-request-id", traceparent = true, sampled = true } },
//! ]
//! ```

use std::cell::Cell;
use std::hash::{BuildHasher, RandomState};

use http::{HeaderMap, HeaderName, HeaderValue, response};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::exchange::{Exchange, Flow, only_value};
use crate::header_name::Name;
use crate::hooks::{Hooks, Plugin, Step};
use crate::registry::BuildError;

/// An id that is longer than this is not kept: it would be in every log line.
const ID_LENGTH_MAX: usize = 128;

static TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
static TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// Settings of `correlation-id`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Settings {
    /// The header that carries the id. Default: `x-correlation-id`.
    #[serde(default = "default_header")]
    header: Name,
    /// Whether requests get a W3C `traceparent`. Default: false, since applications may begin traces of their own.
    #[serde(default)]
    traceparent: bool,
    /// Whether a trace that begins here is marked as sampled. Default: false, since recording everything is dear.
    #[serde(default)]
    sampled: bool,
}

fn default_header() -> Name {
    Name(HeaderName::from_static("x-correlation-id"))
}

impl Settings {
    /// Makes the plugin.
    pub fn build(&self) -> Result<CorrelationId, BuildError> {
        let Self { header, traceparent, sampled } = self;
        let flags = if *sampled { "01" } else { "00" };
        Ok(CorrelationId { header: header.0.clone(), traceparent: traceparent.then_some(flags) })
    }
}

/// 32 hexadecimal digits.
type Id = [u8; 32];

/// See the module.
pub struct CorrelationId {
    header: HeaderName,
    /// The flags of a fresh `traceparent`, if requests shall have one.
    traceparent: Option<&'static str>,
}

impl Plugin for CorrelationId {
    fn hooks(&self) -> Hooks {
        Hooks::BOTH
    }

    fn request<'a>(&'a self, exchange: &'a mut Exchange) -> Step<'a, Flow> {
        let headers = &mut exchange.request.headers;
        let trace = self.traceparent.map(|flags| trace(headers, flags));
        let own = only_value(headers, &self.header).filter(|value| is_sane(value.as_bytes()));
        let id = match own {
            Some(own) => own.clone(),
            None => {
                let id = value_of(&trace.unwrap_or_else(fresh_id));
                headers.insert(&self.header, id.clone());
                id
            }
        };
        exchange.correlation_id = Some(id);
        Step::Done(Flow::Continue)
    }

    fn response<'a>(
        &'a self,
        exchange: &'a mut Exchange,
        response: &'a mut response::Parts,
    ) -> Step<'a, ()> {
        if let Some(id) = &exchange.correlation_id {
            response.headers.insert(&self.header, id.clone());
        }
        Step::Done(())
    }
}

/// The id of the trace that a request belongs to: its own, or a fresh one that it has from now on.
fn trace(headers: &mut HeaderMap, flags: &str) -> Id {
    let own = only_value(headers, &TRACEPARENT).and_then(|value| value.to_str().ok());
    if let Some(id) = own.and_then(trace_id) {
        return id;
    }
    let (id, span) = (fresh_id(), digits(fresh_bits()));
    let traceparent = [b"00-", id.as_slice(), b"-", &span, b"-", flags.as_bytes()].concat();
    headers.insert(&TRACEPARENT, value_of(&traceparent));
    headers.remove(&TRACESTATE);
    id
}

fn value_of(text: &[u8]) -> HeaderValue {
    HeaderValue::from_bytes(text).expect("hexadecimal digits and dashes are a header value")
}

fn is_sane(id: &[u8]) -> bool {
    let sane = |byte: &u8| byte.is_ascii_alphanumeric() || b"._~+/=:-".contains(byte);
    (1..=ID_LENGTH_MAX).contains(&id.len()) && id.iter().all(sane)
}

/// The trace id of a `traceparent`, if it is valid (W3C Trace Context, section 3.2).
fn trace_id(traceparent: &str) -> Option<Id> {
    let mut fields = traceparent.split('-');
    let version = hex(fields.next()?, 2)?;
    let trace = hex(fields.next()?, 32).filter(|id| has_a_bit(id))?;
    let span = hex(fields.next()?, 16).filter(|id| has_a_bit(id));
    let flags = hex(fields.next()?, 2);
    let version_is_kept = match version {
        "ff" => false,
        // Version 00 ends after the flags; what a later version adds is not ours to judge.
        "00" => fields.next().is_none(),
        _ => true,
    };
    let valid = version_is_kept && span.is_some() && flags.is_some();
    valid.then(|| trace.as_bytes().try_into().ok()).flatten()
}

fn hex(field: &str, length: usize) -> Option<&str> {
    let lower_hex = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    (field.len() == length && field.bytes().all(lower_hex)).then_some(field)
}

fn has_a_bit(id: &str) -> bool {
    id.bytes().any(|digit| digit != b'0')
}

/// 128 random bits, never all zero.
fn fresh_id() -> Id {
    let mut id = [0; 32];
    id[..16].copy_from_slice(&digits(fresh_bits()));
    id[16..].copy_from_slice(&digits(fresh_bits()));
    id
}

/// Sixteen hexadecimal digits, without the formatter, which every request would wait for.
fn digits(bits: u64) -> [u8; 16] {
    std::array::from_fn(|index| {
        let digit = (bits >> (60 - 4 * index)) as usize & 0xf;
        b"0123456789abcdef"[digit]
    })
}

/// 64 random bits, never zero: a keyed hash of a counter. Key and counter belong to the thread; the standard library
/// seeds the key from the system, once a thread, so a request makes no system call and touches no other core.
fn fresh_bits() -> u64 {
    thread_local! {
        static SOURCE: (RandomState, Cell<u64>) = (RandomState::new(), Cell::new(0));
    }
    SOURCE.with(|(key, counter)| {
        counter.set(counter.get().wrapping_add(1));
        key.hash_one(counter.get()).max(1)
    })
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    const VALID: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn passed(settings: &str, headers: &[(&str, &str)]) -> (CorrelationId, Exchange) {
        let plugin = toml::from_str::<Settings>(settings).unwrap().build().unwrap();
        let mut request = http::Request::get("/");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut exchange = Exchange::example(request);
        let flow = plugin.request(&mut exchange).now().unwrap();
        assert!(matches!(flow, Flow::Continue));
        (plugin, exchange)
    }

    fn header<'a>(exchange: &'a Exchange, name: &str) -> &'a str {
        only_value(&exchange.request.headers, &name.parse().unwrap()).unwrap().to_str().unwrap()
    }

    fn is_fresh(id: &str) -> bool {
        hex(id, 32).is_some_and(has_a_bit)
    }

    #[test]
    fn a_sane_id_is_kept_and_any_other_is_replaced() {
        let long = "a".repeat(128);
        for id in ["a", "7f3c:9/b+c=d~e_f.g-H", long.as_str()] {
            let (_, exchange) = passed("", &[("x-correlation-id", id)]);
            assert_eq!(header(&exchange, "x-correlation-id"), id);
            assert_eq!(exchange.correlation_id.unwrap(), id);
        }
        let too_long = "a".repeat(129);
        for id in ["", "a b", "a\"b", "a,b", "\u{e9}", "a;b", "{}", too_long.as_str()] {
            let (_, exchange) = passed("", &[("x-correlation-id", id)]);
            let made = header(&exchange, "x-correlation-id");
            assert!(is_fresh(made), "{id:?} became {made:?}");
            assert_eq!(exchange.correlation_id.as_ref().unwrap(), made);
        }
        let (_, twice) = passed("", &[("x-correlation-id", "a"), ("x-correlation-id", "b")]);
        assert!(is_fresh(header(&twice, "x-correlation-id")));
    }

    #[test]
    fn the_response_carries_the_id_under_the_chosen_name() {
        let (plugin, mut exchange) = passed("header = 'X-Request-Id'", &[("x-request-id", "abc")]);
        let (mut response, ()) = http::Response::builder()
            .header("x-request-id", "theirs")
            .body(())
            .unwrap()
            .into_parts();
        plugin.response(&mut exchange, &mut response).now().unwrap();
        assert_eq!(only_value(&response.headers, &"x-request-id".parse().unwrap()).unwrap(), "abc");
        assert!(!exchange.request.headers.contains_key("traceparent"));
    }

    #[test]
    fn a_valid_trace_goes_through_with_its_state_and_names_the_request() {
        let later =
            "cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-what-the-future-brings";
        for traceparent in [VALID, later, &VALID.replace("-01", "-ff")] {
            let headers = [("traceparent", traceparent), ("tracestate", "a=b")];
            let (_, exchange) = passed("traceparent = true", &headers);
            assert_eq!(header(&exchange, "traceparent"), traceparent);
            assert_eq!(header(&exchange, "tracestate"), "a=b");
            assert_eq!(exchange.correlation_id.unwrap(), "4bf92f3577b34da6a3ce929d0e0e4736");
        }
    }

    #[test]
    fn an_invalid_trace_is_replaced_and_its_state_removed() {
        for traceparent in [
            "",
            "00",
            &VALID.to_uppercase(),
            &VALID.replacen("00-", "ff-", 1),
            &VALID.replacen("00-", "0-", 1),
            &VALID.replace("4bf92f3577b34da6a3ce929d0e0e4736", &"0".repeat(32)),
            &VALID.replace("00f067aa0ba902b7", &"0".repeat(16)),
            &VALID.replace("-01", ""),
            &VALID.replace("-01", "-1"),
            &format!("{VALID}-"),
            &format!("{VALID}-more"),
            &format!("{VALID}0"),
            &VALID.replacen("00-", "cc-", 1).replace("-01", "-01x"),
        ] {
            let headers =
                [("traceparent", traceparent), ("tracestate", "a=b"), ("x-correlation-id", "k")];
            let (_, exchange) = passed("traceparent = true\nsampled = true", &headers);
            let made = header(&exchange, "traceparent");
            assert!(
                made != traceparent && trace_id(made).is_some(),
                "{traceparent:?} became {made:?}"
            );
            assert!(made.ends_with("-01"), "{made}");
            assert!(!exchange.request.headers.contains_key("tracestate"));
            assert_eq!(exchange.correlation_id.unwrap(), "k");
        }
        let (_, twice) =
            passed("traceparent = true", &[("traceparent", VALID), ("traceparent", VALID)]);
        assert!(header(&twice, "traceparent").ends_with("-00"));
        let id = header(&twice, "x-correlation-id");
        assert!(header(&twice, "traceparent")[3..].starts_with(id));
    }

    #[test]
    fn fresh_ids_differ_within_and_between_threads() {
        let many = || (0..1_000).map(|_| fresh_id()).collect::<Vec<_>>();
        let others = std::thread::spawn(many).join().unwrap();
        let all: HashSet<Id> = many().into_iter().chain(others).collect();
        assert_eq!(all.len(), 2_000);
        assert!(all.iter().all(|id| is_fresh(std::str::from_utf8(id).unwrap())));
    }

    #[test]
    fn a_header_that_frames_the_message_cannot_carry_the_id() {
        let error =
            toml::from_str::<Settings>("header = 'Content-Length'").unwrap_err().to_string();
        assert!(error.contains("content-length"), "{error}");
    }

    proptest! {
        #[test]
        fn what_is_kept_has_the_form_of_the_specification(text in "[0-9a-fA-F]{1,3}-[0-9a-f]{31,33}-[0-9a-f]{15,17}-[0-9a-f]{1,3}(-x)?") {
            let strict = text.len() == 55
                && text.as_bytes()[2] == b'-'
                && text.as_bytes()[35] == b'-'
                && text.as_bytes()[52] == b'-'
                && !text.bytes().any(|byte| byte.is_ascii_uppercase())
                && !text.starts_with("ff");
            let longer = text.len() > 55 && trace_id(&text[..55]).is_some() && !text.starts_with("00") && text.as_bytes()[55] == b'-';
            prop_assert_eq!(trace_id(&text).is_some(), strict || longer);
        }

        #[test]
        fn digits_are_the_number(bits: u64) {
            let expected = format!("{bits:016x}");
            let digits = digits(bits);
            prop_assert_eq!(std::str::from_utf8(&digits).unwrap(), expected);
        }

        #[test]
        fn no_text_makes_the_parser_panic(text in ".{0,80}") {
            prop_assert!(trace_id(&text).is_none());
        }
    }
}

//! The grammar in which a request says what its answer shall be like: the query, or the header x-load-script.

use std::time::Duration;

use http::{HeaderName, HeaderValue, StatusCode};

/// The same grammar in a header, for a proxy that changes the query.
pub(super) const SCRIPT: &str = "x-load-script";

/// Longest any one wait: no client waits longer.
pub(super) const WAIT_MAX: Duration = Duration::from_secs(60);

/// Headers added at most, and their bytes in all.
const HEADERS_MAX: usize = 2_000;
const HEADER_BYTES_MAX: usize = 1024 * 1024;

/// What `loadtest origin --help` says of all this.
pub(crate) const HELP: &str = "\
Paths:
  /echo/…             method and path as JSON; so does every path not named here
  /bytes/N            N bytes of a pattern that repeats every 251 bytes
  /delay/MS           answers after MS milliseconds
  /sink               reads the body and says how long it was and whether it was the pattern; ?stall=MS waits first
  /websocket          sends every message back
  /ledger             the nonces (x-load-nonce) that arrived; DELETE clears
  /loadtest.Echo/Unary, /loadtest.Echo/Stream
                      gRPC: the message back, or x-load-messages times (10 unless told, at most 100000); metadata
                      x-load-grpc-status: N ends the call with the status N
Query, combined with &, or the same text in the header x-load-script (gRPC: only there):
  delay=MS            before the answer; also fixed:MS, uniform:MIN-MAX, exponential:MEAN (milliseconds; the timer's
                      resolution is 1 ms), stall:EVERY:FOR (the last FOR of each EVERY ms nothing is answered)
  errors=SHARE:STATUS a share of 0 to 1 is answered with STATUS; gRPC also takes its own statuses, 1 to 16
  drip=N:MS           N bytes of the body every MS milliseconds
  trickle=N           the body without a length, in chunks of N bytes: trickle=1
  reset=N             the connection breaks (TCP RST; HTTP/2: RST_STREAM) after N bytes of the body
  length=N            content-length says N; what is missing never comes, what is too much follows (HTTP/1.1)
  headers=NxM         N headers with values of M bytes: at most 2000, 1 MiB in all
  header=NAME:VALUE   any header; may be repeated
  cache-control=V  etag=V  last-modified=DATE  vary=V
                      as headers; If-None-Match and If-Modified-Since are answered with 304
  tag=V               nothing: makes addresses differ
Values are percent-decoded. An unknown key is a 400, under /echo it is nothing.
Example: /bytes/1000?delay=exponential:20&errors=0.01:503&headers=3x8000
To x-load-nonce: N the answer has the same header, and x-load-hash: xxh3 of the whole body that is meant, 16 hex digits
(not for patterns beyond 64 MiB, gRPC streams and 304). HTTP/1.1 and HTTP/2 (prior knowledge) on the same port.
At the address of --control:
  PUT /behaviour?WORDS  from now on, for requests that ask for nothing themselves: any of the keys above, and hang (never
                        answers), close (takes the request and closes), die (nobody listens, all connections end),
                        capacity=PLACES:MS (so many at once, MS each; the others wait); no words: well again
  GET /counts           how many requests came; /ledger as above";

/// What is asked for beyond the path.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Script {
    pub(super) delay: Option<Delay>,
    pub(super) errors: Option<Errors>,
    pub(super) pace: Pace,
    pub(super) reset: Option<u64>,
    pub(super) length: Option<u64>,
    pub(super) many_headers: Option<ManyHeaders>,
    pub(super) headers: Vec<(HeaderName, HeaderValue)>,
    pub(super) stall: Option<Duration>,
}

/// How long an answer is held back.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Delay {
    Fixed(Duration),
    Uniform {
        least: Duration,
        most: Duration,
    },
    Exponential {
        mean: Duration,
    },
    /// Nothing is answered in the last `pause` of each period.
    Stall {
        every: Duration,
        pause: Duration,
    },
}

/// A share of the answers that is this status.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Errors {
    pub(super) share: f64,
    pub(super) status: u16,
}

/// In which pieces a body is sent.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) enum Pace {
    #[default]
    AtOnce,
    Drip {
        bytes: usize,
        every: Duration,
    },
    Trickle {
        bytes: usize,
    },
}

/// `count` headers with values of `bytes` bytes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct ManyHeaders {
    pub(super) count: usize,
    pub(super) bytes: usize,
}

/// What becomes of a key that is none of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unknown {
    Refused,
    Ignored,
}

/// Why a script is refused.
#[derive(Debug, thiserror::Error, PartialEq)]
pub(super) enum Mistake {
    #[error("unknown key `{0}`; see `loadtest origin --help`")]
    Key(String),
    #[error("`{key}={value}`: wants {wanted}")]
    Value { key: String, value: String, wanted: &'static str },
}

impl Script {
    /// Reads `a=b&c=d`.
    pub(super) fn parse(text: &str, unknown: Unknown) -> Result<Self, Mistake> {
        let mut script = Self::default();
        for pair in text.split('&').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            let value = decoded(value);
            let Some(wanted) = wanted(key) else {
                match unknown {
                    Unknown::Refused => return Err(Mistake::Key(key.to_owned())),
                    Unknown::Ignored => continue,
                }
            };
            if script.take(key, &value).is_none() {
                return Err(Mistake::Value { key: key.to_owned(), value, wanted });
            }
        }
        Ok(script)
    }

    /// `None` if the value is not one.
    fn take(&mut self, key: &str, value: &str) -> Option<()> {
        match key {
            "delay" => self.delay = Some(delay(value)?),
            "errors" => self.errors = Some(errors(value)?),
            "drip" => {
                let (bytes, every) = value.split_once(':')?;
                self.pace = Pace::Drip { bytes: positive(bytes)?, every: milliseconds(every)? };
            }
            "trickle" => self.pace = Pace::Trickle { bytes: positive(value)? },
            "reset" => self.reset = Some(value.parse().ok()?),
            "length" => self.length = Some(value.parse().ok()?),
            "stall" => self.stall = Some(milliseconds(value)?),
            "headers" => self.many_headers = Some(many_headers(value)?),
            "header" => {
                let (name, value) = value.split_once(':')?;
                self.header(name, value.trim_start_matches(' '))?;
            }
            "etag" if !value.contains('"') => self.header(key, &format!("\"{value}\""))?,
            "last-modified" => {
                httpdate::parse_http_date(value).ok()?;
                self.header(key, value)?;
            }
            "cache-control" | "etag" | "vary" => self.header(key, value)?,
            _ => {}
        }
        Some(())
    }

    fn header(&mut self, name: &str, value: &str) -> Option<()> {
        if self.headers.len() >= HEADERS_MAX {
            return None;
        }
        self.headers.push((name.parse().ok()?, HeaderValue::from_str(value).ok()?));
        Some(())
    }
}

/// What a key's value has to be; `None` for a key we do not know.
fn wanted(key: &str) -> Option<&'static str> {
    Some(match key {
        "delay" => {
            "MS, fixed:MS, uniform:MIN-MAX, exponential:MEAN or stall:EVERY:FOR, at most 60000"
        }
        "errors" => "SHARE:STATUS, the share from 0 to 1",
        "drip" => "BYTES:MS",
        "trickle" => "BYTES, at least 1",
        "reset" | "length" => "a number of bytes",
        "stall" => "milliseconds, at most 60000",
        "headers" => "COUNTxBYTES, at most 2000 and 1 MiB in all",
        "header" => "NAME:VALUE",
        "last-modified" => "a date such as Mon, 23 Nov 2026 08:00:00 GMT",
        "cache-control" | "etag" | "vary" | "tag" => "the value of a header",
        _ => return None,
    })
}

fn delay(text: &str) -> Option<Delay> {
    let Some((kind, rest)) = text.split_once(':') else {
        return Some(Delay::Fixed(milliseconds(text)?));
    };
    match kind {
        "fixed" => Some(Delay::Fixed(milliseconds(rest)?)),
        "uniform" => {
            let (least, most) = rest.split_once('-')?;
            let (least, most) = (milliseconds(least)?, milliseconds(most)?);
            (least <= most).then_some(Delay::Uniform { least, most })
        }
        "exponential" => Some(Delay::Exponential { mean: milliseconds(rest)? }),
        "stall" => {
            let (every, pause) = rest.split_once(':')?;
            let (every, pause) = (milliseconds(every)?, milliseconds(pause)?);
            (!every.is_zero() && pause <= every).then_some(Delay::Stall { every, pause })
        }
        _ => None,
    }
}

fn errors(text: &str) -> Option<Errors> {
    let (share, status) = text.split_once(':')?;
    let (share, status) = (share.parse().ok()?, status.parse().ok()?);
    // Statuses below 200 are no answers; 1 to 16 are gRPC's own.
    let known =
        (1..=16).contains(&status) || (status >= 200 && StatusCode::from_u16(status).is_ok());
    ((0.0..=1.0).contains(&share) && known).then_some(Errors { share, status })
}

fn many_headers(text: &str) -> Option<ManyHeaders> {
    let (count, bytes) = text.split_once('x')?;
    let (count, bytes): (usize, usize) = (count.parse().ok()?, bytes.parse().ok()?);
    let bounded = count <= HEADERS_MAX && count.checked_mul(bytes)? <= HEADER_BYTES_MAX;
    bounded.then_some(ManyHeaders { count, bytes })
}

pub(super) fn positive(text: &str) -> Option<usize> {
    text.parse().ok().filter(|&number| number > 0)
}

/// With a fraction, if need be; at most a minute.
pub(super) fn milliseconds(text: &str) -> Option<Duration> {
    let milliseconds: f64 = text.parse().ok()?;
    Duration::try_from_secs_f64(milliseconds / 1e3).ok().filter(|&wait| wait <= WAIT_MAX)
}

/// `%20` becomes a space; what is no such pair stays.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let pair = (first == b'%').then(|| after.get(..2)).flatten();
        let byte = pair.and_then(|pair| u8::from_str_radix(str::from_utf8(pair).ok()?, 16).ok());
        bytes.push(byte.unwrap_or(first));
        rest = if byte.is_some() { &after[2..] } else { after };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Script, Mistake> {
        Script::parse(text, Unknown::Refused)
    }

    fn delay_of(text: &str) -> Option<Delay> {
        parse(&format!("delay={text}")).ok()?.delay
    }

    #[test]
    fn every_form_is_understood() {
        let ms = Duration::from_millis;
        assert_eq!(delay_of("20"), Some(Delay::Fixed(ms(20))));
        assert_eq!(delay_of("fixed:0.5"), Some(Delay::Fixed(Duration::from_micros(500))));
        assert_eq!(delay_of("uniform:1-9"), Some(Delay::Uniform { least: ms(1), most: ms(9) }));
        assert_eq!(delay_of("exponential:7"), Some(Delay::Exponential { mean: ms(7) }));
        let stall = Delay::Stall { every: ms(5000), pause: ms(1000) };
        assert_eq!(delay_of("stall:5000:1000"), Some(stall));
        let all = "errors=0.25:503&drip=10:5&reset=7&length=9&headers=3x8000&header=a:b%20c&tag=x&etag=v1&vary=a,b";
        let script = parse(all).expect("correct");
        assert_eq!(script.errors, Some(Errors { share: 0.25, status: 503 }));
        assert_eq!(script.pace, Pace::Drip { bytes: 10, every: ms(5) });
        assert_eq!((script.reset, script.length), (Some(7), Some(9)));
        assert_eq!(script.many_headers, Some(ManyHeaders { count: 3, bytes: 8_000 }));
        let headers: Vec<_> =
            script.headers.iter().map(|(name, value)| format!("{name}={value:?}")).collect();
        assert_eq!(headers, [r#"a="b c""#, r#"etag="\"v1\"""#, r#"vary="a,b""#]);
        assert_eq!(parse("trickle=1").map(|script| script.pace), Ok(Pace::Trickle { bytes: 1 }));
        assert_eq!(parse(""), Ok(Script::default()));
    }

    #[test]
    fn what_is_out_of_bounds_is_refused_with_its_key() {
        for text in [
            "delay=60001",
            "delay=-1",
            "delay=NaN",
            "delay=inf",
            "delay=uniform:9-1",
            "delay=uniform:1",
            "delay=stall:0:0",
            "delay=stall:10:11",
            "delay=gamma:1",
            "errors=1.1:503",
            "errors=NaN:503",
            "errors=0.5:101",
            "errors=0.5:1000",
            "errors=0.5",
            "drip=0:1",
            "drip=5",
            "trickle=0",
            "trickle",
            "reset=-1",
            "length=x",
            "headers=2001x1",
            "headers=2x600000",
            "headers=99999999999x99999999999",
            "header=a",
            "header=a%20b:c",
            "header=a:%0d%0ab",
            "last-modified=yesterday",
            "stall=x",
        ] {
            let mistake = parse(text).expect_err(text).to_string();
            assert!(mistake.contains(text.split('=').next().expect("a key")), "{text}: {mistake}");
        }
        assert_eq!(parse("burst=1"), Err(Mistake::Key("burst".to_owned())));
        assert!(
            Script::parse("burst=1&delay=5", Unknown::Ignored)
                .is_ok_and(|script| script.delay.is_some())
        );
    }

    #[test]
    fn percent_pairs_are_decoded_and_others_left() {
        assert_eq!(decoded("a%20b%2Fc"), "a b/c");
        assert_eq!(decoded("100%&%4"), "100%&%4");
        assert_eq!(decoded("%zz%e2%82%ac"), "%zz€");
    }

    #[test]
    fn the_help_tells_every_key() {
        for key in [
            "delay",
            "errors",
            "drip",
            "trickle",
            "reset",
            "length",
            "headers",
            "header",
            "etag",
            "vary",
            "tag",
            "stall",
            "last-modified",
            "cache-control",
        ] {
            // `etag=` does not tell `tag=`.
            let told = ["  ", "; ?"].iter().any(|before| HELP.contains(&format!("{before}{key}=")));
            assert!(told && wanted(key).is_some(), "{key}");
        }
    }
}

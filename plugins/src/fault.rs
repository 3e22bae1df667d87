//! `fault`: delays or refuses a share of the requests on purpose, while the admin has switched faults on.
//!
//! 1. Off, whatever stands here, until somebody says `POST /api/v1/faults/enable`; off again after ten minutes, or as
//!    long as was said there, and after each start of the process. While off it costs a request one look at a number.
//! 2. `headers`: only requests that have all of these get a fault. `"x-chaos"` asks for the header, `"x-chaos: on"` for
//!    one with this value. Without `headers` every request of the route may get one.
//! 3. `delay`: this `share` of them waits for `time` (60 s at most) before it goes on. At most `at-once` wait at the same
//!    time, further ones are not delayed. When faults are switched off, they all go on at once.
//! 4. `abort`: this `share` of them is then refused with `status`, 400 to 599.
//! 5. Shares are from 0 to 1, and independent of each other: a request may be delayed and then refused. For faults with
//!    other conditions use the plugin again.
//!
//! What the client sees: `x-fault-injected: delay` in the response of a request that was delayed, `x-fault-injected: abort`
//! in a refusal, whose reason is `fault-injected`.
//!
//! Caveat: the upstream does not see what is refused here, so neither retries nor breakers nor health answer to it. A
//! delay counts towards the route's `timeout`, but is not cut short by it.
//!
//! ```toml
//! plugins = [
//!   { fault = { delay = { time = "200ms", share = 0.1, at-once = 50 }, headers = ["x-chaos: on"] } },
//!   { fault = { abort = { status = 503, share = 0.05 } } },
//! ]
//! ```

mod bounds;
pub mod switch;

use std::any::Any;
use std::fmt;
use std::str::FromStr;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, response};
use schemars::JsonSchema;
use serde::Deserialize;
use serde::de::Deserializer;

use crate::exchange::{Exchange, Flow, Refusal};
use crate::hooks::{Hooks, Plugin, Step};
use crate::registry::BuildError;
use crate::text;
use crate::units::Time;
use bounds::{Share, at_once, delay_time, error_status};
use switch::{Counts, Switch};

/// Tells the client which fault it got.
static INJECTED: HeaderName = HeaderName::from_static("x-fault-injected");

/// Settings of `fault`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(try_from = "Rules")]
#[schemars(!try_from, transparent)]
pub struct Settings(Rules);

#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Rules {
    /// Requests that wait before they go on. Default: none.
    delay: Option<Delay>,
    /// Requests that are refused. Default: none.
    abort: Option<Abort>,
    /// Only requests with all of these: `"x-chaos"`, or `"x-chaos: on"`. Default: every request.
    #[serde(default)]
    #[schemars(with = "Vec<String>")]
    headers: Vec<Condition>,
}

/// Requests that wait before they go on.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Delay {
    /// How long they wait, at most 60 s.
    #[serde(deserialize_with = "delay_time")]
    time: Time,
    /// Which share of the requests, from 0 to 1.
    share: Share,
    /// How many may wait at the same time, 1 to 10000; further ones are not delayed. Default: 100.
    #[serde(default = "default_at_once", deserialize_with = "at_once")]
    #[schemars(range(min = 1, max = 10_000))]
    at_once: u32,
}

/// Requests that are refused.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Abort {
    /// The status of the refusal, 400 to 599.
    #[serde(deserialize_with = "error_status")]
    #[schemars(with = "u16", range(min = 400, max = 599))]
    status: StatusCode,
    /// Which share of the requests, from 0 to 1.
    share: Share,
}

/// A hundred connections wait without being missed.
fn default_at_once() -> u32 {
    100
}

/// What a request's header must be.
#[derive(Clone, Debug)]
struct Condition {
    name: HeaderName,
    /// `None`: any value will do.
    value: Option<HeaderValue>,
}

impl Condition {
    fn holds(&self, headers: &HeaderMap) -> bool {
        match &self.value {
            None => headers.contains_key(&self.name),
            Some(value) => headers.get_all(&self.name).iter().any(|found| found == value),
        }
    }
}

impl FromStr for Condition {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, value) = match text.split_once(':') {
            None => (text, None),
            Some((name, value)) => (name, Some(value.trim())),
        };
        let parsed = name.parse().ok().zip(match value {
            None => Some(None),
            Some("") => None,
            Some(value) => HeaderValue::from_str(value).ok().map(Some),
        });
        let (name, value) = parsed.ok_or_else(|| {
            format!("`{text}` is no header; write \"x-chaos\", or \"x-chaos: on\" for a value")
        })?;
        Ok(Self { name, value })
    }
}

impl<'de> Deserialize<'de> for Condition {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        text::parsed(deserializer)
    }
}

impl TryFrom<Rules> for Settings {
    type Error = &'static str;

    fn try_from(rules: Rules) -> Result<Self, &'static str> {
        match (&rules.delay, &rules.abort) {
            (None, None) => Err("`fault` does nothing; give it `delay` or `abort`"),
            (Some(_), _) | (_, Some(_)) => Ok(Self(rules)),
        }
    }
}

impl Settings {
    /// Makes the plugin.
    pub fn build(&self) -> Result<Fault, BuildError> {
        Ok(self.with(Switch::of_process()))
    }

    fn with(&self, switch: &'static Switch) -> Fault {
        let rules = self.0.clone();
        Fault { rules, switch, waiting: Arc::default(), counts: OnceLock::new() }
    }
}

/// In words, for whoever asks which faults there are.
impl fmt::Display for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Rules { delay, abort, headers } = &self.0;
        let mut parts = Vec::new();
        if let Some(Delay { time, share, at_once }) = delay {
            parts.push(format!("{share} delayed by {time}, at most {at_once} at once"));
        }
        if let Some(Abort { status, share }) = abort {
            parts.push(format!("{share} refused with {}", status.as_u16()));
        }
        let conditions = headers.iter().map(ToString::to_string).collect::<Vec<_>>();
        if !conditions.is_empty() {
            parts.push(format!("only with {}", conditions.join(" and ")));
        }
        f.write_str(&parts.join("; "))
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.value {
            None => write!(f, "{}", self.name),
            Some(value) => {
                write!(f, "{}: {}", self.name, String::from_utf8_lossy(value.as_bytes()))
            }
        }
    }
}

/// See the module.
pub struct Fault {
    rules: Rules,
    switch: &'static Switch,
    /// How many requests wait now. Relaxed: it is a bound, and guards nothing.
    waiting: Arc<AtomicU32>,
    /// Where faults of its route are counted; a plugin has one route.
    counts: OnceLock<Arc<Counts>>,
}

/// Kept for the way up: this request was delayed.
#[derive(Clone, Copy)]
struct Delayed;

impl Plugin for Fault {
    fn hooks(&self) -> Hooks {
        if self.rules.delay.is_some() { Hooks::BOTH } else { Hooks::REQUEST }
    }

    /// Who waits since before the reload still has a place.
    fn inherit(&mut self, predecessor: &dyn Any) {
        if let Some(predecessor) = predecessor.downcast_ref::<Self>() {
            self.waiting = Arc::clone(&predecessor.waiting);
        }
    }

    fn request<'a>(&'a self, exchange: &'a mut Exchange) -> Step<'a, Flow> {
        if !self.switch.is_on() || !self.concerns(&exchange.request.headers) {
            return Step::Done(Flow::Continue);
        }
        let delay = self.rules.delay.as_ref().filter(|delay| delay.share.hits());
        let abort = self.rules.abort.as_ref().filter(|abort| abort.share.hits());
        let Some((delay, place)) = delay.and_then(|delay| self.place(delay, exchange)) else {
            return Step::Done(self.end(abort, exchange));
        };
        exchange.state.insert(Delayed);
        Step::Later(Box::pin(async move {
            self.switch.wait(delay.time.0).await;
            drop(place);
            self.end(abort.filter(|_| self.switch.is_on()), exchange)
        }))
    }

    fn response<'a>(
        &'a self,
        exchange: &'a mut Exchange,
        response: &'a mut response::Parts,
    ) -> Step<'a, ()> {
        // Taken out: another use of the plugin, further out, does not say it again.
        if exchange.state.remove::<Delayed>().is_some() {
            response.headers.append(&INJECTED, HeaderValue::from_static("delay"));
        }
        Step::Done(())
    }
}

impl Fault {
    fn concerns(&self, headers: &HeaderMap) -> bool {
        self.rules.headers.iter().all(|condition| condition.holds(headers))
    }

    /// A place to wait in, if one is free.
    fn place<'a>(&self, delay: &'a Delay, exchange: &Exchange) -> Option<(&'a Delay, Place)> {
        let place = Place::take(&self.waiting, delay.at_once);
        let counts = self.counts(&exchange.route);
        let counted = if place.is_some() { &counts.delayed } else { &counts.spared };
        counted.fetch_add(1, Relaxed);
        Some((delay, place?))
    }

    /// What comes after the delay, if there was one.
    fn end(&self, abort: Option<&Abort>, exchange: &mut Exchange) -> Flow {
        let Some(abort) = abort else { return Flow::Continue };
        self.counts(&exchange.route).aborted.fetch_add(1, Relaxed);
        let was_delayed = exchange.state.remove::<Delayed>().is_some();
        let injected = if was_delayed { "delay, abort" } else { "abort" };
        let detail = "this request was refused on purpose: the gateway is injecting faults";
        Refusal::new(abort.status, "fault-injected", detail)
            .with_header(INJECTED.clone(), HeaderValue::from_static(injected))
            .into()
    }

    fn counts(&self, route: &str) -> &Counts {
        self.counts.get_or_init(|| self.switch.counts(route))
    }
}

/// A place among those who wait; given back when dropped, also by a client that has left.
struct Place(Arc<AtomicU32>);

impl Place {
    fn take(waiting: &Arc<AtomicU32>, at_once: u32) -> Option<Self> {
        let more = |taken: u32| (taken < at_once).then_some(taken + 1);
        let taken = waiting.fetch_update(Relaxed, Relaxed, more);
        taken.is_ok().then(|| Self(Arc::clone(waiting)))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::{any, prop_assert, proptest};
    use tokio::time::Instant;

    use super::switch::Injected;
    use super::*;

    const ON: Duration = Duration::from_secs(600);

    fn settings(text: &str) -> Settings {
        toml::from_str(text).unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    fn switched_on() -> &'static Switch {
        let switch = Box::leak(Box::new(Switch::new()));
        switch.enable(ON);
        switch
    }

    fn asking(fields: &[(&str, &str)]) -> Exchange {
        let mut request = http::Request::get("/");
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        Exchange::example(request)
    }

    /// `passes`, or the refusal with its field; then what the response says, and how long it took.
    async fn outcome(plugin: &Fault, exchange: &mut Exchange) -> (String, String, Duration) {
        let began = Instant::now();
        let flow = plugin.request(exchange).done().await;
        let took = began.elapsed();
        let became = match flow {
            Flow::Continue => "passes".to_owned(),
            Flow::Refuse(refusal) => {
                let said = refusal.headers[&INJECTED].to_str().unwrap().to_owned();
                format!("{} {} {said}", refusal.status.as_u16(), refusal.reason)
            }
            Flow::Respond(response) => panic!("{response:?}"),
        };
        let (mut response, ()) = http::Response::new(()).into_parts();
        plugin.response(exchange, &mut response).now().unwrap();
        let said = response.headers.get(&INJECTED);
        (became, said.map_or_else(String::new, |said| said.to_str().unwrap().to_owned()), took)
    }

    const DELAY: &str = "delay = { time = '200ms', share = 1 }";
    const ABORT: &str = "abort = { status = 503, share = 1.0 }";

    #[tokio::test(start_paused = true)]
    async fn a_fault_is_what_its_settings_say() {
        let both = format!("{DELAY}\n{ABORT}");
        let delayed = Duration::from_millis(200);
        for (text, became, said, took) in [
            (DELAY, "passes", "delay", delayed),
            (ABORT, "503 fault-injected abort", "", Duration::ZERO),
            (&both, "503 fault-injected delay, abort", "", delayed),
            ("delay = { time = '200ms', share = 0 }", "passes", "", Duration::ZERO),
            ("abort = { status = 503, share = 0.0 }", "passes", "", Duration::ZERO),
        ] {
            let plugin = settings(text).with(switched_on());
            let expected = (became.to_owned(), said.to_owned(), took);
            assert_eq!(outcome(&plugin, &mut asking(&[])).await, expected, "{text}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_happens_while_faults_are_off() {
        let switch = switched_on();
        let plugin = settings(&format!("{DELAY}\n{ABORT}")).with(switch);
        let untouched = ("passes".to_owned(), String::new(), Duration::ZERO);
        switch.disable();
        assert_eq!(outcome(&plugin, &mut asking(&[])).await, untouched);
        switch.enable(ON);
        tokio::time::advance(ON).await;
        assert_eq!(outcome(&plugin, &mut asking(&[])).await, untouched);
        assert!(switch.injected().is_empty());
        let of_process = settings(ABORT).build().unwrap();
        assert_eq!(outcome(&of_process, &mut asking(&[])).await, untouched, "off at the start");
    }

    #[tokio::test(start_paused = true)]
    async fn a_delay_ends_when_faults_are_switched_off_and_nothing_follows() {
        let switch = switched_on();
        let text = format!("delay = {{ time = '1m', share = 1 }}\n{ABORT}");
        let plugin = settings(&text).with(switch);
        let mut exchange = asking(&[]);
        let (became, ()) = tokio::join!(outcome(&plugin, &mut exchange), async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            switch.disable();
        });
        assert_eq!(became, ("passes".to_owned(), "delay".to_owned(), Duration::from_secs(1)));
    }

    #[tokio::test(start_paused = true)]
    async fn only_what_has_all_headers_gets_a_fault() {
        let plugin = settings(&format!("{ABORT}\nheaders = ['X-Chaos: on', 'x-tenant']"));
        let plugin = plugin.with(switched_on());
        for (fields, hit) in [
            (&[("x-chaos", "on"), ("x-tenant", "7")][..], true),
            (&[("x-chaos", "off"), ("x-chaos", "on"), ("x-tenant", "")], true),
            (&[("x-chaos", "on")], false),
            (&[("x-chaos", "On"), ("x-tenant", "7")], false),
            (&[("x-tenant", "7")], false),
            (&[], false),
        ] {
            let (became, ..) = outcome(&plugin, &mut asking(fields)).await;
            assert_eq!(became != "passes", hit, "{fields:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn no_more_than_at_once_wait_and_each_gives_its_place_back() {
        let switch = switched_on();
        let text = "delay = { time = '10s', share = 1, at-once = 2 }";
        let plugin = settings(text).with(switch);
        let mut exchanges = [asking(&[]), asking(&[]), asking(&[]), asking(&[])];
        let [one, two, three, four] = &mut exchanges;
        let one = plugin.request(one);
        let two = plugin.request(two);
        assert!(plugin.request(three).now().is_some(), "the third is not delayed");
        let mut successor = settings(text).with(switch);
        successor.inherit(&plugin);
        assert!(successor.request(four).now().is_some(), "nor after a reload");
        drop(one);
        two.done().await;
        assert_eq!(plugin.waiting.load(Relaxed), 0);
        let news = Injected { delayed: 2, aborted: 0, spared: 2 };
        assert_eq!(switch.injected()["news"], news);
        let (_, said, took) = outcome(&successor, &mut asking(&[])).await;
        assert_eq!((&*said, took), ("delay", Duration::from_secs(10)));
    }

    #[tokio::test(start_paused = true)]
    async fn two_uses_say_a_delay_once() {
        let switch = switched_on();
        let (outer, inner) = (settings(DELAY).with(switch), settings(DELAY).with(switch));
        let mut exchange = asking(&[]);
        outer.request(&mut exchange).done().await;
        inner.request(&mut exchange).done().await;
        let (mut response, ()) = http::Response::new(()).into_parts();
        inner.response(&mut exchange, &mut response).now().unwrap();
        outer.response(&mut exchange, &mut response).now().unwrap();
        assert_eq!(response.headers.get_all(&INJECTED).iter().count(), 1);
    }

    #[test]
    fn a_use_without_a_delay_does_not_see_responses() {
        let hooks = |text: &str| settings(text).with(switched_on()).hooks();
        assert!(hooks(DELAY).response && !hooks(ABORT).response);
    }

    proptest! {
        #[test]
        fn a_share_is_hit_as_often_as_it_says(share in 0.0..=1.0_f64) {
            let plugin = settings(&format!("abort = {{ status = 500, share = {share:.6} }}"));
            let plugin = plugin.with(switched_on());
            let trials = 1_000_u32;
            let refused = |_: &u32| {
                matches!(plugin.request(&mut asking(&[])).now(), Some(Flow::Refuse(_)))
            };
            let hits = (0..trials).filter(refused).count() as f64;
            let trials = f64::from(trials);
            // Seven standard deviations: once in 10^11.
            let allowed = 7.0 * (trials * share * (1.0 - share)).sqrt() + 1.0;
            prop_assert!((hits - trials * share).abs() <= allowed, "{hits} of {trials}");
        }

        #[test]
        fn a_condition_reads_as_it_was_written(text in any::<String>()) {
            if let Ok(condition) = text.parse::<Condition>() {
                let again: Condition = condition.to_string().parse().unwrap();
                prop_assert!(again.name == condition.name && again.value == condition.value);
            }
        }
    }

    #[test]
    fn settings_read_in_words() {
        let text = "delay = { time = '1500ms', share = 0.07 }\n\
                    abort = { status = 503, share = 0.0005 }\nheaders = ['x-chaos:on', 'x-test']";
        let words = "7 % delayed by 1500ms, at most 100 at once; 0.05 % refused with 503; \
                     only with x-chaos: on and x-test";
        assert_eq!(settings(text).to_string(), words);
    }

    #[test]
    fn bad_settings_say_what_would_have_done() {
        for (settings, message) in [
            ("", "give it `delay` or `abort`"),
            ("headers = ['x-chaos']", "give it `delay` or `abort`"),
            ("delay = { time = '61s', share = 1 }", "more than 0 and at most 60s"),
            ("delay = { time = '0s', share = 1 }", "more than 0 and at most 60s"),
            ("delay = { time = 'soon', share = 1 }", "more than 0 and at most 60s"),
            ("delay = { time = '1s' }", "missing field `share`"),
            ("delay = { time = '1s', share = 1.01 }", "expected a share from 0 to 1"),
            ("delay = { time = '1s', share = -0.1 }", "expected a share from 0 to 1"),
            ("delay = { time = '1s', share = nan }", "expected a share from 0 to 1"),
            ("delay = { time = '1s', share = 5 }", "expected a share from 0 to 1"),
            ("delay = { time = '1s', share = '5%' }", "expected a share from 0 to 1"),
            (
                "delay = { time = '1s', share = 1, at-once = 0 }",
                "expected a number from 1 to 10000",
            ),
            (
                "delay = { time = '1s', share = 1, at-once = 10001 }",
                "expected a number from 1 to 10000",
            ),
            ("abort = { status = 200, share = 1 }", "expected an error's status, 400 to 599"),
            ("abort = { status = 600, share = 1 }", "expected an error's status"),
            ("abort = { status = -1, share = 1 }", "expected an error's status"),
            ("abort = { status = 503.0, share = 1 }", "expected an error's status"),
            ("abort = { status = 503, shares = 1 }", "unknown field `shares`"),
            ("abort = { status = 503, share = 1 }\nheaders = ['x-chaos:']", "is no header; write"),
            ("abort = { status = 503, share = 1 }\nheaders = ['x chaos']", "is no header; write"),
            ("abort = { status = 503, share = 1 }\nheader = 'x-chaos'", "unknown field `header`"),
        ] {
            let error = toml::from_str::<Settings>(settings).unwrap_err().to_string();
            assert!(error.contains(message), "{settings}: {error}");
        }
    }
}

//! Chaos days: switches the plugin `fault` on and off, and says so aloud for as long as it is on.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use plugins::fault::switch::{Injected, Switch};
use plugins::registry::PluginSettings;
use plugins::units::Time;
use serde::{Deserialize as _, Serialize};
use serde_json::Value;
use thiserror::Error;
use tokio::task::AbortHandle;

use super::view::timestamp;
use crate::config::{Config, Route};

/// How long faults are on if nobody says otherwise: enough for an experiment, short enough to be forgotten.
const TIME_USUAL: Duration = Duration::from_secs(10 * 60);
/// A chaos day.
const TIME_MAX: Duration = Duration::from_secs(24 * 60 * 60);
/// How often standard error is reminded.
const REMINDER: Duration = Duration::from_secs(60);

/// Why a body does not say how long.
#[derive(Debug, Error)]
pub(super) enum BodyError {
    #[error("the body is no JSON object such as {{\"for\": \"10m\"}}")]
    NoObject,
    #[error("unknown key \"{0}\"; the key is for")]
    UnknownKey(String),
    #[error("\"for\" is a duration of more than 0 and at most 1d, such as \"10m\"")]
    Time,
}

/// Whether faults are on.
#[derive(Serialize)]
pub(super) struct SwitchView {
    on: bool,
    until: Option<String>,
    remaining_seconds: Option<f64>,
}

/// `GET /api/v1/faults`, and the answer to what changes it.
#[derive(Serialize)]
pub(super) struct FaultsView {
    #[serde(flatten)]
    switch: SwitchView,
    injected: InjectedView,
    routes: Vec<RouteFaults>,
}

/// How many requests got a fault since the process began.
#[derive(Serialize)]
struct InjectedView {
    delayed: u64,
    aborted: u64,
    not_delayed: u64,
}

/// A route that has faults.
#[derive(Serialize)]
struct RouteFaults {
    name: String,
    faults: Vec<String>,
    injected: InjectedView,
}

/// Says aloud, from time to time, that faults are on.
#[derive(Default)]
pub(super) struct Reminder(Mutex<Option<AbortHandle>>);

impl Reminder {
    /// Switches faults on for as long as the body says.
    pub(super) fn enable(&self, body: &str, config: &Config) -> Result<(), BodyError> {
        let time = time_of(body)?;
        let switch = Switch::of_process();
        switch.enable(time);
        say(&format!("faults are on for {}, by the admin: {}", Time(time), concerned(config)));
        let reminding = tokio::spawn(switch.follow(REMINDER, |remaining| match remaining {
            Some(remaining) => say(&format!("faults are on for another {}", in_seconds(remaining))),
            None => say("faults are off: their time is over"),
        }));
        self.replace(Some(reminding.abort_handle()));
        Ok(())
    }

    /// Switches faults off.
    pub(super) fn disable(&self) {
        // First, so that it does not speak of time.
        self.replace(None);
        if Switch::of_process().disable() {
            say("faults are off, by the admin");
        }
    }

    fn replace(&self, next: Option<AbortHandle>) {
        let mut reminder = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(former) = std::mem::replace(&mut *reminder, next) {
            former.abort();
        }
    }
}

/// The time a body asks for. No body asks for the usual one.
fn time_of(body: &str) -> Result<Duration, BodyError> {
    if body.trim().is_empty() {
        return Ok(TIME_USUAL);
    }
    let value: Value = serde_json::from_str(body).map_err(|_| BodyError::NoObject)?;
    let object = value.as_object().ok_or(BodyError::NoObject)?;
    if let Some(unknown) = object.keys().find(|key| *key != "for") {
        return Err(BodyError::UnknownKey(unknown.clone()));
    }
    let Some(time) = object.get("for") else { return Ok(TIME_USUAL) };
    let Time(time) = Time::deserialize(time).map_err(|_| BodyError::Time)?;
    let within = !time.is_zero() && time <= TIME_MAX;
    within.then_some(time).ok_or(BodyError::Time)
}

/// Whether faults are on now.
pub(super) fn switch() -> SwitchView {
    let remaining = Switch::of_process().remaining();
    SwitchView {
        on: remaining.is_some(),
        until: remaining.map(|remaining| timestamp(SystemTime::now() + remaining)),
        remaining_seconds: remaining.map(|remaining| remaining.as_secs_f64()),
    }
}

/// Everything about faults.
pub(super) fn faults(config: &Config) -> FaultsView {
    let injected = Switch::of_process().injected();
    let of = |route: &Route| injected.get(&*route.name).copied().unwrap_or_default();
    let routes = with_faults(config).map(|route| RouteFaults {
        name: route.name.clone(),
        faults: faults_of(route).collect(),
        injected: of(route).into(),
    });
    let routes = routes.collect();
    let total: Injected = injected.values().copied().sum();
    FaultsView { switch: switch(), injected: total.into(), routes }
}

impl From<Injected> for InjectedView {
    fn from(Injected { delayed, aborted, spared }: Injected) -> Self {
        Self { delayed, aborted, not_delayed: spared }
    }
}

fn with_faults(config: &Config) -> impl Iterator<Item = &Route> {
    config.routes.iter().filter(|route| faults_of(route).next().is_some())
}

/// A route's faults in words.
fn faults_of(route: &Route) -> impl Iterator<Item = String> {
    route.plugins.iter().filter_map(|plugin| match &plugin.settings {
        PluginSettings::Fault(settings) => Some(settings.to_string()),
        _ => None,
    })
}

/// Whom it concerns, for standard error.
fn concerned(config: &Config) -> String {
    let names: Vec<&str> = with_faults(config).map(|route| &*route.name).collect();
    match names.len() {
        0 => "no route has any".to_owned(),
        1 => format!("route {}", names[0]),
        2..=10 => format!("routes {}", names.join(", ")),
        more => format!("{more} routes"),
    }
}

/// Rounded up: what is left of a minute is a minute.
fn in_seconds(time: Duration) -> Time {
    Time(Duration::from_secs(time.as_millis().div_ceil(1_000).try_into().unwrap_or(u64::MAX)))
}

/// Says something to whoever reads the process' standard error.
#[expect(clippy::print_stderr, reason = "faults are injected on purpose, and must not be a riddle")]
fn say(message: &str) {
    eprintln!("{message}");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::from_text;

    #[test]
    fn a_body_says_how_long_or_nothing() {
        for (body, seconds) in [
            ("", 600),
            (" \n", 600),
            ("{}", 600),
            (r#"{"for": "30s"}"#, 30),
            (r#"{"for": "1d"}"#, 86_400),
            (r#"{"for": "1h30m"}"#, 5_400),
        ] {
            let time = time_of(body).unwrap_or_else(|error| panic!("{body}: {error}"));
            assert_eq!(time, Duration::from_secs(seconds), "{body}");
        }
        for (body, part) in [
            ("10m", "no JSON object such as {\"for\": \"10m\"}"),
            ("\"10m\"", "no JSON object"),
            (r#"{"fore": "10m"}"#, "unknown key \"fore\"; the key is for"),
            (r#"{"for": "0s"}"#, "more than 0 and at most 1d"),
            (r#"{"for": "25h"}"#, "more than 0 and at most 1d"),
            (r#"{"for": "soon"}"#, "more than 0 and at most 1d"),
            (r#"{"for": 600}"#, "more than 0 and at most 1d"),
        ] {
            let error = time_of(body).err().map(|error| error.to_string()).unwrap_or_default();
            assert!(error.contains(part), "{body}: {error}");
        }
    }

    #[test]
    fn routes_with_faults_are_told_with_their_faults() {
        let text = "listeners = [{ address = '127.0.0.1:80' }]\n\
            [[routes]]\nname = 'a'\npath = '/a'\nrespond = {}\n\
            plugins = [{ fault = { abort = { status = 503, share = 0.5 } } }, { ip = { deny = ['10.0.0.1'] } }]\n\
            [[routes]]\nname = 'b'\npath = '/b'\nrespond = {}\n";
        let config = from_text("config.toml", text).unwrap_or_else(|problems| panic!("{problems}"));
        let view = faults(&config);
        assert_eq!(view.routes.len(), 1);
        assert_eq!((&*view.routes[0].name, view.routes[0].faults.len()), ("a", 1));
        assert_eq!(view.routes[0].faults[0], "50 % refused with 503");
        assert_eq!(concerned(&config), "route a");
    }

    #[test]
    fn what_is_left_is_rounded_up() {
        for (millis, words) in [(59_999, "1m"), (60_000, "1m"), (540_001, "541s")] {
            assert_eq!(in_seconds(Duration::from_millis(millis)).to_string(), words);
        }
    }
}

//! Whether a server stands out from the others: alone it cannot, and neither can most of them.

use std::time::Duration;

use super::docket::Glance;
use super::{PROBES, Reason, Settings, Span};

/// All servers of an upstream, as one look saw them.
pub(super) struct Group<'a> {
    settings: &'a Settings,
    glances: Vec<Glance>,
    /// The least pace of those that have enough calls: who is not slower than that by far need not be compared.
    best_pace: f64,
}

/// Calls that a stalled server must have in flight: one may be long by its nature, three at once without any other answer
/// hardly are.
const STALLED_CALLS: u32 = 3;

/// What the others must have answered while a server is said to stall.
const ANSWERS_OF_OTHERS: u32 = 5;

/// A silence is out of the usual from so many times the others' latency.
const SILENCE: f64 = 10.0;

/// A server is not slow that is behind by less: within a machine and across a zone differ by as much.
const SLOWER_BY: Duration = Duration::from_millis(5);

/// How far an error rate must be from the others', in standard deviations: with a few calls a few failures are chance.
const DEVIATIONS: f64 = 6.0;

/// A row of failures this likely, if it fails as often as the others do, proves nothing: five in a row are enough where one
/// of a hundred fails, seven where one of twenty does.
const CHANCE: f64 = 1e-9;

/// The others are taken to fail this often at least: that they have not yet does not prove that they never do.
const ERRORS_OF_OTHERS: f64 = 0.01;

impl<'a> Group<'a> {
    pub(super) fn new(settings: &'a Settings, glances: Vec<Glance>) -> Self {
        let has_enough =
            |glance: &&Glance| glance.is_in && glance.long.answered >= settings.minimum;
        let paces = glances.iter().filter(has_enough).map(|glance| glance.long.pace);
        let best_pace = paces.fold(f64::INFINITY, f64::min);
        Self { settings, glances, best_pace }
    }

    pub(super) fn servers_in(&self) -> usize {
        self.glances.iter().filter(|glance| glance.is_in).count()
    }

    /// Why a server that is in should go.
    pub(super) fn reason(&self, server: usize) -> Option<Reason> {
        let glance = &self.glances[server];
        let span = self.enough(glance);
        self.failures_in_a_row(server, glance)
            .or_else(|| self.stalled(server, glance, STALLED_CALLS))
            .or_else(|| self.errors(server, span?))
            .or_else(|| self.slow(server, span?, self.settings.minimum))
    }

    /// None while it is open. A few calls decide: there are only a few.
    pub(super) fn verdict_of_probation(
        &self,
        server: usize,
        lasted: Duration,
    ) -> Option<Result<(), Reason>> {
        let glance = &self.glances[server];
        let span = glance.long;
        let reason = self
            .fails_in_probation(server, span)
            .or_else(|| self.slow(server, span, 3))
            .or_else(|| self.stalled(server, glance, 2));
        if let Some(reason) = reason {
            return Some(Err(reason));
        }
        // Where calls are rare, time without a failure is enough.
        let is_quiet = lasted >= self.settings.window && span.failed == 0;
        let is_answered = glance.in_flight == 0 || span.answered > 0;
        (span.calls() >= PROBES || is_quiet && is_answered).then_some(Ok(()))
    }

    fn fails_in_probation(&self, server: usize, span: Span) -> Option<Reason> {
        let (rate, limit) = (span.error_rate(), self.settings.error_rate);
        let others = self.error_rate_of_others(server)?;
        let stands_out = span.failed >= 2 && rate >= limit && others < limit;
        stands_out.then_some(Reason::ErrorRate(rate, others))
    }

    /// Does not wait for a number of calls: the others would have to fail as well for this to be chance.
    fn failures_in_a_row(&self, server: usize, glance: &Glance) -> Option<Reason> {
        let enough = self.settings.consecutive_failures;
        if enough == 0 || glance.streak < enough {
            return None;
        }
        let streak = self.median(server, |other| Some(f64::from(other.streak)))?;
        let others = self.error_rate_of_others(server)?;
        let is_alone = streak * 2.0 < f64::from(enough);
        let chance = others.max(ERRORS_OF_OTHERS).powf(f64::from(glance.streak));
        (is_alone && chance < CHANCE).then_some(Reason::Failures(glance.streak))
    }

    fn stalled(&self, server: usize, glance: &Glance, calls: u32) -> Option<Reason> {
        if glance.in_flight < calls || glance.quiet < self.settings.stalled {
            return None;
        }
        let others_quiet = self.median(server, |other| Some(other.quiet.as_secs_f64()))?;
        let answered = self.median(server, |other| Some(f64::from(other.lately.answered)))?;
        let usual =
            self.median(server, |other| (other.long.answered > 0).then_some(other.long.pace))?;
        let is_unusual = glance.quiet.as_secs_f64() >= SILENCE * duration(usual).as_secs_f64();
        let is_alone = others_quiet <= glance.quiet.as_secs_f64() / 2.0;
        (is_alone && is_unusual && answered >= f64::from(ANSWERS_OF_OTHERS))
            .then_some(Reason::Stalled(glance.quiet))
    }

    fn errors(&self, server: usize, span: Span) -> Option<Reason> {
        let rate = span.error_rate();
        if span.failed == 0 || rate < self.settings.error_rate {
            return None;
        }
        let others = self.median(server, |other| Some(self.enough(other)?.error_rate()))?;
        let usual = others.max(ERRORS_OF_OTHERS);
        let deviation = (usual * (1.0 - usual) / f64::from(span.calls())).sqrt();
        let stands_out = others <= rate / 2.0 && rate - others >= DEVIATIONS * deviation;
        stands_out.then_some(Reason::ErrorRate(rate, others))
    }

    fn slow(&self, server: usize, span: Span, minimum: u32) -> Option<Reason> {
        let behind = self.settings.slower_than.log2();
        if span.answered < minimum || span.pace < self.best_pace + behind {
            return None;
        }
        let others = self.median(server, |other| {
            self.enough(other).filter(|span| span.answered > 0).map(|span| span.pace)
        })?;
        let (own, usual) = (duration(span.pace), duration(others));
        (span.pace >= others + behind && own >= usual + SLOWER_BY)
            .then_some(Reason::Slow(own, usual))
    }

    fn error_rate_of_others(&self, server: usize) -> Option<f64> {
        self.median(server, |other| Some(other.short.error_rate().max(other.long.error_rate())))
    }

    /// The shortest time in which it had enough calls. Twice as many in the short one, which is looked at more often anew.
    fn enough(&self, glance: &Glance) -> Option<Span> {
        let minimum = self.settings.minimum;
        let (short, long) = (glance.short, glance.long);
        if short.calls() >= minimum.saturating_mul(2) {
            return Some(short);
        }
        (long.calls() >= minimum).then_some(long)
    }

    /// Of the others that are in. Of an even number the worse one: half of them have to be better than a server to judge it.
    fn median(&self, server: usize, value: impl Fn(&Glance) -> Option<f64>) -> Option<f64> {
        let others = self.glances.iter().enumerate();
        let mut values: Vec<f64> = others
            .filter(|(other, glance)| *other != server && glance.is_in)
            .filter_map(|(_, glance)| value(glance))
            .collect();
        values.sort_unstable_by(f64::total_cmp);
        values.get(values.len() / 2).copied()
    }
}

/// From the logarithm, of which a line lies between powers of two.
pub(super) fn duration(pace: f64) -> Duration {
    let power = pace.floor().clamp(0.0, 63.0);
    Duration::from_nanos((power.exp2() * (1.0 + pace - power)) as u64)
}

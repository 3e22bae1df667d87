//! Both ledgers side by side: what was sent, what arrived, what came back, and what is wrong with it.

use std::net::SocketAddr;

use serde_json::{Value, json};

use super::tally::Ledger;
use crate::connection::fetch;
use crate::failure::Failure;
use crate::nonces::Nonces;

/// Empties the origin's ledger.
pub(crate) async fn clear(origin: SocketAddr) -> Result<(), Failure> {
    let answer = fetch(origin, "DELETE", "/ledger").await?;
    match answer.status {
        200 => Ok(()),
        other => Err(Failure::Status(other)),
    }
}

/// Reads the origin's ledger.
pub(crate) async fn read(origin: SocketAddr) -> Result<Nonces, Failure> {
    let answer = fetch(origin, "GET", "/ledger").await?;
    let document = serde_json::from_slice(&answer.body).map_err(|_| Failure::Body)?;
    Nonces::from_document(&document).ok_or(Failure::Body)
}

/// What several origins have seen together.
pub(super) async fn read_all(origins: &[SocketAddr]) -> Result<Nonces, Failure> {
    let mut all = Nonces::default();
    for &origin in origins {
        all.merge(&read(origin).await?);
    }
    Ok(all)
}

/// What the two ledgers say together; each kind of wrong is counted apart.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Balance {
    pub(super) sent: u64,
    pub(super) answered: u64,
    pub(super) arrived: u64,
    /// The origin answered, and the client got nothing.
    pub(super) lost: u64,
    /// The origin got it more than once.
    pub(super) duplicated: u64,
    /// The client got another request's answer.
    pub(super) swapped: u64,
    pub(super) truncated: u64,
    /// As long as announced, but not what the origin sent.
    pub(super) changed: u64,
    /// Answered though the origin never saw it: by a cache, or by a proxy itself.
    pub(super) answered_by_others: u64,
    /// Neither answered nor seen by the origin: refused or broken on the way there.
    pub(super) never_arrived: u64,
}

impl Balance {
    pub(super) fn of(ours: &Ledger, theirs: &Nonces) -> Self {
        let mut balance = Self {
            swapped: ours.swapped,
            truncated: ours.truncated,
            changed: ours.changed,
            ..Self::default()
        };
        for nonce in ours.sent.seen() {
            let (answered, arrived) = (ours.answered.times(nonce), theirs.times(nonce));
            balance.sent += 1;
            balance.answered += u64::from(answered > 0);
            balance.arrived += u64::from(arrived > 0);
            balance.duplicated += u64::from(arrived > 1);
            balance.lost += u64::from(arrived > 0 && ours.unanswered.times(nonce) > 0);
            balance.answered_by_others += u64::from(arrived == 0 && answered > 0);
            balance.never_arrived += u64::from(arrived == 0 && answered == 0);
        }
        balance
    }

    /// Whether nothing was swapped, truncated, duplicated, changed or lost.
    pub(super) fn is_clean(&self) -> bool {
        self.lost + self.duplicated + self.swapped + self.truncated + self.changed == 0
    }

    pub(super) fn document(&self) -> Value {
        json!({
            "sent": self.sent,
            "answered": self.answered,
            "arrived": self.arrived,
            "lost": self.lost,
            "duplicated": self.duplicated,
            "swapped": self.swapped,
            "truncated": self.truncated,
            "changed": self.changed,
            "answered_by_others": self.answered_by_others,
            "never_arrived": self.never_arrived,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nonces(of: &[u64]) -> Nonces {
        let mut nonces = Nonces::default();
        of.iter().for_each(|&nonce| nonces.add(nonce));
        nonces
    }

    #[test]
    fn each_kind_of_wrong_is_counted_apart() {
        let ours = Ledger {
            sent: nonces(&[0, 1, 2, 3, 4, 5, 6]),
            answered: nonces(&[0, 1, 2]),
            unanswered: nonces(&[3, 4]),
            swapped: 1,
            truncated: 1,
            changed: 0,
        };
        let balance = Balance::of(&ours, &nonces(&[0, 1, 1, 3, 5, 6]));
        let expected = Balance {
            sent: 7,
            answered: 3,
            arrived: 5,
            lost: 1,
            duplicated: 1,
            swapped: 1,
            truncated: 1,
            changed: 0,
            answered_by_others: 1,
            never_arrived: 1,
        };
        assert_eq!(balance, expected);
        assert!(!balance.is_clean());
    }

    #[test]
    fn a_clean_run_is_clean() {
        let all = [0, 1, 2];
        let ours = Ledger { sent: nonces(&all), answered: nonces(&all), ..Ledger::default() };
        let balance = Balance::of(&ours, &nonces(&all));
        assert_eq!((balance.sent, balance.answered, balance.arrived), (3, 3, 3));
        assert!(balance.is_clean());
    }
}

//! What was answered, and whether the database agrees.

use std::collections::{HashMap, HashSet};

use serde::Deserialize;

/// A user as the service tells it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct Stored {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) email: String,
}

/// Everything that may be true of the users somebody has written, in view of the answers.
#[derive(Default)]
pub(crate) struct Ledger {
    /// By id: the states a user may be in; more than one if a write got no answer. `None` is gone.
    users: HashMap<String, Vec<Option<Stored>>>,
    /// Emails of users who may exist under an id that nobody was told.
    unanswered: HashSet<String>,
    pub(crate) sums: Sums,
}

/// What was counted.
#[derive(Debug, Default)]
pub(crate) struct Sums {
    pub(crate) acknowledged: usize,
    pub(crate) unanswered: usize,
    pub(crate) refused: usize,
    pub(crate) reads_checked: usize,
}

impl Ledger {
    /// A write was answered.
    pub(crate) fn acknowledge(&mut self, id: &str, state: Option<Stored>) {
        self.sums.acknowledged += 1;
        self.users.insert(id.to_owned(), vec![state]);
    }

    /// A change got no answer: it may have been taken or not.
    pub(crate) fn doubt(&mut self, id: &str, state: Option<Stored>) {
        self.sums.unanswered += 1;
        self.users.entry(id.to_owned()).or_default().push(state);
    }

    /// A registration got no answer.
    pub(crate) fn doubt_new(&mut self, email: String) {
        self.sums.unanswered += 1;
        self.unanswered.insert(email);
    }

    /// The states that a user may be in.
    pub(crate) fn states(&self, id: &str) -> &[Option<Stored>] {
        &self.users[id]
    }

    /// Takes in what another client has written.
    pub(crate) fn join(&mut self, other: Self) {
        let Self { users, unanswered, sums } = other;
        self.users.extend(users);
        self.unanswered.extend(unanswered);
        self.sums.acknowledged += sums.acknowledged;
        self.sums.unanswered += sums.unanswered;
        self.sums.refused += sums.refused;
        self.sums.reads_checked += sums.reads_checked;
    }

    /// Prints the sums; fails if a user is lost, there twice, or from nowhere.
    pub(crate) fn check(&self, stored: &[Stored], killed: &str, rounds: u32) {
        let by_id: HashMap<&str, &Stored> = stored.iter().map(|it| (it.id.as_str(), it)).collect();
        let emails: HashSet<String> =
            stored.iter().map(|it| it.email.to_ascii_lowercase()).collect();
        let wrong: Vec<_> = self
            .users
            .iter()
            .filter(|(id, states)| !states.contains(&by_id.get(id.as_str()).copied().cloned()))
            .map(|(id, states)| (id, states, by_id.get(id.as_str())))
            .collect();
        let unexplained: Vec<_> = stored
            .iter()
            .filter(|it| !self.users.contains_key(&it.id) && !self.unanswered.contains(&it.email))
            .collect();
        let Sums { acknowledged, unanswered, refused, reads_checked } = &self.sums;
        println!(
            "{rounds} kills of {killed}: {acknowledged} writes acknowledged, {unanswered} without answer, \
             {refused} refused (409), {reads_checked} reads of own writes; {} users known by id, {} stored: \
             {} lost or wrong, {} ids twice, {} emails twice, {} from nowhere",
            self.users.len(),
            stored.len(),
            wrong.len(),
            stored.len() - by_id.len(),
            stored.len() - emails.len(),
            unexplained.len(),
        );
        assert!(wrong.is_empty(), "expected one of, found: {wrong:#?}");
        assert_eq!(stored.len(), by_id.len(), "an id is there twice");
        assert_eq!(stored.len(), emails.len(), "an email is there twice");
        assert!(unexplained.is_empty(), "nobody wrote {unexplained:#?}");
        assert!(*acknowledged > 0, "nothing was written, so nothing is proved");
    }
}

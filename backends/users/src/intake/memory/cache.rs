//! Users in memory: those with jobs in the queue, and a bounded number of others.

use std::collections::{HashMap, VecDeque};

use crate::intake::{Lease, Recalled, Sequence, Versioned};
use crate::user::UserId;

/// Users who could be asked of the database again; about 5 MB of them. At more, the first to come is forgotten.
const FORGETTABLE_MAX: usize = 10_000;

/// See the file's own words.
#[derive(Default)]
pub(super) struct Cache {
    entries: HashMap<UserId, Entry>,
    /// In the order in which they became forgettable; some may have changed since.
    forgettable: VecDeque<UserId>,
}

enum Entry {
    /// Somebody is asking the database.
    Asked(Lease),
    /// As of a job in the queue.
    Written(Versioned),
    /// As the database has it.
    Stored(Versioned),
    /// Removed by a job in the queue.
    Gone(Sequence),
}

impl Cache {
    /// What is known, or a lease to find out.
    pub(super) fn recall(&mut self, id: UserId, lease: Lease) -> Recalled {
        match self.entries.get(&id) {
            Some(Entry::Written(found) | Entry::Stored(found)) => Recalled::Known(found.clone()),
            Some(Entry::Gone(_)) => Recalled::Gone,
            Some(Entry::Asked(_)) | None => {
                self.put_forgettable(id, Entry::Asked(lease));
                Recalled::Unknown(lease)
            }
        }
    }

    /// The user, if the cache knows one.
    pub(super) fn known(&self, id: UserId) -> Option<&Versioned> {
        match self.entries.get(&id)? {
            Entry::Written(found) | Entry::Stored(found) => Some(found),
            Entry::Gone(_) | Entry::Asked(_) => None,
        }
    }

    /// Keeps what the database said if the lease still holds.
    pub(super) fn remember(&mut self, found: Versioned, lease: Lease) {
        let id = found.account.user.id;
        if matches!(self.entries.get(&id), Some(Entry::Asked(held)) if *held == lease) {
            self.put_forgettable(id, Entry::Stored(found));
        }
    }

    /// The state of a user as of a new job.
    pub(super) fn write(&mut self, found: Versioned) {
        self.entries.insert(found.account.user.id, Entry::Written(found));
    }

    /// A user whom a new job removes.
    pub(super) fn remove(&mut self, id: UserId, sequence: Sequence) {
        self.entries.insert(id, Entry::Gone(sequence));
    }

    /// A job is in the database; if it was the user's last, the user may be forgotten.
    pub(super) fn settle(&mut self, id: UserId, sequence: Sequence) {
        match self.entries.remove(&id) {
            Some(Entry::Written(found)) if found.version == sequence => {
                self.put_forgettable(id, Entry::Stored(found));
            }
            Some(Entry::Gone(gone)) if gone == sequence => {}
            Some(other) => {
                self.entries.insert(id, other);
            }
            None => {}
        }
    }

    /// Forgets what a job said, unless a later one said more.
    pub(super) fn forget(&mut self, id: UserId, sequence: Sequence) -> Forgotten {
        let is_last = match self.entries.get(&id) {
            Some(Entry::Written(found)) => found.version == sequence,
            Some(Entry::Gone(gone)) => *gone == sequence,
            Some(Entry::Stored(_) | Entry::Asked(_)) | None => false,
        };
        if is_last {
            self.entries.remove(&id);
            return Forgotten::Yes;
        }
        Forgotten::LaterWritten
    }

    fn put_forgettable(&mut self, id: UserId, entry: Entry) {
        self.entries.insert(id, entry);
        self.forgettable.push_back(id);
        while self.forgettable.len() > FORGETTABLE_MAX {
            let Some(id) = self.forgettable.pop_front() else { return };
            if matches!(self.entries.get(&id), Some(Entry::Asked(_) | Entry::Stored(_))) {
                self.entries.remove(&id);
            }
        }
    }
}

/// Whether the cache has forgotten a user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Forgotten {
    /// The database has to be asked.
    Yes,
    /// A later job has written to the user, and that holds.
    LaterWritten,
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::password::PasswordHash;
    use crate::user::{Account, Email, Name, User};

    fn lease() -> Lease {
        Lease(Uuid::new_v4())
    }

    fn user(version: i64) -> Versioned {
        let user = User {
            id: Uuid::new_v4().to_string().parse().unwrap(),
            name: Name::parse("ann".to_owned()).unwrap(),
            email: Email::parse("ann@example.org".to_owned()).unwrap(),
        };
        let account = Account { user, hash: PasswordHash::stored(String::new()) };
        Versioned { account, version: Sequence::from(version) }
    }

    #[test]
    fn what_the_database_said_before_a_write_is_not_kept() {
        let mut cache = Cache::default();
        let old = user(1);
        let id = old.account.user.id;
        let slow = lease();
        assert!(matches!(cache.recall(id, slow), Recalled::Unknown(_)));
        let new = Versioned { version: Sequence::from(2), ..old.clone() };
        cache.write(new.clone());
        cache.remember(old.clone(), slow);
        assert_eq!(cache.known(id), Some(&new));

        let slow = lease();
        cache.remove(id, Sequence::from(3));
        cache.settle(id, Sequence::from(3));
        cache.remember(old, slow);
        assert!(cache.known(id).is_none(), "not even after the removal is in the database");
    }

    #[test]
    fn only_users_without_jobs_are_forgotten() {
        let mut cache = Cache::default();
        let (waiting, stored) = (user(1), user(2));
        cache.write(waiting.clone());
        cache.write(stored.clone());
        cache.settle(stored.account.user.id, Sequence::from(2));
        for number in 0..FORGETTABLE_MAX {
            let other = user(number as i64);
            let lease = lease();
            cache.recall(other.account.user.id, lease);
            cache.remember(other, lease);
        }
        assert_eq!(cache.known(waiting.account.user.id), Some(&waiting));
        assert_eq!(cache.known(stored.account.user.id), None);
        assert!(cache.entries.len() <= FORGETTABLE_MAX + 1, "{}", cache.entries.len());
    }
}

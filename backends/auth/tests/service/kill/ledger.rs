//! What was answered about logins, and every answer that contradicts an earlier one.

/// Where a refresh token is exchanged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Door {
    /// `/refresh`, for logins by password.
    Password,
    /// `/token`, for logins by browser.
    Browser,
}

/// A refresh token.
#[derive(Debug, Clone)]
pub(crate) struct Token {
    pub(crate) door: Door,
    pub(crate) text: String,
}

impl Token {
    /// All tokens of one login begin with the same words.
    pub(crate) fn login(&self) -> &str {
        self.text.split('.').next().unwrap_or_default()
    }
}

/// What must be true of something, in view of the answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It must be good.
    Good,
    /// A question about it got no answer: it may be good or not.
    Doubtful,
}

/// What came of presenting something that is good once.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Reply {
    /// The next refresh token.
    Given(String),
    Refused,
    /// The service or its database was not there: it may have been taken or not.
    Unanswered,
}

/// What one owner of logins knows, or all of them together.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    /// Refresh tokens that nobody has exchanged yet.
    pub(crate) tokens: Vec<(Token, Standing)>,
    /// Codes whose exchange got no answer.
    pub(crate) codes: Vec<String>,
    /// Refresh tokens that must not work any more.
    pub(crate) spent_tokens: Vec<Token>,
    /// Codes that must not work any more, and the login each was exchanged for if that was answered.
    pub(crate) spent_codes: Vec<(String, Option<String>)>,
    /// Cookies of browsers that are logged in.
    pub(crate) sessions: Vec<String>,
    /// Answers that break a promise.
    pub(crate) broken: Vec<String>,
    pub(crate) sums: Sums,
}

/// What was counted.
#[derive(Debug, Default)]
pub(crate) struct Sums {
    pub(crate) logins: usize,
    pub(crate) rotations: usize,
    pub(crate) codes_spent: usize,
    pub(crate) logouts: usize,
    pub(crate) unanswered: usize,
    pub(crate) replays_refused: usize,
    pub(crate) found_again: usize,
}

impl Ledger {
    /// A refresh token was presented that had this standing.
    pub(crate) fn exchanged(&mut self, token: Token, standing: Standing, reply: Reply) {
        match reply {
            Reply::Given(text) => {
                self.sums.rotations += 1;
                self.tokens.push((Token { door: token.door, text }, Standing::Good));
                self.spent_tokens.push(token);
            }
            Reply::Refused => {
                if standing == Standing::Good {
                    self.broken.push(format!("lost: {token:?}"));
                }
                self.spent_tokens.push(token);
            }
            Reply::Unanswered => {
                self.sums.unanswered += 1;
                self.tokens.push((token, Standing::Doubtful));
            }
        }
    }

    /// A code was presented that had this standing.
    pub(crate) fn redeemed(&mut self, code: String, standing: Standing, reply: Reply) {
        match reply {
            Reply::Given(text) => {
                self.sums.codes_spent += 1;
                let token = Token { door: Door::Browser, text };
                self.spent_codes.push((code, Some(token.login().to_owned())));
                self.tokens.push((token, Standing::Good));
            }
            Reply::Refused => {
                if standing == Standing::Good {
                    self.broken.push(format!("lost: code {code}"));
                }
                self.spent_codes.push((code, None));
            }
            Reply::Unanswered => {
                self.sums.unanswered += 1;
                self.codes.push(code);
            }
        }
    }

    /// Something spent was presented again.
    pub(crate) fn replayed(&mut self, what: &str, reply: &Reply) {
        match reply {
            Reply::Given(_) => self.broken.push(format!("worked twice: {what}")),
            Reply::Refused => self.sums.replays_refused += 1,
            Reply::Unanswered => self.sums.unanswered += 1,
        }
    }

    /// Takes in what another owner knows.
    pub(crate) fn join(&mut self, other: Self) {
        let Self { tokens, codes, spent_tokens, spent_codes, sessions, broken, sums } = other;
        self.tokens.extend(tokens);
        self.codes.extend(codes);
        self.spent_tokens.extend(spent_tokens);
        self.spent_codes.extend(spent_codes);
        self.sessions.extend(sessions);
        self.broken.extend(broken);
        let Sums {
            logins,
            rotations,
            codes_spent,
            logouts,
            unanswered,
            replays_refused,
            found_again,
        } = sums;
        self.sums.logins += logins;
        self.sums.rotations += rotations;
        self.sums.codes_spent += codes_spent;
        self.sums.logouts += logouts;
        self.sums.unanswered += unanswered;
        self.sums.replays_refused += replays_refused;
        self.sums.found_again += found_again;
    }

    /// Prints the sums; fails if a promise was broken, or if there was nothing to break.
    pub(crate) fn check(&self, killed: &str, rounds: u32) {
        let Sums {
            logins,
            rotations,
            codes_spent,
            logouts,
            unanswered,
            replays_refused,
            found_again,
        } = &self.sums;
        println!(
            "{rounds} kills of {killed}: answered {logins} logins, {rotations} rotations, {codes_spent} codes spent, \
             {logouts} logouts; {unanswered} without answer; {replays_refused} replays refused, {found_again} \
             tokens and sessions found good in the end, {} spent tokens and {} spent codes tried then: {} broken",
            self.spent_tokens.len(),
            self.spent_codes.len(),
            self.broken.len(),
        );
        assert!(self.broken.is_empty(), "{:#?}", self.broken);
        for count in [logins, rotations, codes_spent, replays_refused, found_again] {
            assert!(*count > 0, "too little was done to prove anything: {:?}", self.sums);
        }
    }
}

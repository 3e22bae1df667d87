//! What a token lets its holder read of the user.

/// What we know; anything else is ignored, as OpenID Connect says.
pub(crate) const KNOWN: [&str; 3] = ["openid", "profile", "email"];

/// A set of known scopes that contains `openid`, as text in the order of [`KNOWN`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Scope(String);

impl Scope {
    /// All there is: what a login at our own door gets.
    pub(crate) fn all() -> Self {
        Self(KNOWN.join(" "))
    }

    /// What is known of what was asked for; `None` without `openid`.
    pub(crate) fn requested(text: &str) -> Option<Self> {
        let asked = |name: &&str| text.split(' ').any(|word| word == *name);
        asked(&"openid")
            .then(|| Self(KNOWN.into_iter().filter(asked).collect::<Vec<_>>().join(" ")))
    }

    /// One that we stored.
    pub(crate) fn stored(text: String) -> Self {
        Self(text)
    }

    /// Less than this, if it is no more than this (RFC 6749, 6).
    pub(crate) fn narrowed(&self, text: &str) -> Option<Self> {
        let all_granted = text.split(' ').filter(|word| !word.is_empty()).all(|it| self.has(it));
        if all_granted { Self::requested(text) } else { None }
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.0.split(' ').any(|word| word == name)
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scope_is_what_is_known_of_what_was_asked_for() {
        for (text, granted) in [
            ("openid", Some("openid")),
            ("email openid", Some("openid email")),
            ("openid profile email offline_access", Some("openid profile email")),
            ("openid openid", Some("openid")),
            ("profile", None),
            ("OpenID", None),
            ("", None),
        ] {
            let scope = Scope::requested(text);
            assert_eq!(scope.as_ref().map(Scope::as_str), granted, "{text:?}");
        }
    }

    #[test]
    fn a_scope_can_become_less_and_never_more() {
        let scope = Scope::requested("openid email").unwrap();
        for (text, narrowed) in [
            ("openid", Some("openid")),
            ("email openid", Some("openid email")),
            ("openid profile", None),
            ("email", None),
            ("openid unknown", None),
        ] {
            assert_eq!(scope.narrowed(text).as_ref().map(Scope::as_str), narrowed, "{text:?}");
        }
    }
}

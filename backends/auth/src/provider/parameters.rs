//! The parameters of OAuth requests, from a query or a form.

use std::collections::BTreeMap;

use url::form_urlencoded;

/// Parameters by name. One without a value counts as not sent (RFC 6749, 3.1).
pub(crate) struct Parameters(BTreeMap<String, String>);

impl Parameters {
    /// Fails if one comes twice: which of the two holds must not depend on who reads them.
    pub(crate) fn parse(text: &str) -> Result<Self, Repeated> {
        let mut parameters = BTreeMap::new();
        for (name, value) in form_urlencoded::parse(text.as_bytes()) {
            if parameters.insert(name.into_owned(), value.into_owned()).is_some() {
                return Err(Repeated);
            }
        }
        parameters.retain(|_, value| !value.is_empty());
        Ok(Self(parameters))
    }

    /// The parameter of this name, which is then gone.
    pub(crate) fn take(&mut self, name: &str) -> Option<String> {
        self.0.remove(name)
    }
}

/// A parameter comes twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a parameter comes twice")]
pub(crate) struct Repeated;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parameter_comes_once_and_an_empty_one_does_not_count() {
        let mut parameters = Parameters::parse("a=1%202&b=&c=x+y&d").unwrap();
        assert_eq!(parameters.take("a").as_deref(), Some("1 2"));
        assert_eq!(parameters.take("a"), None);
        assert_eq!(parameters.take("b"), None);
        assert_eq!(parameters.take("c").as_deref(), Some("x y"));
        assert_eq!(parameters.take("d"), None);
        for text in ["a=1&a=1", "a=&a=1", "a&a"] {
            assert_eq!(Parameters::parse(text).err(), Some(Repeated), "{text}");
        }
    }
}

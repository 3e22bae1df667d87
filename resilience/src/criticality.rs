//! How important a request is: under pressure the least important goes first.

/// How important a request is; a route says it. Ordered: the more important one is the lesser (it goes first).
///
/// Three are enough to tell apart what must not fail, what people wait for, and what nobody misses
/// (Google's SRE book, "Handling Overload", has four; the lowest two are treated alike).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Criticality {
    /// Must not fail while anything works: paying, logging in.
    Critical,
    /// What people wait for.
    #[default]
    Normal,
    /// Nobody misses it for a minute: prefetches, suggestions, crawlers.
    Sheddable,
}

impl Criticality {
    /// All of them, the most important first.
    pub const ALL: [Self; 3] = [Self::Critical, Self::Normal, Self::Sheddable];

    /// How many there are.
    pub const COUNT: usize = Self::ALL.len();

    /// The place in [`Criticality::ALL`], for a table by criticality.
    pub const fn index(self) -> usize {
        match self {
            Self::Critical => 0,
            Self::Normal => 1,
            Self::Sheddable => 2,
        }
    }

    /// As in the config, a log or a metric.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Critical => "critical",
            Self::Normal => "normal",
            Self::Sheddable => "sheddable",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_more_important_one_comes_first() {
        assert!(Criticality::ALL.is_sorted());
        for (index, criticality) in Criticality::ALL.into_iter().enumerate() {
            assert_eq!(criticality.index(), index, "{}", criticality.name());
        }
        assert_eq!(Criticality::default(), Criticality::Normal);
    }
}

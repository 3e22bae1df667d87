//! How traffic is shared out between priority groups, and between near and far, when servers are missing.

/// What sums of shares may be off by.
const ROUNDING: f64 = 1e-9;

/// The weight of a group of servers. Servers of weight 0, and those taken out on purpose, do not count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Strength {
    /// Of all.
    pub(super) whole: u64,
    /// Of those that are up.
    pub(super) up: u64,
}

/// What a group gets.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Share {
    /// Of all traffic, between 0 and 1.
    pub(super) traffic: f64,
    /// Whether so few are up that all are used.
    pub(super) panic: bool,
}

impl Strength {
    /// Between 0 and 1.
    pub(super) fn healthy(self) -> f64 {
        if self.whole == 0 { 0.0 } else { self.up as f64 / self.whole as f64 }
    }

    /// What share of all traffic it can carry: all of it, until its healthy share falls below `failover_below`.
    fn carries(self, failover_below: f64) -> f64 {
        if self.up == 0 { 0.0 } else { (self.healthy() / failover_below).min(1.0) }
    }
}

/// Shares of groups, the most preferred first, as in Envoy ("Priority levels"): each gets what it can carry and those
/// before it cannot. Only if all together cannot carry all traffic, it is shared out in proportion, and groups of which
/// less than `panic_below` is up use all their servers. Nothing up anywhere: the first group gets all.
///
/// The shares add up to 1, or to 0 if there is nothing to pick from.
pub(super) fn of_groups(groups: &[Strength], failover_below: f64, panic_below: f64) -> Vec<Share> {
    let carry: Vec<f64> = groups.iter().map(|group| group.carries(failover_below)).collect();
    let total: f64 = carry.iter().sum();
    if total >= 1.0 - ROUNDING {
        let mut left: f64 = 1.0;
        let shares = carry.iter().map(|carry| {
            let traffic = if left > ROUNDING { carry.min(left) } else { 0.0 };
            left -= traffic;
            Share { traffic, panic: false }
        });
        return shares.collect();
    }
    let first = groups.iter().position(|group| group.whole > 0);
    let shares = groups.iter().zip(&carry).enumerate().map(|(place, (group, carry))| {
        let panic = group.whole > 0 && group.healthy() < panic_below;
        let traffic = if total > 0.0 {
            carry / total
        } else if first == Some(place) && panic {
            1.0
        } else {
            0.0
        };
        Share { traffic, panic: panic && traffic > 0.0 }
    });
    shares.collect()
}

/// The share of a group's traffic that stays in the zone of the gateway, as in Envoy ("Zone aware routing"): all of it, as
/// long as no near server gets more than 1 ÷ `failover_below` times what it would get if zones did not count. Gateways
/// are taken to be spread evenly over the `zones` that have servers.
pub(super) fn of_near(near_up: u64, all_up: u64, zones: usize, failover_below: f64) -> f64 {
    if near_up == 0 {
        return 0.0;
    }
    let fair = near_up as f64 / all_up as f64;
    (fair * zones as f64 / failover_below).min(1.0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shares(groups: &[(u64, u64)], failover_below: f64, panic_below: f64) -> Vec<(f64, bool)> {
        let groups: Vec<_> = groups.iter().map(|&(up, whole)| Strength { whole, up }).collect();
        let shares = of_groups(&groups, failover_below, panic_below);
        // To a millionth, for comparing.
        let rounded = shares.iter().map(|share| ((share.traffic * 1e6).round() / 1e6, share.panic));
        rounded.collect()
    }

    #[test]
    fn a_group_is_joined_by_the_next_when_too_few_are_up() {
        assert_eq!(shares(&[(10, 10), (4, 4)], 0.7, 0.5), [(1.0, false), (0.0, false)]);
        assert_eq!(shares(&[(7, 10), (4, 4)], 0.7, 0.5), [(1.0, false), (0.0, false)]);
        assert_eq!(shares(&[(35, 100), (4, 4)], 0.7, 0.5), [(0.5, false), (0.5, false)]);
        assert_eq!(shares(&[(0, 10), (4, 4)], 0.7, 0.5), [(0.0, false), (1.0, false)]);
        let three = shares(&[(35, 100), (14, 100), (9, 9)], 0.7, 0.5);
        assert_eq!(three, [(0.5, false), (0.2, false), (0.3, false)]);
    }

    #[test]
    fn panic_only_if_all_groups_together_cannot_carry_the_traffic() {
        // Few of the first are up, but the second carries the rest.
        assert_eq!(shares(&[(1, 10), (10, 10)], 0.5, 0.5), [(0.2, false), (0.8, false)]);
        // 20 and 20 of 100: shared in proportion, all servers used.
        assert_eq!(shares(&[(1, 10), (1, 10)], 0.5, 0.5), [(0.5, true), (0.5, true)]);
        assert_eq!(shares(&[(6, 10)], 0.7, 0.5), [(1.0, false)]);
        assert_eq!(shares(&[(5, 10)], 0.7, 0.5), [(1.0, false)]);
        assert_eq!(shares(&[(4, 10)], 0.7, 0.5), [(1.0, true)]);
    }

    #[test]
    fn with_nothing_up_the_first_group_is_used_unless_panic_is_off() {
        assert_eq!(shares(&[(0, 3), (0, 3)], 0.7, 0.5), [(1.0, true), (0.0, false)]);
        assert_eq!(shares(&[(0, 0), (0, 3)], 0.7, 0.5), [(0.0, false), (1.0, true)]);
        assert_eq!(shares(&[(0, 3)], 0.7, 0.0), [(0.0, false)]);
        assert_eq!(shares(&[(0, 0)], 0.7, 0.5), [(0.0, false)]);
    }

    #[test]
    fn near_servers_are_not_asked_for_more_than_they_can_carry() {
        let near = |near, all, zones| (of_near(near, all, zones, 0.7) * 1_000.0).round() / 1_000.0;
        assert_eq!(near(3, 6, 2), 1.0);
        // Two of three: 2 ÷ 5 × 2 ÷ 0.7 = 1.14, so all stays near.
        assert_eq!(near(2, 5, 2), 1.0);
        // One of three: 1 ÷ 4 × 2 ÷ 0.7 = 0.714.
        assert_eq!(near(1, 4, 2), 0.714);
        assert_eq!(near(0, 3, 2), 0.0);
        assert_eq!(near(1, 10, 2), 0.286);
        assert_eq!(near(4, 4, 1), 1.0);
    }

    proptest! {
        #[test]
        fn shares_add_up_and_none_is_given_what_it_cannot_carry(
            groups in proptest::collection::vec((0..20_u64, 0..20_u64), 1..6),
            failover_below in 0.0..1.0_f64, panic_below in 0.01..1.0_f64,
        ) {
            let groups: Vec<_> = groups.iter().map(|&(up, down)| Strength { whole: up + down, up }).collect();
            let shares = of_groups(&groups, failover_below, panic_below);
            let sum: f64 = shares.iter().map(|share| share.traffic).sum();
            let exists = groups.iter().any(|group| group.whole > 0);
            prop_assert!((sum - if exists { 1.0 } else { 0.0 }).abs() < 1e-9, "{sum}");
            let all_carried: f64 = groups.iter().map(|group| group.carries(failover_below)).sum();
            let mut earlier_are_full = true;
            for (group, share) in groups.iter().zip(&shares) {
                prop_assert!((0.0..=1.0 + 1e-9).contains(&share.traffic));
                if all_carried >= 1.0 {
                    prop_assert!(!share.panic);
                    prop_assert!(share.traffic <= group.carries(failover_below) + 1e-9);
                    // A later group gets only what those before it cannot carry.
                    prop_assert!(earlier_are_full || share.traffic < 1e-9);
                    earlier_are_full &= share.traffic >= group.carries(failover_below) - 1e-9;
                }
            }
        }

        #[test]
        fn far_servers_get_only_what_near_ones_cannot_carry(
            near in 0..50_u64, far in 0..50_u64, zones in 2..5_usize, failover_below in 0.1..1.0_f64,
        ) {
            prop_assume!(near + far > 0);
            let share = of_near(near, near + far, zones, failover_below);
            prop_assert!((0.0..=1.0).contains(&share));
            // What one near server gets of the traffic of its zone's gateways, against its fair share.
            if near > 0 {
                let each = share / zones as f64 / near as f64;
                let most = 1.0 / failover_below / (near + far) as f64;
                prop_assert!(each <= most + 1e-9);
                prop_assert!(share == 1.0 || (each - most).abs() < 1e-9, "what near can carry stays near");
            }
        }
    }
}

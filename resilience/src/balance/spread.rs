//! The order in which servers of different weights take turns, worked out beforehand.

/// Turns of an order at most, if there are not more servers: the memory of one order is twice this in bytes.
const TURNS_MAX: u64 = 8_192;

/// Smooth weighted round robin, as nginx does it: of weights 5, 1, 1 the first comes five times in seven, but never five
/// times in a row. The numbers are places in `weights`.
///
/// Shares are exact as long as the weights, divided by their greatest common divisor, add up to no more than 8,192.
/// Beyond that weights are rounded, to no less than one turn in the order.
pub(super) fn spread(weights: &[u32]) -> Box<[u16]> {
    let weights = turns(weights);
    let total: i64 = weights.iter().sum();
    let mut current = vec![0_i64; weights.len()];
    let mut order = Vec::with_capacity(usize::try_from(total).unwrap_or(0));
    for _ in 0..total {
        // The first of the greatest: with equal weights the order of the list.
        let mut best = 0;
        for place in 0..weights.len() {
            current[place] += weights[place];
            if current[place] > current[best] {
                best = place;
            }
        }
        current[best] -= total;
        order.extend(u16::try_from(best));
    }
    order.into()
}

/// How often each one comes in an order.
fn turns(weights: &[u32]) -> Vec<i64> {
    let divisor = weights.iter().copied().fold(0, greatest_common_divisor).max(1);
    let total: u64 = weights.iter().map(|&weight| u64::from(weight / divisor)).sum();
    let servers = u64::try_from(weights.len()).unwrap_or(u64::MAX);
    let turns_max = TURNS_MAX.max(servers);
    let turns = weights.iter().map(|&weight| match u64::from(weight / divisor) {
        0 => 0,
        weight if total <= turns_max => weight,
        weight => ((weight * turns_max + total / 2) / total).max(1),
    });
    turns.map(|turns| i64::try_from(turns).unwrap_or(i64::MAX)).collect()
}

fn greatest_common_divisor(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { greatest_common_divisor(b, a % b) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn turns_are_spread_by_weight() {
        assert_eq!(*spread(&[1, 1, 1]), [0, 1, 2]);
        assert_eq!(*spread(&[5, 1, 1]), [0, 0, 1, 0, 2, 0, 0]);
        assert_eq!(*spread(&[100, 50]), [0, 1, 0]);
        assert_eq!(*spread(&[0, 3]), [1]);
        assert!(spread(&[0, 0]).is_empty());
        assert!(spread(&[]).is_empty());
    }

    #[test]
    fn an_order_stays_short_whatever_the_weights() {
        let order = spread(&[u32::MAX, u32::MAX - 1, 1]);
        assert!(order.len() <= 8_193, "{}", order.len());
        assert_eq!(order.iter().filter(|&&place| place == 2).count(), 1);
        let many = spread(&vec![1; 10_000]);
        assert_eq!(many.len(), 10_000);
    }

    proptest! {
        #[test]
        fn every_server_gets_exactly_its_share(weights in proptest::collection::vec(0..50_u32, 1..8)) {
            let order = spread(&weights);
            let total: u32 = weights.iter().sum();
            for (index, weight) in weights.iter().enumerate() {
                let turns = order.iter().filter(|&&turn| usize::from(turn) == index).count();
                prop_assert_eq!(turns as u64 * u64::from(total), u64::from(*weight) * order.len() as u64);
            }
        }

        #[test]
        fn at_every_moment_each_has_had_its_share_but_for_one_turn(weights in proptest::collection::vec(1..50_u32, 2..8)) {
            let order = spread(&weights);
            let total: f64 = weights.iter().map(|&weight| f64::from(weight)).sum();
            let mut had = vec![0.0_f64; weights.len()];
            for (turn, &place) in order.iter().enumerate() {
                had[usize::from(place)] += 1.0;
                for (had, &weight) in had.iter().zip(&weights) {
                    let due = (turn + 1) as f64 * f64::from(weight) / total;
                    // One turn is the best two can do; nginx's order keeps within less than two among any number.
                    prop_assert!((had - due).abs() < 2.0, "{had} turns where {due} are due");
                }
            }
        }

        #[test]
        fn weights_too_great_for_an_order_are_rounded_little(weights in proptest::collection::vec(100_000..200_000_u32, 2..8)) {
            let order = spread(&weights);
            let total: f64 = weights.iter().map(|&weight| f64::from(weight)).sum();
            for (index, &weight) in weights.iter().enumerate() {
                let turns = order.iter().filter(|&&turn| usize::from(turn) == index).count();
                let (share, due) = (turns as f64 / order.len() as f64, f64::from(weight) / total);
                prop_assert!((share / due - 1.0).abs() < 0.01, "{share} for {due}");
            }
        }
    }
}

//! Medians and ratios: on a shared machine only these two carry over from run to run.

/// The middle value; of an even number the mean of the two in the middle. Nothing for nothing.
pub(super) fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => None,
        even if even % 2 == 0 => Some(f64::midpoint(sorted[middle - 1], sorted[middle])),
        _ => Some(sorted[middle]),
    }
}

/// The median over the rounds of `values` ÷ `base` of the same round: what disturbed a round disturbed both.
pub(super) fn median_ratio(values: &[f64], base: &[f64]) -> Option<f64> {
    let ratios: Vec<f64> = values.iter().zip(base).map(|(value, base)| value / base).collect();
    median(&ratios)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle() {
        assert_eq!(median(&[3.0, 1.0, 100.0]), Some(3.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 100.0]), Some(3.0));
        assert_eq!(median(&[]), None);
    }

    #[test]
    fn a_disturbed_round_does_not_move_the_ratio() {
        let nginx = [10.0, 30.0, 10.0];
        let gateway = [11.0, 33.0, 12.0];
        let ratio = median_ratio(&gateway, &nginx).expect("three rounds");
        assert!((ratio - 1.1).abs() < 1e-9, "{ratio}");
    }
}

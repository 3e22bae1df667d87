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

/// Ratios to a base, a round each, and what they say together.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Ratio {
    pub(super) median: f64,
    /// Half of the distance between the quartiles: half of the rounds lie within twice this.
    pub(super) spread: f64,
    pub(super) least: f64,
    pub(super) most: f64,
}

/// `values` ÷ `base` of the same round: what disturbed a round disturbed both. Nothing for nothing.
pub(super) fn ratio(values: &[f64], base: &[f64]) -> Option<Ratio> {
    let mut ratios: Vec<f64> = values.iter().zip(base).map(|(value, base)| value / base).collect();
    ratios.sort_by(f64::total_cmp);
    Some(Ratio {
        median: median(&ratios)?,
        spread: (quantile(&ratios, 0.75) - quantile(&ratios, 0.25)) / 2.0,
        least: *ratios.first()?,
        most: *ratios.last()?,
    })
}

/// Between the two nearest values; `sorted` has at least one.
fn quantile(sorted: &[f64], share: f64) -> f64 {
    let place = share * (sorted.len() - 1) as f64;
    let (below, above) = (sorted[place.floor() as usize], sorted[place.ceil() as usize]);
    below + (above - below) * place.fract()
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
        let ratio = ratio(&gateway, &nginx).expect("three rounds");
        assert!((ratio.median - 1.1).abs() < 1e-9, "{ratio:?}");
        assert!((ratio.most - 1.2).abs() < 1e-9 && (ratio.spread - 0.025).abs() < 1e-9);
        assert_eq!(super::ratio(&gateway, &[]), None);
    }
}

//! The few formulas analysis rests on, each with its source. Exact where an approximation would fail at small counts or rare errors.

use statrs::{
    distribution::{Binomial, ContinuousCDF, DiscreteCDF, Normal},
    function::factorial::ln_binomial,
};

/// So many of so many: errors of requests.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Share {
    /// How many have the property; never more than `of`.
    pub count: f64,
    /// How many there are.
    pub of: f64,
}

impl Share {
    /// Returns `count` of `of`; a count above it is taken as all.
    pub fn new(count: u64, of: u64) -> Self {
        Share { count: count.min(of) as f64, of: of as f64 }
    }

    /// Returns the share as a number from 0 to 1; 0 of nothing is 0.
    pub fn rate(self) -> f64 {
        if self.of > 0.0 { self.count / self.of } else { 0.0 }
    }
}

/// Returns how likely the new set would have at least so many of all errors by chance, were both sets alike: Fisher's exact test, one-sided.
///
/// R. A. Fisher, *The Design of Experiments*, 1935, ch. 2. It holds its level at any count, where a z-test does not for rare errors in
/// sets of unequal size, which is what a canary is. Nothing on one side is no evidence: 1.
pub fn chance(new: Share, old: Share) -> f64 {
    if new.of < 1.0 || old.of < 1.0 {
        return 1.0;
    }
    let (all, errors) = (new.of + old.of, new.count + old.count);
    let fits = all - errors - new.of;
    let probability = |count: f64| {
        let ways = ln_binomial(errors as u64, count as u64) + ln_binomial((all - errors) as u64, (new.of - count) as u64);
        (ways - ln_binomial(all as u64, new.of as u64)).exp()
    };
    // From the middle the shorter side is summed, outward, so that every next term is smaller.
    if new.count > new.of * errors / all {
        let up = |count: f64| (errors - count) * (new.of - count) / ((count + 1.0) * (fits + count + 1.0));
        tail(probability(new.count), new.count, 1.0, errors.min(new.of), up)
    } else if new.count <= (-fits).max(0.0) {
        1.0
    } else {
        let first = new.count - 1.0;
        let down = |count: f64| count * (fits + count) / ((errors - count + 1.0) * (new.of - count + 1.0));
        1.0 - tail(probability(first), first, -1.0, (-fits).max(0.0), down)
    }
}

/// Returns the sum of the terms from `count` to `last`, each the one before times `ratio`.
fn tail(first: f64, mut count: f64, step: f64, last: f64, ratio: impl Fn(f64) -> f64) -> f64 {
    let (mut term, mut sum) = (first, first);
    while count != last && term > sum * 1e-16 {
        term *= ratio(count);
        count += step;
        sum += term;
    }
    sum.clamp(0.0, 1.0)
}

/// Returns the bounds of `new − old`, each with this one-sided level: Newcombe's hybrid score interval.
///
/// R. G. Newcombe, *Statistics in Medicine* 17 (1998) 873–890, method 10. It stays inside −1 … 1 and means something at 0 errors.
pub fn difference(new: Share, old: Share, level: f64) -> (f64, f64) {
    if new.of <= 0.0 || old.of <= 0.0 {
        return (-1.0, 1.0);
    }
    let (between, z) = (new.rate() - old.rate(), normal_quantile(1.0 - level));
    let ((new_low, new_high), (old_low, old_high)) = (wilson(new, z), wilson(old, z));
    let low = between - (new.rate() - new_low).hypot(old_high - old.rate());
    let high = between + (new_high - new.rate()).hypot(old.rate() - old_low);
    (low, high)
}

/// Returns the bounds of a share: E. B. Wilson, *JASA* 22 (1927) 209–212.
fn wilson(share: Share, z: f64) -> (f64, f64) {
    let (rate, of, z2) = (share.rate(), share.of, z * z);
    let centre = (rate + z2 / (2.0 * of)) / (1.0 + z2 / of);
    let half = z * (rate * (1.0 - rate) / of + z2 / (4.0 * of * of)).sqrt() / (1.0 + z2 / of);
    ((centre - half).max(0.0), (centre + half).min(1.0))
}

/// Returns how many requests the new set needs so that a rise from `old` to `new` is seen with this power; the old set has `ratio` times
/// as many. One-sided.
///
/// J. L. Fleiss, A. Tytun, S. H. K. Ury, *Biometrics* 36 (1980) 343–346, without the correction; at `ratio` 1 it is R's `power.prop.test`.
pub fn sample_size(old: f64, new: f64, ratio: f64, level: f64, power: f64) -> f64 {
    let mean = (new + ratio * old) / (1.0 + ratio);
    let alike = normal_quantile(1.0 - level) * (mean * (1.0 - mean) * (1.0 + 1.0 / ratio)).sqrt();
    let apart = normal_quantile(power) * (old * (1.0 - old) / ratio + new * (1.0 - new)).sqrt();
    ((alike + apart) / (new - old)).powi(2)
}

/// Returns the rank whose value lies above the quantile with at most this probability; none when there are too few values.
///
/// Of `count` values the number that do not exceed the quantile is binomial: W. J. Conover, *Practical Nonparametric Statistics*, 3.2.
pub fn rank_below(count: u64, quantile: f64, level: f64) -> Option<u64> {
    let below = Binomial::new(quantile, count).ok()?;
    // The first rank that is too high for a lower bound, less one.
    let too_high = first(count, |rank| below.cdf(rank - 1) > level).unwrap_or(count + 1);
    (too_high > 1).then_some(too_high - 1)
}

/// Returns the rank whose value lies below the quantile with at most this probability; none when there are too few values.
pub fn rank_above(count: u64, quantile: f64, level: f64) -> Option<u64> {
    let below = Binomial::new(quantile, count).ok()?;
    first(count, |rank| below.sf(rank - 1) <= level)
}

/// Returns how many values it takes until [`rank_above`] finds one.
pub fn needed_for_rank_above(quantile: f64, level: f64) -> u64 {
    (level.ln() / quantile.ln()).ceil() as u64
}

/// Returns the first of the ranks 1 … `count` that holds; once one holds, all after it do.
fn first(count: u64, holds: impl Fn(u64) -> bool) -> Option<u64> {
    let (mut from, mut to) = (1, count + 1);
    while from < to {
        let middle = from + (to - from) / 2;
        if holds(middle) { to = middle } else { from = middle + 1 }
    }
    (from <= count).then_some(from)
}

/// Returns the point below which a standard normal value lies with this probability.
pub fn normal_quantile(probability: f64) -> f64 {
    Normal::standard().inverse_cdf(probability)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use statrs::distribution::Hypergeometric;

    fn near(value: f64, published: f64, digits: i32) {
        assert!((value - published).abs() <= 0.5000001 * 10f64.powi(-digits), "{value} is not {published}");
    }

    #[test]
    fn chances_are_the_published_ones() {
        // Fisher's lady tasting tea: three of four right, 17 of 70 ways; all four, 1 of 70.
        near(chance(Share::new(3, 4), Share::new(1, 4)), 17.0 / 70.0, 12);
        near(chance(Share::new(4, 4), Share::new(0, 4)), 1.0 / 70.0, 12);
        // Convictions of like-sex twins, Fisher 1935; R's manual of `fisher.test` prints 0.0004652.
        near(chance(Share::new(10, 13), Share::new(2, 17)), 0.0004652, 7);
        assert_eq!(chance(Share::new(5, 5), Share::new(0, 0)), 1.0);
        assert_eq!(chance(Share::new(0, 100), Share::new(0, 100)), 1.0);
        assert_eq!(chance(Share::new(100, 100), Share::new(100, 100)), 1.0);
    }

    #[test]
    fn a_chance_in_millions_of_requests_is_found_at_once() {
        let began = std::time::Instant::now();
        let found = chance(Share::new(200_300, 1_000_000), Share::new(1_800_000, 9_000_000));
        // The normal approximation gives z = 0.711, p = 0.2385, with a continuity correction.
        near(found, 0.2385, 3);
        assert!(chance(Share::new(1_000, 1_000_000), Share::new(1_800_000, 9_000_000)) > 0.999_999);
        assert!(chance(Share::new(400_000, 1_000_000), Share::new(1_800_000, 9_000_000)) < 1e-300);
        assert!(began.elapsed().as_secs() < 5);
    }

    #[test]
    fn intervals_are_the_published_ones() {
        // Newcombe 1998, table II, method 10, 95 % two-sided.
        for (new, old, low, high) in [
            ((56, 70), (48, 80), 0.0524, 0.3339),
            ((9, 10), (3, 10), 0.1705, 0.8090),
            ((5, 56), (0, 29), -0.0381, 0.1926),
            ((0, 10), (0, 20), -0.1611, 0.2775),
            ((10, 10), (0, 10), 0.6075, 1.0),
        ] {
            let bounds = difference(Share::new(new.0, new.1), Share::new(old.0, old.1), 0.025);
            near(bounds.0, low, 4);
            near(bounds.1, high, 4);
        }
        // Newcombe's table I of the companion paper (857–872), Wilson's method.
        for (count, of, low, high) in [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)]
        {
            let bounds = wilson(Share::new(count, of), normal_quantile(0.975));
            near(bounds.0, low, 4);
            near(bounds.1, high, 4);
        }
    }

    #[test]
    fn sample_sizes_are_the_published_ones() {
        // R's manual of `power.prop.test`: p1 = .50, p2 = .75, power = .90, two-sided 5 %: n = 76.7.
        near(sample_size(0.50, 0.75, 1.0, 0.025, 0.90), 76.7, 1);
        // The two that people ask for: 1 % → 5 %, 0.5 % → 1 %, one-sided 5 %, power 80 %.
        near(sample_size(0.01, 0.05, 1.0, 0.05, 0.80).ceil(), 224.0, 0);
        near(sample_size(0.005, 0.01, 1.0, 0.05, 0.80).ceil(), 3681.0, 0);
        // With nine times as many on the old side, fewer than with as many.
        assert!(sample_size(0.01, 0.05, 9.0, 0.05, 0.80) < 200.0);
    }

    #[test]
    fn ranks_are_the_published_ones() {
        // S. S. Wilks, *Ann. Math. Stat.* 12 (1941): so many values until the largest, second largest … lies above p95 with 95 %.
        for (order, count) in [59, 93, 124, 153, 181].into_iter().enumerate() {
            assert_eq!(rank_above(count, 0.95, 0.05), Some(count - order as u64));
            assert_eq!(rank_above(count - 1, 0.95, 0.05), (order > 0).then(|| count - order as u64));
        }
        assert_eq!(needed_for_rank_above(0.95, 0.05), 59);
        // The sign test's interval of the median, 95 % two-sided: the tables of W. J. MacKinnon, *JASA* 59 (1964).
        for (count, low, high) in [(6, 1, 6), (10, 2, 9), (20, 6, 15), (50, 18, 33)] {
            assert_eq!((rank_below(count, 0.5, 0.025), rank_above(count, 0.5, 0.025)), (Some(low), Some(high)));
        }
        assert_eq!((rank_below(5, 0.5, 0.025), rank_above(5, 0.5, 0.025), rank_above(0, 0.5, 0.1)), (None, None, None));
        // 200 requests, as the reference has it: about p92 to p98.
        assert_eq!((rank_below(200, 0.95, 0.05), rank_above(200, 0.95, 0.05)), (Some(185), Some(196)));
    }

    proptest! {
        #[test]
        fn the_chance_is_the_tail_of_the_hypergeometric(new in 1u64..400, old in 1u64..400, bad in 0u64..400, worse in 0u64..400) {
            let (bad, worse) = (bad.min(new), worse.min(old));
            let found = chance(Share::new(bad, new), Share::new(worse, old));
            let law = Hypergeometric::new(new + old, bad + worse, new).unwrap();
            let tail = if bad == 0 { 1.0 } else { law.sf(bad - 1) };
            prop_assert!((found - tail).abs() < 1e-9, "{found} {tail}");
        }

        #[test]
        fn one_more_error_never_looks_better(new in 1u64..2000, old in 1u64..2000, bad in 0u64..2000, worse in 0u64..2000) {
            let (bad, worse) = (bad.min(new - 1), worse.min(old));
            let at = |bad| (chance(Share::new(bad, new), Share::new(worse, old)), difference(Share::new(bad, new), Share::new(worse, old), 0.05).1);
            prop_assert!(at(bad + 1).0 <= at(bad).0 + 1e-12 && at(bad + 1).1 >= at(bad).1 - 1e-12);
        }

        #[test]
        fn two_alike_are_not_both_worse_than_each_other(new in 1u64..2000, old in 1u64..2000, bad in 0u64..2000, worse in 0u64..2000) {
            let (one, two) = (Share::new(bad, new), Share::new(worse, old));
            prop_assert!(chance(one, two) + chance(two, one) >= 1.0 - 1e-9);
        }
    }
}

//! How the risk of a false alarm is spent over the looks, so that looking often costs nothing.

use super::statistics::normal_quantile;
use serde::{Deserialize, Serialize};
use statrs::distribution::{ContinuousCDF, Normal};

/// How fast the risk is spent.
///
/// K. K. G. Lan, D. L. DeMets, *Biometrika* 70 (1983) 659–663: both functions. Each look gets the rise of the function since the look
/// before it. The looks' errors are added up without use of their correlation (Boole's inequality), so the whole stays within alpha for
/// any traffic, any number of requests between looks, and any number of measures; the exact Lan–DeMets bounds would be somewhat
/// less strict at late looks, and would need the final number of requests to be known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Spending {
    /// About the same at each look: a bad release is seen early.
    #[default]
    Pocock,
    /// Little at first, most at the end: the last look is nearly as sharp as a single one.
    ObrienFleming,
}

/// Which look this is, of how many that are planned, extensions to the cap among them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Look {
    /// From 1.
    pub number: u32,
    /// How many are planned.
    pub of: u32,
}

impl Spending {
    /// Returns what this look may spend of `alpha`; a look beyond the planned ones, nothing.
    pub fn at(self, look: Look, alpha: f64) -> f64 {
        if look.number == 0 || look.number > look.of {
            return 0.0;
        }
        let spent = |number: u32| self.spent(f64::from(number) / f64::from(look.of), alpha);
        (spent(look.number) - spent(look.number - 1)).max(0.0)
    }

    /// Returns what is spent at this fraction of the looks.
    fn spent(self, fraction: f64, alpha: f64) -> f64 {
        match self {
            _ if fraction <= 0.0 => 0.0,
            Spending::Pocock => alpha * (1.0 + (std::f64::consts::E - 1.0) * fraction).ln(),
            Spending::ObrienFleming => 2.0 * Normal::standard().sf(normal_quantile(1.0 - alpha / 2.0) / fraction.sqrt()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn spent(spending: Spending, of: u32) -> Vec<f64> {
        (1..=of).map(|number| spending.at(Look { number, of }, 0.05)).collect()
    }

    #[test]
    fn what_is_spent_is_the_published_table() {
        // The manual of SeqBounds.jl, one-sided, alpha 0.05, looks at a quarter, half, three quarters, all.
        let published = [8.85754e-5, 0.00548602, 0.0180505, 0.0263749];
        for (found, published) in spent(Spending::ObrienFleming, 4).into_iter().zip(published) {
            assert!((found / published - 1.0).abs() < 1e-5, "{found} {published}");
        }
        // alpha · ln(1 + (e − 1) t), as gsDesign's `sfLDPocock` documents it, at t = 1/2.
        let half = spent(Spending::Pocock, 2);
        assert!((half[0] - 0.05 * 1.859_140_914_229_522_6_f64.ln()).abs() < 1e-12 && half[0] > half[1]);
    }

    #[test]
    fn a_look_that_was_not_planned_spends_nothing() {
        for spending in [Spending::Pocock, Spending::ObrienFleming] {
            for number in [0, 6, 7] {
                assert_eq!(spending.at(Look { number, of: 5 }, 0.05), 0.0);
            }
            assert_eq!(spending.at(Look { number: 1, of: 0 }, 0.05), 0.0);
            assert!((spending.at(Look { number: 1, of: 1 }, 0.05) - 0.05).abs() < 1e-9);
        }
    }

    proptest! {
        #[test]
        fn all_looks_together_spend_alpha(of in 1u32..500, alpha in 0.0001f64..0.5) {
            for spending in [Spending::Pocock, Spending::ObrienFleming] {
                let all: f64 = (1..=of).map(|number| spending.at(Look { number, of }, alpha)).sum();
                prop_assert!((all - alpha).abs() < 1e-6, "{all}");
            }
        }
    }
}

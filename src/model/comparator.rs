//! Typed comparators, `">= 80"`: how configuration and phases write thresholds.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// A threshold: an operator and a number.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
pub struct Comparator {
    /// How a value is compared.
    pub operator: Operator,
    /// What it is compared with.
    pub number: f64,
}

/// Its number is one: reading refuses what equals nothing.
impl Eq for Comparator {}

/// How a value is compared with a threshold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operator {
    /// `>=`
    AtLeast,
    /// `<=`
    AtMost,
    /// `==`
    Equal,
}

impl Comparator {
    /// Tells whether `value` is within the threshold; `NaN` never is.
    pub fn holds(self, value: f64) -> bool {
        match self.operator {
            Operator::AtLeast => value >= self.number,
            Operator::AtMost => value <= self.number,
            Operator::Equal => value == self.number,
        }
    }

    /// Returns the stricter of two thresholds over the same measure; `None` when they point different ways.
    pub fn strictest(self, other: Comparator) -> Option<Comparator> {
        match (self.operator, other.operator) {
            (Operator::AtLeast, Operator::AtLeast) => Some(if self.number >= other.number { self } else { other }),
            (Operator::AtMost, Operator::AtMost) => Some(if self.number <= other.number { self } else { other }),
            (Operator::Equal, _) if other.holds(self.number) => Some(self),
            (_, Operator::Equal) if self.holds(other.number) => Some(other),
            _ => None,
        }
    }
}

impl FromStr for Comparator {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let trimmed = text.trim();
        let (operator, rest) = [(">=", Operator::AtLeast), ("<=", Operator::AtMost), ("==", Operator::Equal)]
            .into_iter()
            .find_map(|(sign, operator)| trimmed.strip_prefix(sign).map(|rest| (operator, rest)))
            .ok_or_else(|| format!("`{text}` is no comparator; write \">= 80\", \"<= 0\" or \"== 1\""))?;
        let number: f64 = rest.trim().trim_end_matches('%').trim().parse().map_err(|_| format!("`{text}` has no number after its sign"))?;
        if !number.is_finite() {
            return Err(format!("`{text}` has no finite number"));
        }
        Ok(Comparator { operator, number })
    }
}

impl fmt::Display for Comparator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = match self.operator {
            Operator::AtLeast => ">=",
            Operator::AtMost => "<=",
            Operator::Equal => "==",
        };
        write!(f, "{sign} {}", self.number)
    }
}

impl TryFrom<String> for Comparator {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Comparator> for String {
    fn from(comparator: Comparator) -> String {
        comparator.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn comparator(text: &str) -> Comparator {
        text.parse().unwrap()
    }

    #[test]
    fn thresholds_read_as_written() {
        assert_eq!(comparator(">=80%").to_string(), ">= 80");
        assert!(comparator("<= 500").holds(500.0));
        assert!(!comparator("<= 500").holds(500.1));
        assert!(!comparator(">= 0").holds(f64::NAN));
        for bad in ["80", "> 80", ">= x", ">= NaN", "<= inf", ""] {
            assert!(bad.parse::<Comparator>().is_err(), "{bad}");
        }
    }

    #[test]
    fn the_strictest_wins_and_contradictions_are_told() {
        assert_eq!(comparator(">= 80").strictest(comparator(">= 90")), Some(comparator(">= 90")));
        assert_eq!(comparator("<= 500").strictest(comparator("<= 100")), Some(comparator("<= 100")));
        assert_eq!(comparator("<= 0").strictest(comparator("== 0")), Some(comparator("== 0")));
        assert_eq!(comparator("<= 0").strictest(comparator(">= 1")), None);
    }
}

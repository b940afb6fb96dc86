//! A figure: a value with how many readings it rests on, what it should be, and how it is rated. No readings is `unknown`, never a value.

use serde::{Serialize, Serializer};
use std::collections::BTreeMap;

/// How a figure stands against its thresholds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Rating {
    /// The record says nothing about it.
    Unknown,
    /// It is known, and nobody has set thresholds for it.
    Unrated,
    /// The target is met.
    Green,
    /// The target is missed by little.
    Yellow,
    /// The target is missed.
    Red,
}

impl Rating {
    /// Returns the word.
    pub fn as_str(self) -> &'static str {
        match self {
            Rating::Unknown => "unknown",
            Rating::Unrated => "unrated",
            Rating::Green => "green",
            Rating::Yellow => "yellow",
            Rating::Red => "red",
        }
    }

    /// Returns the worst of those that are rated; `Unknown` where none is.
    pub fn worst(ratings: impl IntoIterator<Item = Rating>) -> Rating {
        ratings.into_iter().filter(|rating| *rating >= Rating::Green).max().unwrap_or(Rating::Unknown)
    }
}

/// What a value counts in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// Parts of a hundred.
    Percent,
    /// Seconds.
    Seconds,
    /// Failed requests and probes.
    Failures,
    /// For each deployment.
    PerDeployment,
    /// For each day of the window.
    PerDay,
}

impl Unit {
    /// Returns the word.
    pub fn as_str(self) -> &'static str {
        match self {
            Unit::Percent => "percent",
            Unit::Seconds => "seconds",
            Unit::Failures => "failures",
            Unit::PerDeployment => "per_deployment",
            Unit::PerDay => "per_day",
        }
    }
}

/// How far durations spread, in seconds; percentiles by nearest rank.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Spread {
    /// Half of them took no longer.
    #[serde(serialize_with = "rounded")]
    pub p50: f64,
    /// 95 % took no longer.
    #[serde(serialize_with = "rounded")]
    pub p95: f64,
    /// None took longer.
    #[serde(serialize_with = "rounded")]
    pub max: f64,
}

impl Spread {
    /// Returns the spread of durations in seconds; none of none.
    pub fn of(mut seconds: Vec<f64>) -> Option<Spread> {
        seconds.sort_by(f64::total_cmp);
        let rank = |percent: usize| seconds.get((seconds.len() * percent).div_ceil(100).max(1) - 1).copied();
        Some(Spread { p50: rank(50)?, p95: rank(95)?, max: *seconds.last()? })
    }
}

/// One metric of one selection.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Figure {
    /// Its name.
    pub name: &'static str,
    /// Its value; absent where it is unknown.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "maybe_rounded")]
    pub value: Option<f64>,
    /// What the value counts in.
    pub unit: Unit,
    /// How many readings it rests on.
    pub n: usize,
    /// How far durations spread.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub spread: Option<Spread>,
    /// How often each trigger fired.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub rules: BTreeMap<&'static str, u64>,
    /// What it should be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<&'static str>,
    /// How it stands.
    pub rating: Rating,
    /// What the record would have to hold for it to be known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub needs: Option<&'static str>,
}

/// When a value is green and when yellow; anything else is red.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// As people read it.
    pub target: &'static str,
    /// Whether the target is met.
    pub green: fn(f64) -> bool,
    /// Whether it is missed by little.
    pub yellow: fn(f64) -> bool,
}

impl Figure {
    /// Returns a figure that nobody has set thresholds for; unknown without a value.
    pub fn unrated(name: &'static str, unit: Unit, n: usize, value: Option<f64>, needs: &'static str) -> Figure {
        let rating = if value.is_some() { Rating::Unrated } else { Rating::Unknown };
        let needs = value.is_none().then_some(needs);
        Figure { name, value, unit, n, spread: None, rules: BTreeMap::new(), target: None, rating, needs }
    }

    /// Returns it with its thresholds; what is unknown stays so.
    pub fn rated(self, limits: Limits) -> Figure {
        let rating = match self.value {
            None => Rating::Unknown,
            Some(value) if (limits.green)(value) => Rating::Green,
            Some(value) if (limits.yellow)(value) => Rating::Yellow,
            Some(_) => Rating::Red,
        };
        Figure { target: Some(limits.target), rating, ..self }
    }
}

/// Returns parts of a hundred; none of none.
pub fn percent(part: usize, of: usize) -> Option<f64> {
    (of > 0).then(|| part as f64 * 100.0 / of as f64)
}

/// Returns a value as it is shown: three digits behind the point.
pub fn shown(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

fn rounded<S: Serializer>(value: &f64, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_f64(shown(*value))
}

fn maybe_rounded<S: Serializer>(value: &Option<f64>, to: S) -> Result<S::Ok, S::Error> {
    value.map(shown).serialize(to)
}

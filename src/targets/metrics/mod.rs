//! Figures from outside the router: one number, asked for now, or a named reason why there is none. No reason is ever a zero.
//!
//! To add a source: one file here with its own [`MetricsSource`], and its pure reading of what came beside it. Plain HTTP only: `https` is
//! refused when the source is made, so figures should come over loopback or a private network.

pub mod alerting;
mod command;
mod configured;
mod endpoint;
mod json;
mod prometheus;

pub use command::CommandSource;
pub use configured::{Around, read};
pub use json::{JsonSource, Pointer};
pub use prometheus::PrometheusSource;

use crate::model::metric::AddressFault;
use async_trait::async_trait;
use serde::{Deserialize, Serialize};

/// No more is read of any answer or output.
const MAX_BYTES: usize = 1 << 20;
/// How much of an answer is shown.
const HEAD: usize = 200;

/// Where a figure comes from.
#[async_trait]
pub trait MetricsSource: Send + Sync {
    /// Returns the figure as it is now. `places` fill `{version}` and the like in what is asked.
    async fn read(&self, places: &[(&str, &str)]) -> Result<f64, NoData>;
}

/// Why there is no figure. It makes a judgement inconclusive, never a pass.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(tag = "no_data", rename_all = "snake_case")]
pub enum NoData {
    /// Nobody answers.
    #[error("{message}")]
    Unreachable {
        /// What went wrong.
        message: String,
    },
    /// It took too long, and was ended.
    #[error("no figure within {after_ms} ms")]
    TimedOut {
        /// The patience there was.
        after_ms: u64,
    },
    /// The answer points elsewhere; it is not followed.
    #[error("answered {status} to `{to}`; redirects are not followed")]
    Redirected {
        /// The status.
        status: u16,
        /// Where to.
        to: String,
    },
    /// The answer is not a success.
    #[error("answered {status}: {head}")]
    BadStatus {
        /// The status.
        status: u16,
        /// The beginning of the body.
        head: String,
    },
    /// More came than is read.
    #[error("more than {limit} bytes came")]
    TooLarge {
        /// The most that is read.
        limit: u64,
    },
    /// What came is no JSON, or not of the expected shape.
    #[error("not readable: {message}")]
    Malformed {
        /// What is wrong with it.
        message: String,
    },
    /// The source says that it could not answer.
    #[error("refused: {kind}: {message}")]
    Refused {
        /// Its word for the error.
        kind: String,
        /// Its message.
        message: String,
    },
    /// The source answered with a part of the data only, and said so.
    #[error("the answer is incomplete: {warnings}")]
    Incomplete {
        /// Its warnings.
        warnings: String,
    },
    /// The query matches nothing.
    #[error("the query matches nothing")]
    Empty,
    /// The query matches more than one series; which one is meant is not guessed.
    #[error("the query matches {count} series, not one")]
    Several {
        /// How many.
        count: u64,
    },
    /// The query gives something that is not one number.
    #[error("the query gives a {found}, not a scalar or a vector of one number")]
    WrongType {
        /// What it gives.
        found: String,
    },
    /// There is nothing where the pointer points.
    #[error("there is nothing at `{pointer}`")]
    Missing {
        /// The pointer.
        pointer: String,
    },
    /// What stands there is no number.
    #[error("`{found}` is not a number")]
    NotANumber {
        /// What stands there.
        found: String,
    },
    /// The command could not be started.
    #[error("{message}")]
    CannotRun {
        /// What went wrong.
        message: String,
    },
    /// The command failed.
    #[error("the command ended with {how}: {stderr}")]
    Failed {
        /// `exit 3`, `signal 9`.
        how: String,
        /// The end of its standard error.
        stderr: String,
    },
}

/// Why a source cannot be made of what is configured.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SourceError {
    /// Not an address that is fetched from.
    #[error("`{url}` is no address to fetch from: {why}")]
    Url {
        /// What was given.
        url: String,
        /// What is wrong with it.
        why: AddressFault,
    },
    /// Not a JSON pointer.
    #[error("`{0}` is not a JSON pointer (RFC 6901): it is empty or starts with `/`, and `~` stands only in `~0` and `~1`")]
    Pointer(String),
    /// No program.
    #[error("the command is empty")]
    EmptyCommand,
}

/// Reads a figure as a source writes it. `NaN` and the infinities are none.
fn figure(text: &str) -> Result<f64, NoData> {
    let shown = || NoData::NotANumber { found: crate::model::text::visible_line(text, 80) };
    // Rust reads `inf` and `nan` too, in any case.
    text.trim().parse::<f64>().ok().filter(|value| value.is_finite()).ok_or_else(shown)
}

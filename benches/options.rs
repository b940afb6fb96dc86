//! What a run is told: `[NAME…] [--runs N] [--seconds N] [--rows N] [--binary PATH] [--only PROXY,…]`.

use anyhow::{Context, bail};
use std::{path::PathBuf, time::Duration};

/// What a run is told.
#[derive(Debug, Clone)]
pub struct Options {
    /// The figures to measure; all when empty.
    pub names: Vec<String>,
    /// How often each proxy is measured.
    pub runs: usize,
    /// How long a run of the load generator takes.
    pub time: Duration,
    /// How many deployments the largest database has; the audit log has ten times as many entries.
    pub rows: u64,
    /// The program under test; the one that cargo has just built unless said otherwise.
    pub binary: PathBuf,
    /// The proxies to measure; all when empty.
    pub only: Vec<String>,
}

impl Options {
    /// Reads the words of the command line.
    pub fn read(words: Vec<String>) -> anyhow::Result<Self> {
        let mut options = Options {
            names: Vec::new(),
            runs: 5,
            time: Duration::from_secs(5),
            rows: 100_000,
            binary: env!("CARGO_BIN_EXE_interlock").into(),
            only: Vec::new(),
        };
        let mut words = words.into_iter();
        while let Some(word) = words.next() {
            let mut value = || words.next().with_context(|| format!("`{word}` takes a value"));
            match word.as_str() {
                "--runs" => options.runs = value()?.parse().context("`--runs` takes a number")?,
                "--seconds" => options.time = Duration::from_secs(value()?.parse().context("`--seconds` takes a number")?),
                "--rows" => options.rows = value()?.parse().context("`--rows` takes a number")?,
                "--binary" => options.binary = value()?.into(),
                "--only" => options.only = value()?.split(',').map(str::to_owned).collect(),
                other if other.starts_with('-') => bail!("`{other}` is not known"),
                _ => options.names.push(word),
            }
        }
        Ok(options)
    }
}

//! Figures as Markdown, and the verdict on each bar.

use std::fmt::{self, Display};

/// One bar and what was measured.
struct Bar {
    what: String,
    bar: String,
    measured: String,
    /// `None` when it cannot be judged here.
    holds: Option<bool>,
}

/// What a figure says: tables and remarks as text, then a verdict per bar.
#[derive(Default)]
pub struct Verdicts {
    text: String,
    bars: Vec<Bar>,
}

impl Verdicts {
    /// Returns the verdicts of a figure with this heading.
    pub fn titled(title: &str) -> Self {
        Verdicts { text: format!("## {title}\n"), bars: Vec::new() }
    }

    /// Adds a line, or a paragraph.
    pub fn say(&mut self, line: impl Display) {
        self.text.push_str(&format!("\n{line}\n"));
    }

    /// Adds a table.
    pub fn table(&mut self, head: &[&str], rows: &[Vec<String>]) {
        self.text.push_str(&format!("\n{}", table(head, rows)));
    }

    /// Judges: at least so much.
    pub fn at_least(&mut self, what: impl Display, bar: f64, measured: f64, unit: &str) {
        self.judge(what, format!("≥ {bar}{unit}"), format!("{measured:.2}{unit}"), Some(measured >= bar));
    }

    /// Judges: at most so much.
    pub fn at_most(&mut self, what: impl Display, bar: f64, measured: f64, unit: &str) {
        self.judge(what, format!("≤ {bar}{unit}"), format!("{measured:.2}{unit}"), Some(measured <= bar));
    }

    /// Says that a bar cannot be judged here, and why.
    pub fn not_judged(&mut self, what: impl Display, bar: impl Display, why: &str) {
        self.judge(what, bar.to_string(), why.to_owned(), None);
    }

    /// Returns whether no bar is missed.
    pub fn hold(&self) -> bool {
        self.bars.iter().all(|bar| bar.holds != Some(false))
    }

    fn judge(&mut self, what: impl Display, bar: String, measured: String, holds: Option<bool>) {
        self.bars.push(Bar { what: what.to_string(), bar, measured, holds });
    }
}

impl Display for Verdicts {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = |holds| match holds {
            Some(true) => "holds",
            Some(false) => "**missed**",
            None => "not judged",
        };
        let row = |bar: &Bar| vec![bar.what.clone(), bar.bar.clone(), bar.measured.clone(), word(bar.holds).to_owned()];
        let rows: Vec<_> = self.bars.iter().map(row).collect();
        write!(to, "{}\n{}", self.text, table(&["what", "bar", "measured", "verdict"], &rows))
    }
}

fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let line = |cells: Vec<&str>| format!("| {} |\n", cells.join(" | "));
    let rule = format!("|{}\n", "---|".repeat(head.len()));
    let body: String = rows.iter().map(|row| line(row.iter().map(String::as_str).collect())).collect();
    line(head.to_vec()) + &rule + &body
}

/// Returns the value in the middle; of an even number the lower one, of none 0.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len().saturating_sub(1) / 2).copied().unwrap_or(0.0)
}

/// Returns the value that at most one in a hundred is above; of none 0.
pub fn p99(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get((values.len() * 99).div_ceil(100).saturating_sub(1)).copied().unwrap_or(0.0)
}

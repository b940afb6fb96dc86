//! What pages are made of: text from outside, times, hashes, states. [`text`] and [`line`] are the one way for text from outside into
//! a page.

use crate::model::{
    DeploymentState, PlanState, Sha256, StepState, Timestamp, Verdict,
    text::{Look, looks, unmistakable_line},
};
use maud::{Markup, PreEscaped, Render, html};
use std::{fmt::Write, time::Duration};

/// The longest text on one line, characters.
pub const LINE: usize = 240;

/// Returns text from outside as a person may safely read it: at most `most` characters, nothing of it is markup, and what nobody would see
/// (control, bidirectional and zero-width characters) stands there as a marked escape. Lines stay lines.
pub fn text(said: &str, most: usize) -> Markup {
    written(said, most, true)
}

/// Returns text from outside on one line, as [`text`]; a line feed is a marked sign.
pub fn line(said: &str, most: usize) -> Markup {
    written(said, most, false)
}

/// Returns a name from outside, as [`line`].
pub fn name(said: &impl ToString) -> Markup {
    line(&said.to_string(), LINE)
}

fn written(said: &str, most: usize, keeps_lines: bool) -> Markup {
    let mut html = String::with_capacity(said.len() + 16);
    for (count, (character, look)) in looks(said).enumerate() {
        if count == most {
            let _ = write!(html, "<i class=\"cut\">… ({} more characters)</i>", said.chars().count() - most);
            break;
        }
        match (character, look) {
            (hidden, Look::Hidden) => {
                let _ = write!(html, "<b class=\"hid\">{}</b>", hidden.escape_unicode());
            }
            (odd, Look::Borrowed) => {
                let _ = write!(html, "<b class=\"hid\">{odd}<small>{}</small></b>", odd.escape_unicode());
            }
            ('&', _) => html.push_str("&amp;"),
            ('<', _) => html.push_str("&lt;"),
            ('>', _) => html.push_str("&gt;"),
            ('"', _) => html.push_str("&quot;"),
            ('\'', _) => html.push_str("&#39;"),
            ('\n', _) if !keeps_lines => html.push_str("<b class=\"hid\">⏎</b>"),
            ('\t', _) if !keeps_lines => html.push(' '),
            (plain, Look::Plain) => html.push(plain),
        }
    }
    PreEscaped(html)
}

/// How something stands; each has a sign and a colour beside its word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    /// It is well.
    Good,
    /// It is not.
    Bad,
    /// Somebody must look.
    Asks,
    /// It is under way.
    Busy,
    /// It went back.
    Back,
    /// Neither well nor bad.
    Calm,
}

impl Tone {
    fn class(self) -> &'static str {
        match self {
            Tone::Good => "good",
            Tone::Bad => "bad",
            Tone::Asks => "asks",
            Tone::Busy => "busy",
            Tone::Back => "back",
            Tone::Calm => "calm",
        }
    }

    /// The sign's path, in a square of 16.
    fn path(self) -> &'static str {
        match self {
            Tone::Good => "M3 8.5 6.5 12 13 4.5",
            Tone::Bad => "M4 4l8 8M12 4l-8 8",
            Tone::Asks => "M8 3v6.5M8 12.4v.6",
            Tone::Busy => "M8 3a5 5 0 1 1-5 5",
            Tone::Back => "M7 4 3.5 7.5 7 11M4 7.5h5a3.5 3.5 0 0 1 3.5 3.5v1",
            Tone::Calm => "M4 8h8",
        }
    }
}

/// Returns the sign of a tone; the word beside it says the same.
pub fn sign(tone: Tone) -> Markup {
    html! { svg class={ "sign " (tone.class()) } viewBox="0 0 16 16" width="14" height="14" aria-hidden="true" { path d=(tone.path()) {} } }
}

/// Returns a word with its sign.
pub fn chip(tone: Tone, word: impl Render) -> Markup {
    html! { span class={ "chip " (tone.class()) } { (sign(tone)) (word) } }
}

/// Returns how a deployment stands.
pub fn deployment_state(state: DeploymentState) -> Markup {
    let tone = match state {
        DeploymentState::Succeeded => Tone::Good,
        DeploymentState::Stuck => Tone::Bad,
        DeploymentState::Paused => Tone::Asks,
        DeploymentState::Queued | DeploymentState::Running | DeploymentState::Verifying => Tone::Busy,
        DeploymentState::RollingBack | DeploymentState::RolledBack => Tone::Back,
    };
    chip(tone, words(state.as_str()))
}

/// Returns how a plan stands.
pub fn plan_state(state: PlanState) -> Markup {
    let tone = match state {
        PlanState::AwaitingApproval => Tone::Asks,
        PlanState::Approved | PlanState::Used => Tone::Good,
        PlanState::Rejected => Tone::Bad,
        PlanState::Planned | PlanState::Expired | PlanState::Void => Tone::Calm,
    };
    chip(tone, words(state.as_str()))
}

/// Returns how a step stands.
pub fn step_state(state: StepState) -> Markup {
    let tone = match state {
        StepState::Done => Tone::Good,
        StepState::Failed => Tone::Bad,
        StepState::Unknown => Tone::Asks,
        StepState::Intent | StepState::Executing | StepState::Undoing => Tone::Busy,
        StepState::Undone => Tone::Back,
        StepState::Pending => Tone::Calm,
    };
    chip(tone, words(state.as_str()))
}

/// Returns what a gate says.
pub fn verdict(verdict: Verdict) -> Markup {
    match verdict {
        Verdict::Pass => chip(Tone::Good, "pass"),
        Verdict::Fail => chip(Tone::Bad, "fail"),
        Verdict::Inconclusive => chip(Tone::Asks, "inconclusive"),
    }
}

/// Returns a state's name as words.
pub fn words(state: &str) -> String {
    state.replace('_', " ")
}

/// Returns an instant: how long ago or how far ahead, and exactly for whoever asks.
pub fn moment(now: Timestamp, at: Timestamp) -> Markup {
    let said = match at > now {
        true => format!("in {}", roughly(at.since(now))),
        false => format!("{} ago", roughly(now.since(at))),
    };
    html! { time datetime=(at.to_string()) title=(at.to_string()) { (said) } }
}

/// Returns a duration as people say how old something is.
pub fn roughly(duration: Duration) -> String {
    if duration < Duration::from_secs(60) { format!("{} s", duration.as_secs()) } else { lasting(duration) }
}

/// Returns a duration in its largest sensible unit.
pub fn lasting(duration: Duration) -> String {
    match (duration.as_millis(), duration.as_secs()) {
        (ms @ 0..1_000, _) => format!("{ms} ms"),
        (ms, 1..60) => format!("{:.1} s", ms as f64 / 1_000.0),
        (_, seconds @ 60..7_200) => format!("{} min", seconds / 60),
        (_, seconds @ 7_200..172_800) => format!("{} h", seconds / 3_600),
        (_, seconds) => format!("{} days", seconds / 86_400),
    }
}

/// Returns a hash in short; the whole of it is its title.
pub fn short(sha256: &Sha256) -> Markup {
    html! { code class="sha" title=(sha256.0) { (sha256.short()) } }
}

/// Returns a commit in short.
pub fn commit(id: Option<&str>) -> Markup {
    html! { @match id { Some(id) => code title=(unmistakable_line(id)) { (line(id.get(..12).unwrap_or(id), 40)) }, None => "unknown" } }
}

/// Returns a number with its thousands apart.
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let (mut out, lead) = (String::new(), digits.len() % 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && at % 3 == lead {
            out.push('\u{a0}');
        }
        out.push(digit);
    }
    out
}

/// Returns a command for a person to type. What is in it was made here; it is shown as text from outside all the same.
pub fn command(argv: &str) -> Markup {
    html! { code class="command" { (line(argv, 600)) } }
}

/// Returns the head of a table; a `#` before a word says that numbers stand below it.
pub fn columns(words: &[&str]) -> Markup {
    html! {
        thead {
            tr {
                @for word in words {
                    @match word.strip_prefix('#') {
                        Some(word) => th scope="col" class="number" { (word) },
                        None => th scope="col" { (word) },
                    }
                }
            }
        }
    }
}

/// Returns a number of things: `1 step`, `3 steps`.
pub fn counted(number: usize, thing: &str) -> String {
    if number == 1 { format!("1 {thing}") } else { format!("{} {thing}s", count(number as u64)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_from_outside_is_no_markup_and_hides_nothing() {
        assert_eq!(line("<b a=\"1\" b='2'>&amp;", 99).0, "&lt;b a=&quot;1&quot; b=&#39;2&#39;&gt;&amp;amp;");
        assert_eq!(
            line("a\u{202e}b\u{200b}\u{1b}[31m", 99).0,
            "a<b class=\"hid\">\\u{202e}</b>b<b class=\"hid\">\\u{200b}</b><b class=\"hid\">\\u{1b}</b>[31m"
        );
        assert_eq!((line("a\nb", 9).0.as_str(), text("a\nb", 9).0.as_str()), ("a<b class=\"hid\">⏎</b>b", "a\nb"));
        assert_eq!(line("abcdef", 3).0, "abc<i class=\"cut\">… (3 more characters)</i>");
        // A Cyrillic letter between Latin ones; a word of one script is a word.
        assert_eq!(line("p\u{430}y", 9).0, "p<b class=\"hid\">\u{430}<small>\\u{430}</small></b>y");
        assert_eq!(line("деньги", 9).0, "деньги");
    }

    #[test]
    fn durations_and_numbers_are_read_at_a_glance() {
        assert_eq!([400, 29_900, 61_000].map(|ms| roughly(Duration::from_millis(ms))), ["0 s", "29 s", "1 min"]);
        let said = [5, 1_400, 61_000, 7_200_000, 200_000_000].map(|ms| lasting(Duration::from_millis(ms)));
        assert_eq!(said, ["5 ms", "1.4 s", "1 min", "2 h", "2 days"]);
        assert_eq!([0, 999, 1_000, 1_234_567].map(count), ["0", "999", "1\u{a0}000", "1\u{a0}234\u{a0}567"]);
    }
}

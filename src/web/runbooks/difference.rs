//! What differs between two versions of a text, word by word.

use crate::web::shown::text;
use maud::{Markup, html};
use similar::{ChangeTag, TextDiff};
use std::time::Duration;

/// How many changed and surrounding lines are shown.
const MOST_LINES: usize = 600;
/// How many lines stand around a change.
const AROUND: usize = 2;
/// What is not found within this time is shown as replaced as a whole.
const PATIENCE: Duration = Duration::from_millis(500);
/// How many characters of one word are shown.
const MOST: usize = 2_000;

/// Returns the changed lines of two texts with those around them, what changed in them marked.
pub fn difference(before: &str, after: &str) -> Markup {
    let diff = TextDiff::configure().timeout(PATIENCE).diff_lines(before, after);
    let (mut shown, mut left) = (Vec::new(), MOST_LINES);
    for group in diff.grouped_ops(AROUND) {
        let changes = group.iter().flat_map(|part| diff.iter_inline_changes(part));
        let mut lines = Vec::new();
        for change in changes.take(left) {
            let words = html! {
                @for (is_changed, word) in change.iter_strings_lossy() {
                    @let word = word.trim_end_matches('\n');
                    @match (is_changed, change.tag()) {
                        (true, ChangeTag::Insert) => ins { (text(word, MOST)) },
                        (true, ChangeTag::Delete) => del { (text(word, MOST)) },
                        _ => (text(word, MOST)),
                    }
                }
            };
            let number = change.new_index().or(change.old_index()).unwrap_or(0) + 1;
            lines.push((change.tag(), number, words));
        }
        left -= lines.len();
        if !lines.is_empty() {
            shown.push(lines);
        }
    }
    html! {
        @if shown.is_empty() { p class="nothing" { "They say the same." } }
        @for lines in &shown {
            pre class="difference" tabindex="0" {
                @for (tag, number, words) in lines {
                    @match tag {
                        ChangeTag::Insert => span class="added" { "+ " (number) " " (words) },
                        ChangeTag::Delete => span class="removed" { "− " (number) " " (words) },
                        ChangeTag::Equal => span { "  " (number) " " (words) },
                    }
                    "\n"
                }
            }
        }
        @if left == 0 { p class="quiet" { "There is more: " (MOST_LINES) " lines are shown." } }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_that_changed_are_marked_and_others_are_not() {
        let before = "one\ntwo\nthree\nfour\nfive\nwait 30 s, then look\nseven\n";
        let said = difference(before, &before.replace("30 s", "60 s").replace("seven", "<b>7</b>")).0;
        assert!(said.contains("wait <del>30</del> s, then look") && said.contains("wait <ins>60</ins> s, then look"), "{said}");
        assert!(!said.contains("one") && said.contains("four") && said.contains("&lt;b&gt;"), "{said}");
        assert!(difference(before, before).0.contains("They say the same."));
    }

    #[test]
    fn texts_that_have_nothing_in_common_take_their_time_and_no_more() {
        let text =
            |seed: u32| (0..20_000_u32).map(|at| format!("{} {}\n", at.wrapping_mul(seed) % 9_973, at * seed % 7)).collect::<String>();
        let began = std::time::Instant::now();
        let said = difference(&text(31), &text(17)).0;
        assert!(said.contains("lines are shown") && began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
    }
}

//! Text from outside is data: capped, and everything a reader cannot see is shown as an escape.

use std::fmt::Write;

/// Returns `text` as a person may safely read it: at most `max_chars`, with control, bidirectional and zero-width
/// characters written as `\u{202e}`; line feeds and tabs stay.
pub fn visible(text: &str, max_chars: usize) -> String {
    let mut shown = String::with_capacity(text.len().min(max_chars));
    for (count, character) in text.chars().enumerate() {
        if count == max_chars {
            let _ = write!(shown, "… ({} more characters)", text.chars().count() - max_chars);
            break;
        }
        match is_hidden(character) {
            true => shown.extend(character.escape_unicode()),
            false => shown.push(character),
        }
    }
    shown
}

/// Returns `text` on one line, as [`visible`].
pub fn visible_line(text: &str, max_chars: usize) -> String {
    visible(&text.replace(['\n', '\r', '\t'], " "), max_chars)
}

/// Returns `text` with everything that deceives written as an escape: what [`is_hidden`], and letters of another script between Latin ones.
/// Line feeds and tabs stay.
pub fn unmistakable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for (character, look) in looks(text) {
        match look {
            Look::Plain => shown.push(character),
            Look::Hidden | Look::Borrowed => shown.extend(character.escape_unicode()),
        }
    }
    shown
}

/// Returns `text` on one line, as [`unmistakable`].
pub fn unmistakable_line(text: &str) -> String {
    unmistakable(&text.replace(['\n', '\r', '\t'], " "))
}

/// How a character looks where it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    /// As what it is.
    Plain,
    /// Not at all, or it moves others.
    Hidden,
    /// As a Latin letter, between Latin letters: it is there to deceive.
    Borrowed,
}

/// Returns each character with how it looks in its word.
pub fn looks(text: &str) -> impl Iterator<Item = (char, Look)> {
    text.split_inclusive(|character: char| !character.is_alphanumeric()).flat_map(|word| {
        let is_mixed = word.contains(|character: char| character.is_ascii_alphabetic()) && word.contains(looks_like_another);
        word.chars().map(move |character| match character {
            hidden if is_hidden(hidden) => (hidden, Look::Hidden),
            odd if is_mixed && looks_like_another(odd) => (odd, Look::Borrowed),
            plain => (plain, Look::Plain),
        })
    })
}

/// Tells whether a letter is of a script whose letters look like Latin ones.
fn looks_like_another(character: char) -> bool {
    matches!(character,
        '\u{370}'..='\u{3ff}' | '\u{400}'..='\u{58f}' | '\u{13a0}'..='\u{13ff}' | '\u{2100}'..='\u{218b}'
        | '\u{2c80}'..='\u{2cff}' | '\u{a4d0}'..='\u{a4ff}' | '\u{a640}'..='\u{a69f}' | '\u{ff00}'..='\u{ff5e}'
        | '\u{1d400}'..='\u{1d7ff}')
}

/// Tells whether a reader would not see this character, or would see others moved by it: controls, and what Unicode calls
/// `Default_Ignorable_Code_Point` or `Bidi_Control`.
pub fn is_hidden(character: char) -> bool {
    matches!(character,
        '\u{0}'..='\u{8}' | '\u{b}'..='\u{1f}' | '\u{7f}'..='\u{9f}'
        | '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}'
        | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}'
        | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}'
        | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
}

/// Tells whether `token` stands in `text` as a whole word, so that `1.0.1` is not found in `1.0.10`.
pub fn has_whole_token(text: &str, token: &str) -> bool {
    let is_part = |character: char| character.is_alphanumeric() || matches!(character, '.' | '-' | '_' | '+');
    !token.is_empty()
        && text.match_indices(token).any(|(start, _)| {
            let before = text[..start].chars().next_back();
            let mut after = text[start + token.len()..].chars();
            let ends = match after.next() {
                // A full stop that ends a sentence is not part of a version.
                Some('.') => !after.next().is_some_and(is_part),
                Some(character) => !is_part(character),
                None => true,
            };
            !before.is_some_and(is_part) && ends
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::{
        strategy::{Strategy as _, ValueTree as _},
        string::string_regex,
        test_runner::TestRunner,
    };
    use std::collections::BTreeSet;

    #[test]
    fn hidden_characters_are_shown() {
        assert_eq!(visible("a\u{202e}b\u{0}\n", 10), "a\\u{202e}b\\u{0}\n");
        assert_eq!(visible("abcdef", 3), "abc… (3 more characters)");
        // A Cyrillic letter between Latin ones; a word of one script is a word.
        assert_eq!(unmistakable_line("p\u{430}y\u{200b}\nденьги"), "p\\u{430}y\\u{200b} деньги");
    }

    #[test]
    fn whatever_unicode_calls_invisible_is_hidden() {
        let invisible = r"[\p{Default_Ignorable_Code_Point}\p{Bidi_Control}\p{Cc}--[\n\t\x{e0000}-\x{e0fff}]]";
        let (mut runner, mut seen) = (TestRunner::deterministic(), BTreeSet::new());
        let any = string_regex(invisible).unwrap();
        for _ in 0..20_000 {
            let drawn = any.new_tree(&mut runner).unwrap().current();
            let character = drawn.chars().next().expect("one character");
            assert!(is_hidden(character), "U+{:04X} would not be seen", character as u32);
            seen.insert(character);
        }
        // Drawn by Unicode's own tables: soft hyphen, grapheme joiner, Mongolian, zero width, musical, and what turns text round.
        for known in ['\u{ad}', '\u{34f}', '\u{180b}', '\u{200b}', '\u{202e}', '\u{2066}', '\u{1d173}', '\u{7f}'] {
            assert!(seen.contains(&known), "U+{:04X} was never drawn", known as u32);
        }
        assert!(seen.len() > 130 && !seen.contains(&'a'), "{}", seen.len());
    }

    #[test]
    fn versions_match_as_whole_tokens() {
        assert!(has_whole_token("{\"version\":\"1.0.1\"}", "1.0.1"));
        assert!(has_whole_token("running 1.0.1.", "1.0.1"));
        assert!(has_whole_token("1.0.10 and 1.0.1", "1.0.1"));
        for other in ["1.0.10", "11.0.1", "1.0.1-rc1", "v1.0.1", "1.0.1.2", ""] {
            assert!(!has_whole_token(other, "1.0.1"), "{other}");
        }
        assert!(!has_whole_token("anything", ""));
    }
}

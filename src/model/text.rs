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

/// Tells whether a reader would not see this character, or would see others moved by it.
pub fn is_hidden(character: char) -> bool {
    matches!(character,
        '\u{0}'..='\u{8}' | '\u{b}'..='\u{1f}' | '\u{7f}'..='\u{9f}'
        | '\u{ad}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180e}'
        | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}'
        | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}')
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

    #[test]
    fn hidden_characters_are_shown() {
        assert_eq!(visible("a\u{202e}b\u{0}\n", 10), "a\\u{202e}b\\u{0}\n");
        assert_eq!(visible("abcdef", 3), "abc… (3 more characters)");
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

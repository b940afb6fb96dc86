//! The file that `interlock init` writes: complete, commented, and free of faults.

const TEMPLATE: &str = include_str!("template.toml");

/// Returns a commented `interlock.toml` for a project; any text becomes a name, a folder's name for one.
pub fn template(project_name: &str) -> String {
    TEMPLATE.replacen("my-project", &name_of(project_name), 1)
}

/// Returns the name that a text stands for: `My Shop_2` is `my-shop-2`.
fn name_of(text: &str) -> String {
    let words = text.split(|character: char| !character.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    let joined = words.collect::<Vec<_>>().join("-").to_ascii_lowercase();
    let from_letter = joined.trim_start_matches(|character: char| !character.is_ascii_lowercase());
    let name: String = from_letter.chars().take(40).collect();
    if name.is_empty() { "my-project".into() } else { name }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_text_becomes_a_name() {
        let cases =
            [("shop", "shop"), ("My Shop_2", "my-shop-2"), ("2nd", "nd"), ("", "my-project"), ("żółw!", "w"), ("\"]\n", "my-project")];
        for (text, name) in cases {
            assert_eq!(name_of(text), name, "{text}");
        }
        assert_eq!(name_of(&"a".repeat(90)).len(), 40);
    }
}

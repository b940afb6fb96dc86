//! Reads `tools/<verb_noun>.md`: the first paragraph is the tool's description, the rest its docs.

/// The most a description may cost every conversation, in bytes.
pub const DESCRIPTION_BYTES: usize = 400;

/// What `tools/<verb_noun>.md` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// What, when, when not, side effect, what next, on one line.
    pub description: String,
    /// Parameters and runnable examples, Markdown.
    pub docs: &'static str,
}

impl Manifest {
    /// Reads a manual.
    pub fn parse(manual: &'static str) -> Self {
        let (description, docs) = manual.trim().split_once("\n\n").unwrap_or((manual.trim(), ""));
        Manifest { description: description.lines().map(str::trim).collect::<Vec<_>>().join(" "), docs: docs.trim() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_paragraph_is_the_description() {
        let manifest = Manifest::parse("Does it.\nThen `get_status`.\n\n## Parameters\n\nNone.\n");
        assert_eq!(manifest, Manifest { description: "Does it. Then `get_status`.".into(), docs: "## Parameters\n\nNone." });
    }
}

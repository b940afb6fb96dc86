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

    #[test]
    fn every_manual_is_short_at_the_top_and_shows_how_below() {
        let folder = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/tools")).unwrap();
        let paths: Vec<_> = folder.map(|file| file.unwrap().path()).collect();
        assert!(paths.len() >= 16);
        for path in paths {
            let manifest = Manifest::parse(std::fs::read_to_string(&path).unwrap().leak());
            let length = manifest.description.len();
            assert!((100..=DESCRIPTION_BYTES).contains(&length), "{path:?}: {length} bytes");
            let name = path.file_stem().unwrap().to_str().unwrap();
            for shown in [format!("{{\"name\": \"{name}\""), format!("interlock {}", name.replace('_', "-"))] {
                assert!(manifest.docs.contains(&shown), "{path:?} lacks `{shown}`");
            }
        }
    }
}

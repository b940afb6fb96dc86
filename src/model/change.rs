//! What kind of change lies between two commits, told by the paths that differ and by nothing else.
//!
//! To add a path: a word in one of the lists below, and in `docs/phases.md`. What no list names is code.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a change is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
#[value(rename_all = "snake_case")]
pub enum ChangeKind {
    /// Prose that nothing is built from.
    Documentation,
    /// `interlock.toml`, which is applied and not deployed.
    Configuration,
    /// Tests, CI and settings of editors.
    Development,
    /// Everything else.
    Code,
}

/// How files of prose end.
const PROSE: &[&str] = &["md", "adoc", "rst"];
/// Files of prose without an ending.
const PROSE_NAMES: &[&str] = &["LICENSE", "NOTICE"];
/// Folders at the repository's root that only development looks into.
const DEVELOPMENT_FOLDERS: &[&str] = &[
    "tests",
    "test",
    "e2e",
    "benches",
    "fuzz",
    ".github",
    ".gitlab",
    ".circleci",
    ".buildkite",
    ".ci",
    ".vscode",
    ".idea",
    ".zed",
    ".devcontainer",
];
/// Files at the repository's root that only development reads.
const DEVELOPMENT_FILES: &[&str] =
    &[".gitlab-ci.yml", ".travis.yml", "Jenkinsfile", "azure-pipelines.yml", "bitbucket-pipelines.yml", ".editorconfig", ".gitignore"];
/// How the names of tests end that stand beside the code.
const TEST_ENDINGS: &[&str] =
    &["_test.go", ".test.js", ".test.jsx", ".test.ts", ".test.tsx", ".spec.js", ".spec.jsx", ".spec.ts", ".spec.tsx"];

impl ChangeKind {
    /// Returns the word.
    pub fn as_str(self) -> &'static str {
        match self {
            ChangeKind::Documentation => "documentation",
            ChangeKind::Configuration => "configuration",
            ChangeKind::Development => "development",
            ChangeKind::Code => "code",
        }
    }

    /// Returns the fact of a phase's `skip_when` that says that nothing else has changed; none of code.
    pub fn fact(self) -> Option<&'static str> {
        match self {
            ChangeKind::Documentation => Some("documentation_only"),
            ChangeKind::Configuration => Some("configuration_only"),
            ChangeKind::Development => Some("development_only"),
            ChangeKind::Code => None,
        }
    }

    /// Returns what a path, from the repository's root, is of; `configuration` is the path of the one file that is applied.
    pub fn of_path(path: &str, configuration: &str) -> ChangeKind {
        let name = path.rsplit('/').next().unwrap_or_default();
        let (stem, ending) = name.rsplit_once('.').unwrap_or((name, ""));
        let is_prose = !stem.is_empty() && PROSE.contains(&ending) || PROSE_NAMES.contains(&name);
        let is_within = path.split_once('/').is_some_and(|(folder, _)| DEVELOPMENT_FOLDERS.contains(&folder));
        let is_test = TEST_ENDINGS.iter().any(|ending| name.len() > ending.len() && name.ends_with(ending));
        match () {
            () if is_prose => ChangeKind::Documentation,
            () if path == configuration => ChangeKind::Configuration,
            () if is_within || is_test || DEVELOPMENT_FILES.contains(&path) => ChangeKind::Development,
            () => ChangeKind::Code,
        }
    }

    /// Returns what paths are of together: of one kind, beside which there may be documentation; anything mixed is code. None without a path.
    pub fn of_paths<'a>(paths: impl IntoIterator<Item = &'a str>, configuration: &str) -> Option<ChangeKind> {
        let kinds = paths.into_iter().map(|path| ChangeKind::of_path(path, configuration));
        kinds.reduce(|one, other| match (one, other) {
            (ChangeKind::Documentation, other) => other,
            (one, ChangeKind::Documentation) => one,
            (one, other) if one == other => one,
            _ => ChangeKind::Code,
        })
    }

    /// Tells whether a path of kind `other` may lie in a change of this kind.
    pub fn may_hold(self, other: ChangeKind) -> bool {
        self == other || other == ChangeKind::Documentation || self == ChangeKind::Code
    }
}

#[cfg(test)]
mod tests {
    use super::ChangeKind::{self, *};

    #[test]
    fn a_path_is_told_by_its_name_and_place() {
        let of = |path| ChangeKind::of_path(path, "interlock.toml");
        for path in ["README.md", "docs/a/guide.adoc", "LICENSE", "notes.rst", "tests/seeds.md"] {
            assert_eq!(of(path), Documentation, "{path}");
        }
        assert_eq!(of("interlock.toml"), Configuration);
        for path in ["tests/a.rs", ".github/workflows/ci.yml", ".editorconfig", "src/cart_test.go", "web/cart.spec.ts", ".vscode/x/y.json"]
        {
            assert_eq!(of(path), Development, "{path}");
        }
        // What looks like one of them and may be built into a release.
        for path in [
            "src/main.rs",
            "docs/conf.py",
            "requirements.txt",
            "md",
            ".md",
            "LICENSES/x",
            "web/interlock.toml",
            "tests",
            "src/tests/a.rs",
            "web/.editorconfig",
            "_test.go",
            "attest.go",
            "README.MD",
            "github/x",
            "Jenkinsfile.rb",
            "",
        ] {
            assert_eq!(of(path), Code, "{path}");
        }
    }

    #[test]
    fn paths_together_are_of_one_kind_or_code() {
        let of = |paths: &[&str]| ChangeKind::of_paths(paths.iter().copied(), "interlock.toml");
        assert_eq!(of(&[]), None);
        assert_eq!(of(&["a.md", "b.md"]), Some(Documentation));
        assert_eq!(of(&["a.md", "interlock.toml"]), Some(Configuration));
        assert_eq!(of(&["tests/a.rs", "a.md", ".gitignore"]), Some(Development));
        assert_eq!(of(&["tests/a.rs", "interlock.toml"]), Some(Code), "neither of the two alone");
        assert_eq!(of(&["a.md", "b.rs", "c.md"]), Some(Code));
    }
}

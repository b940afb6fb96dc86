//! What a directive's change counts as: what its creator says, held against the commits between what serves and what is ordered.
//!
//! A word is never enough. Paths decide; where they cannot be read, the change counts as code until a person signs that it is less.

use super::{
    Engine,
    git::{self, NoAnswer},
};
use crate::{
    config,
    error::{Code, Error, Result},
    model::{ChangeKind, Directive, EnvironmentName, ServiceName, text},
    phases::Phase,
    store::ServingSet,
};
use serde::Serialize;
use std::{path::Path, sync::Mutex};

/// How many paths are named that refute a claim.
const NAMED: usize = 3;

/// What a change counts as, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ChangeSeen {
    /// What its creator says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub claimed: Option<ChangeKind>,
    /// What the commits show; none where they show no difference. Code, where they refute the claim or cannot be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub counts_as: Option<ChangeKind>,
    /// In words.
    pub why: String,
    /// Whether the commits could be read: what could not may be signed by a person.
    #[serde(skip)]
    pub is_checked: bool,
}

impl ChangeSeen {
    /// Holds a claim against the paths that differ; none where they could not be read, with the reason.
    fn of(claimed: Option<ChangeKind>, paths: std::result::Result<Vec<String>, String>) -> Self {
        let (counts_as, why, is_checked) = match paths {
            Err(unread) => (Some(ChangeKind::Code), format!("{unread}, so it counts as code until a person signs what it is"), false),
            Ok(paths) => {
                let found = ChangeKind::of_paths(paths.iter().map(String::as_str), config::FILE_NAME);
                let (counts_as, why) = judged(claimed, found, &paths);
                (counts_as, why, true)
            }
        };
        ChangeSeen { claimed, counts_as, why, is_checked }
    }
}

fn judged(claimed: Option<ChangeKind>, found: Option<ChangeKind>, paths: &[String]) -> (Option<ChangeKind>, String) {
    let Some(found) = found else { return (None, "nothing differs from the commit that serves".into()) };
    let others = paths.iter().filter(|path| {
        let kind = ChangeKind::of_path(path, config::FILE_NAME);
        claimed.is_some_and(|claimed| !claimed.may_hold(kind))
    });
    let others: Vec<String> = others.map(|path| format!("`{}`", text::visible_line(path, 80))).collect();
    match claimed {
        Some(ChangeKind::Code) => (Some(ChangeKind::Code), "its creator says so".into()),
        Some(claimed) if !others.is_empty() => {
            let more = others.len().saturating_sub(NAMED);
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            let named = others[..others.len().min(NAMED)].join(", ");
            (Some(ChangeKind::Code), format!("not only {} has changed: {named}{more}", claimed.as_str()))
        }
        _ => (Some(found), format!("the {} that differ from the commit that serves say so", count(paths.len()))),
    }
}

fn count(paths: usize) -> String {
    if paths == 1 { "1 path".into() } else { format!("{paths} paths") }
}

impl Engine {
    /// Returns what a directive's change counts as, beside what serves apart from what it has brought itself.
    pub(super) async fn change_of(&self, directive: &Directive, other: Option<&ServingSet>) -> ChangeSeen {
        let paths = match (other, other.and_then(|set| set.commit.as_ref()), &directive.commit) {
            (None, ..) => Err("nothing serves that it could be compared with".to_owned()),
            (_, None, _) => Err("the commit of what serves is not known".to_owned()),
            (.., None) => Err("the directive has no commit".to_owned()),
            (_, Some(from), Some(to)) if from == to => Ok(Vec::new()),
            (_, Some(from), Some(to)) => {
                let paths = self.changed.between(&self.workspace.root, from, to).await;
                paths.map_err(|none| match none {
                    NoAnswer::TooLong => format!("more than 4 MiB of paths differ between {} and {}", short(from), short(to)),
                    NoAnswer::Unknown => format!("git cannot say what lies between {} and {}", short(from), short(to)),
                })
            }
        };
        ChangeSeen::of(directive.change, paths)
    }

    /// Returns what the change of a directive counts as, where its creator has said what it is.
    pub async fn claimed_change(&self, directive: &Directive) -> Result<Option<ChangeSeen>> {
        if directive.change.is_none() {
            return Ok(None);
        }
        let latest = self.latest_deployment(directive).await?;
        let other = self.store.serving(&directive.service, &directive.environment).await?;
        let other = other.filter(|set| latest.as_ref().is_none_or(|deployment| deployment.id != set.deployment));
        Ok(Some(self.change_of(directive, other.as_ref()).await))
    }

    /// Returns what serves, as the release of an order for which nothing was built; refused where the phase leaves nothing out for it.
    pub(super) async fn release_that_serves(
        &self,
        service: &ServiceName,
        environment: &EnvironmentName,
        change: Option<ChangeKind>,
        phase: Option<&Phase>,
    ) -> Result<ServingSet> {
        let Some(fact) = change.and_then(ChangeKind::fact) else {
            let message = match change {
                Some(_) => "code is deployed: it needs `version` and `artifact`",
                None => "an order needs `version` and `artifact`, or `change` where nothing was built",
            };
            return Err(Error::invalid(message)
                .hint("build it, and give `version` and `artifact`; or give `change` as documentation, configuration or development"));
        };
        let Some(serving) = self.store.serving(service, environment).await? else {
            return Err(Error::new(Code::WrongState, format!("nothing of `{service}` serves in `{environment}` yet"))
                .hint("the first release is deployed whatever has changed: build it, and give `version` and `artifact`"));
        };
        if phase.is_none_or(|phase| phase.skip_when.iter().all(|one| one != fact)) {
            let goes_by = phase.map_or("no phase".to_owned(), |phase| format!("`{}`", phase.name));
            let message = format!("`{environment}` goes by {goes_by}, which is skipped by no `{fact}`");
            return Err(
                Error::new(Code::WrongState, message).hint("there is nothing to order; or build it, and give `version` and `artifact`")
            );
        }
        Ok(serving)
    }
}

/// Returns the first digits of a commit's id, as git shows them.
fn short(commit: &str) -> &str {
    commit.get(..12).unwrap_or(commit)
}

/// What lies between commits, as git said a moment ago: commits do not change.
#[derive(Default)]
pub(super) struct Changed(Mutex<Vec<(String, Vec<String>)>>);

impl Changed {
    /// How many are kept, of no more paths each than a server has memory for.
    const MOST: usize = 32;
    const PATHS: usize = 2_000;

    async fn between(&self, workspace: &Path, from: &str, to: &str) -> std::result::Result<Vec<String>, NoAnswer> {
        let between = format!("{from} {to}");
        let known = self.0.lock().expect("nothing panics here").iter().find(|(key, _)| *key == between).map(|(_, paths)| paths.clone());
        if let Some(known) = known {
            return Ok(known);
        }
        let paths = git::changed(workspace, from, to).await?;
        if paths.len() > Self::PATHS {
            return Ok(paths);
        }
        let mut kept = self.0.lock().expect("nothing panics here");
        if kept.len() == Self::MOST {
            kept.remove(0);
        }
        kept.push((between, paths.clone()));
        Ok(paths)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ChangeKind::*;

    fn seen(claimed: Option<ChangeKind>, paths: &[&str]) -> (Option<ChangeKind>, String) {
        let seen = ChangeSeen::of(claimed, Ok(paths.iter().map(|path| (*path).to_owned()).collect()));
        assert!(seen.is_checked);
        (seen.counts_as, seen.why)
    }

    #[test]
    fn a_claim_stands_when_the_paths_say_the_same() {
        assert_eq!(seen(Some(Documentation), &["a.md"]).0, Some(Documentation));
        assert_eq!(seen(Some(Configuration), &["interlock.toml", "a.md"]).0, Some(Configuration));
        assert_eq!(seen(Some(Development), &["tests/a.rs"]).0, Some(Development));
        assert_eq!(seen(Some(Development), &["a.md"]).0, Some(Documentation), "less than was said");
        assert_eq!(seen(None, &["a.md"]).0, Some(Documentation), "what nobody claims is still read");
        assert_eq!(seen(Some(Code), &["a.md"]).0, Some(Code), "more caution than needed is no fault");
        assert_eq!(seen(Some(Documentation), &[]), (None, "nothing differs from the commit that serves".into()));
    }

    #[test]
    fn one_path_of_another_kind_refutes_a_claim_and_is_named() {
        let (counts_as, why) = seen(Some(Documentation), &["a.md", "src/main.rs"]);
        assert_eq!((counts_as, why.as_str()), (Some(Code), "not only documentation has changed: `src/main.rs`"));
        assert_eq!(seen(Some(Configuration), &["tests/a.rs"]).0, Some(Code));
        assert_eq!(seen(Some(Documentation), &["interlock.toml"]).0, Some(Code));
        let why = seen(Some(Development), &["a.rs", "b.rs", "c.rs", "d.rs", "e\u{202e}.rs"]).1;
        assert_eq!(why, "not only development has changed: `a.rs`, `b.rs`, `c.rs` and 2 more");
        assert!(seen(Some(Development), &["e\u{202e}`.rs"]).1.contains("\\u{202e}"));
    }

    #[test]
    fn what_cannot_be_read_counts_as_code() {
        let seen = ChangeSeen::of(Some(Documentation), Err("git cannot say".into()));
        assert_eq!((seen.counts_as, seen.is_checked), (Some(Code), false));
        assert_eq!(seen.why, "git cannot say, so it counts as code until a person signs what it is");
    }
}

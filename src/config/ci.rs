//! `[ci]`: which CI is asked, and which checks must have succeeded there; and `target = { kind = "ci", … }`, which is deployed by it.

use super::{reader::Item, reader::Table, references};
use crate::model::{
    ci::{CiConfig, CiPlace, CiPlatform},
    metric::HttpAddress,
    service::{CiTarget, SecretRef},
};
use std::collections::{BTreeMap, BTreeSet};

/// The branch that releases are built from.
const BASE_BRANCH: &str = "main";
/// Patience with one answer.
const TIMEOUT_MS: u64 = 10_000;
/// No configuration names more checks.
const MOST: usize = 50;

/// GitHub takes 25 inputs, and two are ours.
const MOST_INPUTS: usize = 23;
/// How long a run may take, unless told otherwise.
const RUN_TIMEOUT_MS: u64 = 30 * 60_000;
/// GitHub ends a job after 6 hours.
const LONGEST_RUN_MS: u64 = 6 * 3_600_000;
/// What is filled in in an input.
const PLACES_IN_INPUTS: &[&str] = &["version", "digest", "instance", "service", "environment", "epoch"];

const PLATFORMS: &[(&str, CiPlatform)] = &[("github", CiPlatform::Github), ("gitlab", CiPlatform::Gitlab)];
const PLACES: &[(&str, CiPlace)] = &[("commit", CiPlace::Commit), ("base_branch", CiPlace::BaseBranch), ("both", CiPlace::Both)];

/// Returns where a platform is asked unless told otherwise.
fn public(platform: CiPlatform) -> &'static str {
    match platform {
        CiPlatform::Github => "https://api.github.com",
        CiPlatform::Gitlab => "https://gitlab.com",
    }
}

/// Reads `[ci]`.
pub fn ci(root: &Table<'_>) -> Option<CiConfig> {
    let table = root.get("ci")?.table()?;
    let platform = table.require("platform", "write platform = \"github\" or \"gitlab\"").and_then(|item| item.choice(PLATFORMS, &[]));
    let repository = table.require("repository", "write repository = \"owner/name\"").and_then(|item| repository(&item, platform));
    let address = match table.get("address") {
        Some(item) => address(&item),
        None => platform.map(|platform| public(platform).to_owned()),
    };
    let token = table.get("token").and_then(|item| token(&item));
    let base_branch = table.get("base_branch").and_then(|item| branch(&item)).unwrap_or_else(|| BASE_BRANCH.to_owned());
    let checks = table.get("checks").map(|item| checks(&item)).unwrap_or_default();
    let on = table.get("on").and_then(|item| item.choice(PLACES, &[])).unwrap_or(CiPlace::Commit);
    let required = table.get("required").and_then(|item| item.yes()).is_some();
    let timeout_ms = table.get("timeout").and_then(|item| item.duration(100..=60_000)).unwrap_or(TIMEOUT_MS);
    table.close();
    Some(CiConfig { platform: platform?, repository: repository?, address: address?, token, base_branch, checks, on, required, timeout_ms })
}

/// Reads the rest of `target = { kind = "ci", … }`; `configured` is `[ci]`.
pub fn target(table: &Table<'_>, configured: Option<&CiConfig>) -> Option<CiTarget> {
    if configured.is_none() {
        table.missing("there is no `[ci]` to ask", "write [ci] with `platform`, `repository` and `token`");
    }
    let is_gitlab = configured.is_some_and(|ci| ci.platform == CiPlatform::Gitlab);
    let workflow = match (table.get("workflow"), is_gitlab) {
        (Some(item), true) => {
            item.fault("GitLab has one pipeline", Some("leave `workflow` out".into()));
            None
        }
        (None, true) => Some(".gitlab-ci.yml".to_owned()),
        (Some(item), false) => workflow(&item),
        (None, false) => {
            table.missing("`workflow` is missing", "write workflow = \"release.yml\": a file in .github/workflows");
            None
        }
    };
    let base = configured.map(|ci| ci.base_branch.clone());
    let branch = table.get("branch").map_or(base, |item| branch(&item));
    let hint = "write inputs = { version = \"{version}\" }: what the workflow is told, beside `environment` and `interlock`";
    let inputs = table.require("inputs", hint).and_then(|item| inputs(&item));
    let timeout_ms = table.get("timeout").and_then(|item| item.duration(1_000..=LONGEST_RUN_MS)).unwrap_or(RUN_TIMEOUT_MS);
    Some(CiTarget { access: configured?.access(), workflow: workflow?, branch: branch?, inputs: inputs?, timeout_ms })
}

fn workflow(item: &Item<'_>) -> Option<String> {
    let text = item.text()?;
    let is_file = text.ends_with(".yml") || text.ends_with(".yaml");
    if !is_file || text.len() > 100 || text.starts_with('.') || !text.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c)) {
        item.fault("is no workflow", Some("write the name of a file in .github/workflows: \"release.yml\"".into()));
        return None;
    }
    Some(text.to_owned())
}

/// Reads what a workflow is told: it says which release, and nothing that the platform may not show.
fn inputs(item: &Item<'_>) -> Option<BTreeMap<String, String>> {
    let table = item.table()?;
    let mut inputs = BTreeMap::new();
    for (name, item) in table.items() {
        let Some(value) = item.value() else { continue };
        let is_name = name.starts_with(|c: char| c.is_ascii_alphabetic()) && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        let is_ours = ["environment", "interlock", "INTERLOCK_ENVIRONMENT", "INTERLOCK_RUN"].contains(&name);
        if !is_name || is_ours {
            item.fault_at_key(format!("`{name}` is no input, or one that Interlock gives by itself"), None);
        }
        if SecretRef::parse(value).is_some() || references::names_secret(name) {
            item.fault(
                "would be shown by the platform, where secrets are kept",
                Some("leave it out, and let the workflow read it there".into()),
            );
        }
        item.check_places(value, PLACES_IN_INPUTS);
        inputs.insert(name.to_owned(), value.to_owned());
    }
    if inputs.len() > MOST_INPUTS {
        item.fault(format!("holds more than {MOST_INPUTS}"), None);
    }
    if !inputs.values().any(|value| value.contains("{version}") || value.contains("{digest}")) {
        item.fault("does not say which release", Some("put {version} or {digest} into one".into()));
    }
    Some(inputs)
}

/// Reads `owner/name`; GitLab's groups may lie in groups.
fn repository(item: &Item<'_>, platform: Option<CiPlatform>) -> Option<String> {
    let text = item.text()?;
    let parts: Vec<&str> = text.split('/').collect();
    let is_part =
        |part: &&str| !part.is_empty() && !part.starts_with('.') && part.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
    let is_deep = parts.len() > 2 && platform == Some(CiPlatform::Github);
    if parts.len() < 2 || is_deep || !parts.iter().all(is_part) {
        item.fault("is no repository", Some("write \"owner/name\"".into()));
        return None;
    }
    Some(text.to_owned())
}

/// Reads an address without a query, or the reference to one.
fn address(item: &Item<'_>) -> Option<String> {
    let text = item.text()?;
    if SecretRef::parse(text).is_some() {
        references::check(item, "address", text);
        return Some(text.to_owned());
    }
    match HttpAddress::parse(text) {
        Ok(address) if !address.path.contains('?') => Some(text.to_owned()),
        Ok(_) => {
            item.fault("holds a query", Some("write the root of the API alone".into()));
            None
        }
        // What is refused may hold a password: it is not repeated.
        Err(fault) => {
            item.fault(format!("is no address to ask at: {fault}"), Some("write \"https://api.github.com\"".into()));
            None
        }
    }
}

fn token(item: &Item<'_>) -> Option<String> {
    let text = item.text()?;
    references::check(item, "token", text);
    SecretRef::parse(text).map(|_| text.to_owned())
}

fn branch(item: &Item<'_>) -> Option<String> {
    let text = item.text()?;
    let is_branch = text.len() <= 200
        && !text.starts_with(['-', '/'])
        && !text.contains("..")
        && text.chars().all(|c| c.is_ascii_graphic() && !"~^:?*[\\".contains(c));
    if !is_branch {
        item.fault("is no branch", Some("write base_branch = \"main\"".into()));
    }
    is_branch.then(|| text.to_owned())
}

fn checks(item: &Item<'_>) -> Vec<String> {
    let items = item.list().unwrap_or_default();
    if items.is_empty() || items.len() > MOST {
        item.fault(format!("names no check, or more than {MOST}"), Some("write checks = [\"build\", \"test\"]".into()));
    }
    let mut names = BTreeSet::new();
    let check = |item: &Item<'_>| {
        let name = item.text()?;
        if name.chars().count() > 200 || name.contains(['\n', '\t']) {
            item.fault("is longer than a check's name", None);
        }
        if !names.insert(name.to_owned()) {
            item.fault("stands here twice", None);
        }
        Some(name.to_owned())
    };
    items.iter().filter_map(check).collect()
}

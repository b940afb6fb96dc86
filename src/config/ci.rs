//! `[ci]`: which CI is asked, and which checks must have succeeded there.

use super::{reader::Item, reader::Table, references};
use crate::model::{
    ci::{CiConfig, CiPlace, CiPlatform},
    metric::HttpAddress,
    service::SecretRef,
};
use std::collections::BTreeSet;

/// The branch that releases are built from.
const BASE_BRANCH: &str = "main";
/// Patience with one answer.
const TIMEOUT_MS: u64 = 10_000;
/// No configuration names more checks.
const MOST: usize = 50;

const PLATFORMS: &[(&str, CiPlatform)] = &[("github", CiPlatform::Github), ("gitlab", CiPlatform::Gitlab)];
const PLACES: &[(&str, CiPlace)] = &[("commit", CiPlace::Commit), ("base_branch", CiPlace::BaseBranch), ("both", CiPlace::Both)];

/// Reads `[ci]`.
pub fn ci(root: &Table<'_>) -> Option<CiConfig> {
    let table = root.get("ci")?.table()?;
    let platform = table.require("platform", "write platform = \"github\" or \"gitlab\"").and_then(|item| item.choice(PLATFORMS, &[]));
    let repository = table.require("repository", "write repository = \"owner/name\"").and_then(|item| repository(&item, platform));
    let hint = "write address = \"http://127.0.0.1:8300\": what forwards to the platform's API with TLS";
    let address = table.require("address", hint).and_then(|item| address(&item));
    let token = table.get("token").and_then(|item| token(&item));
    let base_branch = table.get("base_branch").and_then(|item| branch(&item)).unwrap_or_else(|| BASE_BRANCH.to_owned());
    let checks = table.get("checks").map(|item| checks(&item)).unwrap_or_default();
    let on = table.get("on").and_then(|item| item.choice(PLACES, &[])).unwrap_or(CiPlace::Commit);
    let required = table.get("required").and_then(|item| item.yes()).is_some();
    let timeout_ms = table.get("timeout").and_then(|item| item.duration(100..=60_000)).unwrap_or(TIMEOUT_MS);
    table.close();
    Some(CiConfig { platform: platform?, repository: repository?, address: address?, token, base_branch, checks, on, required, timeout_ms })
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

/// Reads an address of plain HTTP without a query, or the reference to one.
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
            item.fault(format!("is no address to ask at: {fault}"), Some("write \"http://127.0.0.1:8300\"".into()));
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

//! `[notify.NAME]`: who is told elsewhere, and of what. What is told decides nothing, and still says much: a change of it takes the
//! signature of each environment with approval that it tells of.

use super::{
    is_name,
    reader::{Item, Table},
    references,
};
use crate::model::{Destination, DestinationKind, EnvironmentName, NoticeKind, metric::HttpAddress, service::SecretRef};
use std::collections::{BTreeMap, BTreeSet};

/// No configuration has more.
const MOST: usize = 20;

const KINDS: &[(&str, DestinationKind)] = &[("webhook", DestinationKind::Webhook), ("slack", DestinationKind::Slack)];

/// Reads `[notify]`; `known` are the environments.
pub fn notify<'a>(root: &Table<'_>, known: impl Iterator<Item = &'a EnvironmentName>) -> BTreeMap<String, Destination> {
    let known: Vec<&EnvironmentName> = known.collect();
    let Some(item) = root.get("notify") else { return BTreeMap::new() };
    let items = item.table().map(|table| table.items()).unwrap_or_default();
    if items.len() > MOST {
        item.fault(format!("names more than {MOST} destinations"), None);
    }
    items.into_iter().filter_map(|(name, item)| Some((name.to_owned(), destination(name, &item, &known)?))).collect()
}

fn destination(name: &str, item: &Item<'_>, known: &[&EnvironmentName]) -> Option<Destination> {
    is_name(item, name);
    let table = item.table()?;
    let kind = table.require("kind", "write kind = \"webhook\" or \"slack\"").and_then(|item| item.choice(KINDS, &[]));
    let private = table.get("private").and_then(|item| item.yes()).is_some();
    let url = table.require("url", "write url = \"env:NOTIFY_URL\"").and_then(|item| url(&item, kind, private));
    let secret = match (table.get("secret"), kind) {
        (Some(item), Some(DestinationKind::Slack)) => {
            item.fault("Slack verifies no signature", Some("leave `secret` out: its address is the secret".into()));
            None
        }
        (Some(item), _) => secret(&item),
        (None, Some(DestinationKind::Webhook)) => {
            table.missing(
                "`secret` is missing",
                "write secret = \"env:NOTIFY_SECRET\": it holds whsec_ and 24 random bytes or more as base64",
            );
            None
        }
        (None, _) => None,
    };
    let events = match table.get("events") {
        Some(item) => words(&item, |item| item.choice(&NoticeKind::ALL, &[])),
        None => NoticeKind::ALL.iter().map(|(_, kind)| *kind).collect(),
    };
    let environments = table.get("environments").map(|item| words(&item, |item| environment(item, known))).unwrap_or_default();
    table.close();
    Some(Destination { name: name.to_owned(), kind: kind?, url: url?, secret, events, environments, private })
}

/// Reads a list that holds something, nothing of it twice.
fn words<T: Ord>(item: &Item<'_>, read: impl Fn(&Item<'_>) -> Option<T>) -> BTreeSet<T> {
    let items = item.list().unwrap_or_default();
    if items.is_empty() {
        item.fault("names nothing", Some("leave it out for all".into()));
    }
    let mut found = BTreeSet::new();
    for item in &items {
        if read(item).is_some_and(|word| !found.insert(word)) {
            item.fault("stands here twice", None);
        }
    }
    found
}

fn environment(item: &Item<'_>, known: &[&EnvironmentName]) -> Option<EnvironmentName> {
    let name = EnvironmentName::from(item.text()?);
    if !known.contains(&&name) {
        let known: Vec<&str> = known.iter().map(|name| name.as_str()).collect();
        item.mismatch(format!("there is no environment `{name}`"), Some(format!("there are: {}", known.join(", "))));
    }
    Some(name)
}

/// Reads an address, or the reference to one. What is refused is not repeated: the address may be the secret.
fn url(item: &Item<'_>, kind: Option<DestinationKind>, private: bool) -> Option<String> {
    let text = item.text()?;
    if SecretRef::parse(text).is_some() {
        references::check(item, "address", text);
        return Some(text.to_owned());
    }
    let refer = Some("refer to the whole address: \"env:NAME\" or \"file:/path\"".to_owned());
    if kind == Some(DestinationKind::Slack) {
        item.fault("is a secret written out: whoever knows it posts there", refer);
        return None;
    }
    match HttpAddress::parse(text) {
        Ok(address) if references::query_names_secret(&address.path) => item.fault("looks like a secret written out", refer),
        Ok(address) if !address.is_tls && !private => {
            let hint = "write https://, or private = true for what is on this machine or in a private network";
            item.fault("would be told in the clear", Some(hint.into()));
        }
        Ok(address) if address.path.contains(['{', '}']) => item.fault("holds a place, and nothing is filled in here", None),
        Ok(_) => return Some(text.to_owned()),
        Err(fault) => item.fault(format!("is no address to tell at: {fault}"), Some("write \"https://shop.example/hook\"".into())),
    }
    None
}

fn secret(item: &Item<'_>) -> Option<String> {
    let text = item.text()?;
    references::check(item, "secret", text);
    SecretRef::parse(text).map(|_| text.to_owned())
}

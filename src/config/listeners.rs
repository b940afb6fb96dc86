//! Where customers connect: `hosts`, and that no two services answer for the same host at the same address.

use super::reader::Item;
use crate::model::hosts::claim;
use std::net::SocketAddr;

/// No service answers for more.
const MOST: usize = 50;

/// What the built-in proxy is to answer for.
pub struct Listener<'a> {
    /// Where.
    pub address: SocketAddr,
    /// The place in the file.
    pub item: Item<'a>,
    /// For which hosts; empty for every one that no other names.
    pub hosts: Vec<String>,
    /// For whom: `staging/web`.
    pub owner: String,
}

/// Reads `hosts`.
pub fn hosts(item: &Item<'_>) -> Vec<String> {
    let Some(items) = item.list() else { return Vec::new() };
    if items.is_empty() {
        item.fault("is empty", Some("leave it out, and it answers for every host that no other service names".into()));
    }
    if items.len() > MOST {
        item.fault(format!("has more than {MOST} hosts"), None);
    }
    let mut hosts = Vec::new();
    for item in &items {
        let Some(text) = item.text() else { continue };
        match claim(text) {
            None => item.fault(format!("`{text}` is no host"), Some("write \"shop.example\" or \"*.shop.example\", without a port".into())),
            Some(host) if hosts.contains(&host) => item.fault(format!("`{host}` stands here twice"), None),
            Some(host) => hosts.push(host),
        }
    }
    hosts
}

/// Tells every address that two services would listen on, unless each answers there for hosts of its own.
pub fn check(listeners: &[Listener<'_>]) {
    for (index, listener) in listeners.iter().enumerate() {
        let found = listeners[..index].iter().find_map(|other| conflict(listener, other));
        if let Some((message, hint)) = found {
            listener.item.mismatch(message, Some(hint.into()));
        }
    }
}

/// Returns what is in the way of a listener beside another one, and what to do.
fn conflict(one: &Listener<'_>, other: &Listener<'_>) -> Option<(String, &'static str)> {
    let (address, owner) = (one.address, &other.owner);
    let is_any = one.address.ip().is_unspecified() || other.address.ip().is_unspecified();
    let overlaps = address.port() == other.address.port() && (is_any || address.ip() == other.address.ip());
    if !overlaps {
        return None;
    }
    if address != other.address {
        return Some((format!("`{address}` is taken by {owner}"), "give each service an address of its own, or write the same one"));
    }
    if let Some(host) = one.hosts.iter().find(|host| other.hosts.contains(host)) {
        return Some((format!("`{host}` at `{address}` is taken by {owner}"), "name each host in one service"));
    }
    let both_take_the_rest = one.hosts.is_empty() && other.hosts.is_empty();
    both_take_the_rest
        .then(|| (format!("`{address}` is taken by {owner}"), "give each service an address of its own, or `hosts` to tell them apart"))
}

//! `strategy = { kind = "canary", … }` of a placed service: how its traffic moves to a new release.

use super::reader::{Item, Table};
use crate::model::{Rollout, Stickiness, Strategy};

const MINUTE_MS: u64 = 60_000;
const DAY_MS: u64 = 24 * 60 * MINUTE_MS;

/// Reads how traffic moves.
pub fn rollout(item: &Item<'_>) -> Option<Rollout> {
    let table = item.table()?;
    let kinds = [Strategy::BlueGreen, Strategy::Canary, Strategy::Rolling].map(|strategy| (strategy.as_str(), strategy));
    let Some(kind) = table.get("kind") else {
        table.missing("`kind` is missing", "write kind = \"canary\"");
        return None;
    };
    let strategy = kind.choice(&kinds, &[]);
    let mut rollout = Rollout { strategy, ..Rollout::default() };
    match strategy {
        Some(Strategy::Canary) => canary(&table, &mut rollout),
        Some(Strategy::Rolling) => {
            rollout.batch = table.get("batch").and_then(|item| item.whole(1..=100)).map_or(rollout.batch, |batch| batch as u32);
        }
        Some(Strategy::BlueGreen) => (),
        // Which keys belong here is not known.
        None => return None,
    }
    table.close();
    Some(rollout)
}

fn canary(table: &Table<'_>, rollout: &mut Rollout) {
    if let Some(stickiness) = table.get("sticky").and_then(|item| stickiness(&item)) {
        rollout.stickiness = stickiness;
    }
    if let Some(weights) = table.get("weights").and_then(|item| weights(&item)) {
        rollout.weights = weights;
    }
    if let Some(watch_ms) = table.get("watch").and_then(|item| item.duration(1_000..=DAY_MS)) {
        rollout.watch_ms = watch_ms;
        rollout.watch_at_most_ms = 3 * watch_ms;
    }
    let Some(item) = table.get("watch_at_most") else { return };
    let Some(watch_at_most_ms) = item.duration(1_000..=3 * DAY_MS) else { return };
    if watch_at_most_ms < rollout.watch_ms {
        item.fault("ends before `watch` does", Some("write at least the duration of `watch`".into()));
    }
    rollout.watch_at_most_ms = watch_at_most_ms;
}

/// Reads `"cookie"` or `{ header = "x-user" }`.
fn stickiness(item: &Item<'_>) -> Option<Stickiness> {
    if item.is_text() {
        return item.choice(&[("cookie", ())], &[]).map(|()| Stickiness::Cookie);
    }
    let table = item.table()?;
    let name = table.require("header", "write sticky = { header = \"x-user\" }, or \"cookie\"").and_then(|item| {
        let name = item.text()?;
        let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
        if !name.bytes().all(is_token) {
            item.fault(format!("`{name}` is no header's name"), None);
            return None;
        }
        Some(name.to_ascii_lowercase())
    });
    table.close();
    Some(Stickiness::Header { name: name? })
}

/// Reads the shares of a canary: growing, and 100 at the end.
fn weights(item: &Item<'_>) -> Option<Vec<u32>> {
    let weights: Option<Vec<u32>> = item.list()?.iter().map(|weight| weight.whole(1..=100).map(|weight| weight as u32)).collect();
    let weights = weights?;
    let hint = Some("write [10, 50, 100]".to_owned());
    if weights.len() > 20 {
        item.fault("has more than 20 shares", hint);
    } else if weights.last() != Some(&100) {
        item.fault("does not end at 100: some traffic would stay with the old release for ever", hint);
    } else if !weights.is_sorted_by(|earlier, later| earlier < later) {
        item.fault("does not grow from share to share", hint);
    } else if weights.len() == 1 {
        item.fault("has no share below 100: nothing would be compared", Some("write [10, 50, 100], or kind = \"blue_green\"".into()));
    } else {
        return Some(weights);
    }
    None
}

//! `[services.X.about]`: what people want to know about a service. A place may say it otherwise.

use super::{
    reader::{Item, Table},
    references,
};
use crate::model::about::{About, Contact, Logging, Variable};
use std::collections::BTreeSet;

/// No list has more.
const MOST: usize = 100;
/// No line is longer.
const CHARS: usize = 300;

/// Reads `about`.
pub fn about(item: &Item<'_>) -> Option<About> {
    let table = item.table()?;
    let about = About {
        provider: table.get("provider").and_then(|item| line(&item)),
        region: table.get("region").and_then(|item| line(&item)),
        ci: table.get("ci").and_then(|item| line(&item)),
        variables: variables(&table),
        logging: table.get("logging").and_then(|item| logging(&item)),
        business_metrics: list(&table, "business_metrics", line),
        dashboards: list(&table, "dashboards", link),
        logs: table.get("logs").and_then(|item| link(&item)),
        contacts: list(&table, "contacts", contact),
    };
    table.close();
    Some(about)
}

fn variables(about: &Table<'_>) -> Vec<Variable> {
    let mut names = BTreeSet::new();
    list(about, "variables", |item| {
        let table = item.table()?;
        let name = table.require("name", "write name = \"API_KEY\"").and_then(|item| {
            let name = line(&item)?;
            if !names.insert(name.clone()) {
                item.fault(format!("`{name}` stands here twice"), None);
            }
            Some(name)
        });
        let purpose = table.require("purpose", "write purpose = \"what it is for\"").and_then(|item| line(&item));
        let sensitive = table.get("sensitive").is_some_and(|item| item.yes().is_some());
        // Who would write one is told where it belongs, and it is not repeated.
        if let Some(item) = table.get("value") {
            item.fault_at_key(
                "is never written here",
                Some("name the variable alone; `env` of a place holds a value or its reference".into()),
            );
        }
        table.close();
        Some(Variable { name: name?, purpose: purpose?, sensitive })
    })
}

fn logging(item: &Item<'_>) -> Option<Logging> {
    let table = item.table()?;
    let platform = table.require("platform", "write platform = \"CloudWatch\"").and_then(|item| line(&item));
    let retention = table.get("retention").and_then(|item| line(&item));
    table.close();
    Some(Logging { platform: platform?, retention })
}

fn contact(item: &Item<'_>) -> Option<Contact> {
    let table = item.table()?;
    let role = table.require("role", "write role = \"on call\"").and_then(|item| line(&item));
    let reach = table.require("reach", "write reach = \"oncall@example.test\"").and_then(|item| line(&item));
    table.close();
    Some(Contact { role: role?, reach: reach? })
}

fn list<'a, T>(table: &Table<'a>, key: &'static str, read: impl FnMut(&Item<'a>) -> Option<T>) -> Vec<T> {
    let Some(item) = table.get(key) else { return Vec::new() };
    let items = item.list().unwrap_or_default();
    if items.len() > MOST {
        item.fault(format!("has more than {MOST} entries"), None);
    }
    items.iter().filter_map(read).collect()
}

/// Reads a text of one line.
pub(super) fn line(item: &Item<'_>) -> Option<String> {
    let text = item.text()?;
    if text.contains(['\n', '\t']) || text.chars().count() > CHARS {
        item.fault(format!("is longer than one line of {CHARS} characters"), None);
        return None;
    }
    Some(text.to_owned())
}

/// Reads an address that people follow. What is refused may hold a secret: it is not repeated.
pub(super) fn link(item: &Item<'_>) -> Option<String> {
    let text = line(item)?;
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    let fault = match rest {
        None => Some("is no address: it starts with neither `https://` nor `http://`"),
        Some(rest) if rest.is_empty() || rest.contains(char::is_whitespace) || rest.contains(['<', '>', '"']) => Some("is no address"),
        Some(rest) if rest.split(['/', '?', '#']).next().unwrap_or_default().contains('@') => {
            Some("holds a user name; a secret in an address would be shown")
        }
        Some(rest) if references::query_names_secret(rest) => Some("looks like a secret written out"),
        Some(_) => None,
    };
    if let Some(fault) = fault {
        item.fault(fault, Some("write \"https://dashboards.example/web\", without a user or a token".into()));
        return None;
    }
    Some(text)
}

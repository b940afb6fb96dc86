//! RB010 and RB013: where links lead, and whether the places it names are there.

use super::{Code, Findings, Known, Level, Runbook, commands};
use crate::engine::markdown::{Kind, NOWHERE, Node};
use std::collections::BTreeSet;

/// Files the server writes into a workspace for a deployment.
const FILES: &[&str] = &["status.md", "docs/deployment.md", "ci/deploy-logs.txt", "post-deploy/smoke-report.json"];

pub(super) fn check(runbook: &Runbook<'_>, known: &Known<'_>, found: &mut Findings) {
    let anchors = anchors(runbook);
    let ids = known.ids();
    let mut said = Vec::new();
    runbook.each(&mut |node| {
        if let Kind::Link(address) = &node.kind {
            link(node.line, address, &anchors, &ids, known, found);
        }
        if let Kind::CodeSpan(span) = &node.kind {
            said.extend(hosts(span).into_iter().map(|host| (node.line, host)));
        }
        named_places(node, known, found);
    });
    for code in runbook.code() {
        flags(&code, known, found);
        said.extend(code.text.lines().enumerate().flat_map(|(at, line)| hosts(line).into_iter().map(move |host| (code.from + at, host))));
    }
    for (line, host) in said.into_iter().filter(|(_, host)| !known.inventory.has_host(host)) {
        found.block("RB013", line, format!("the applied configuration knows no host `{host}`"), "name one it has, or leave it out");
    }
}

fn link(line: usize, address: &str, anchors: &BTreeSet<String>, ids: &BTreeSet<String>, known: &Known<'_>, found: &mut Findings) {
    let (path, _) = address.split_once('#').unwrap_or((address, ""));
    let fix = "link to a heading, a page of the record, or leave it out";
    if let Some(name) = address.strip_prefix(NOWHERE) {
        return found.block("RB010", line, format!("no link is named `{name}`"), fix);
    }
    if let Some(anchor) = address.strip_prefix('#') {
        if !anchors.contains(anchor) {
            found.block("RB010", line, format!("no heading is called `#{anchor}`"), fix);
        }
        return;
    }
    if let Some((scheme, rest)) =
        address.split_once(':').filter(|(scheme, _)| scheme.chars().all(|c| c.is_ascii_alphanumeric() || "+.-".contains(c)))
    {
        let host = rest.trim_start_matches('/').split(['/', ':', '?', '#']).next().unwrap_or_default();
        return match scheme.to_lowercase().as_str() {
            "mailto" => (),
            "http" | "https" if known.inventory.has_host(host) => (),
            "http" | "https" if !host.is_empty() => {
                let message = format!("`{host}` is elsewhere: nobody has looked whether it answers");
                found.put("RB010", Level::Warn, line, message, "keep what is needed at night in the runbook itself", None);
            }
            _ => found.block("RB010", line, format!("a link with `{scheme}:` leads nowhere"), fix),
        };
    }
    let page = path.trim_start_matches('/').split('/').collect::<Vec<_>>();
    let is_known = match page.as_slice() {
        ["deployments", id] => ids.contains(*id) || known.runs.contains_key(*id),
        ["plans" | "directives" | "evidence" | "runbooks", id] => ids.contains(*id),
        _ => FILES.contains(&path),
    };
    if !is_known {
        found.block("RB010", line, format!("`{address}` is nothing that the record knows"), fix);
    }
}

/// Returns what each heading is linked as.
fn anchors(runbook: &Runbook<'_>) -> BTreeSet<String> {
    let mut anchors = BTreeSet::new();
    runbook.document.each(&mut |node| {
        if matches!(node.kind, Kind::Heading(_)) {
            anchors.insert(super::anchor(&node.text()));
        }
    });
    anchors
}

/// Returns the hosts of addresses in code: of `https://host/…`, and of `host:5432`.
fn hosts(code: &str) -> Vec<String> {
    let is_edge = |character: char| character.is_whitespace() || "\"'`,()<>=[]".contains(character);
    let words = code.split(is_edge).filter(|word| !word.is_empty());
    let host_of = |word: &str| {
        if let Some((scheme, rest)) = word.split_once("://") {
            let is_scheme =
                !scheme.is_empty() && scheme.chars().all(|character| character.is_ascii_alphanumeric() || "+.-".contains(character));
            let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
            let host = authority.rsplit('@').next().unwrap_or_default().split(':').next().unwrap_or_default();
            return (is_scheme && !host.is_empty() && !host.starts_with(['$', '{'])).then(|| host.to_owned());
        }
        let (host, rest) = word.split_once(':')?;
        let port = rest.split('/').next().unwrap_or_default();
        let is_port = (2..=5).contains(&port.len()) && port.chars().all(|digit| digit.is_ascii_digit());
        let is_name = host.contains(|character: char| character.is_ascii_alphabetic())
            && host.chars().all(|character| character.is_ascii_alphanumeric() || ".-".contains(character));
        (is_port && is_name && (host.contains('.') || port.len() > 3)).then(|| host.to_owned())
    };
    words.filter_map(host_of).collect()
}

/// Looks at the places that commands name by a flag.
fn flags(code: &Code<'_>, known: &Known<'_>, found: &mut Findings) {
    let inventory = known.inventory;
    for command in commands::typed(code).0 {
        let pairs = command.argv.windows(2).map(|pair| (pair[0].clone(), pair[1].clone()));
        let glued = command.argv.iter().filter_map(|word| word.split_once('=')).map(|(flag, value)| (flag.to_owned(), value.to_owned()));
        for (flag, value) in pairs.chain(glued) {
            let is_known = match flag.as_str() {
                "--environment" | "--env" => inventory.environments.contains(&value),
                "--service" => inventory.services.contains(&value),
                "--host" | "--namespace" | "--context" => inventory.has_host(&value),
                _ => true,
            };
            if !is_known {
                let message = format!("the applied configuration knows no `{flag} {value}`");
                found.block("RB013", command.line, message, "name one it has, or leave it out");
            }
        }
    }
}

/// Looks at the names behind the words `environment` and `service`.
fn named_places(node: &Node, known: &Known<'_>, found: &mut Findings) {
    for pair in node.children.windows(2) {
        let (Kind::Text(words), Kind::CodeSpan(name)) = (&pair[0].kind, &pair[1].kind) else { continue };
        let words = words.to_lowercase();
        let names = match words.trim_end().rsplit(' ').next() {
            Some("environment") => &known.inventory.environments,
            Some("service") => &known.inventory.services,
            _ => continue,
        };
        let is_name = name.chars().all(|character| character.is_ascii_alphanumeric() || "-_".contains(character));
        if is_name && !names.contains(name.as_str()) {
            let message = format!("the applied configuration has no {} `{name}`", words.trim_end().rsplit(' ').next().unwrap_or_default());
            found.block("RB013", pair[1].line, message, "name one it has");
        }
    }
}

//! Figures as CSV (RFC 4180): a row for each, with what its deployments have in common.

use super::{GroupFigures, figure::shown};
use std::fmt::Write;

const HEAD: &str = "service,environment,caller,metric,value,unit,n,p50,p95,max,target,rating\r\n";

/// Returns the rows of as many groups as fit into `limit_bytes`, and how many did not; a group is never cut in two.
pub fn csv(groups: &[GroupFigures], limit_bytes: usize) -> (String, usize) {
    let mut text = HEAD.to_owned();
    for (index, group) in groups.iter().enumerate() {
        let rows = rows(group);
        if text.len() + rows.len() > limit_bytes {
            return (text, groups.len() - index);
        }
        text.push_str(&rows);
    }
    (text, 0)
}

fn rows(group: &GroupFigures) -> String {
    let mut rows = String::new();
    let of = &group.group;
    let (service, environment) = (of.service.as_ref().map(|name| name.as_str()), of.environment.as_ref().map(|name| name.as_str()));
    let caller = of.caller.map(|caller| caller.as_str());
    let place: Vec<String> = [service, environment, caller].into_iter().map(|field| quoted(field.unwrap_or_default())).collect();
    for figure in &group.figures {
        let number = |value: Option<f64>| value.map(|value| shown(value).to_string()).unwrap_or_default();
        let spread = figure.spread;
        let _ = write!(
            rows,
            "{},{},{},{},{},{},{},{},{},{}\r\n",
            place.join(","),
            figure.name,
            number(figure.value),
            figure.unit.as_str(),
            figure.n,
            number(spread.map(|spread| spread.p50)),
            number(spread.map(|spread| spread.p95)),
            number(spread.map(|spread| spread.max)),
            quoted(figure.target.unwrap_or_default()),
            figure.rating.as_str(),
        );
    }
    rows
}

/// Quotes a field where a reader would cut it.
fn quoted(field: &str) -> String {
    match field.contains([',', '"', '\r', '\n']) {
        true => format!("\"{}\"", field.replace('"', "\"\"")),
        false => field.to_owned(),
    }
}

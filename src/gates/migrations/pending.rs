//! Which migration files are still to run, and in which order.

use std::{
    cmp::Ordering,
    collections::{BTreeMap, BTreeSet},
};

/// Files and history held against each other.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pending {
    /// Files that are not in the history, in the order they run.
    pub files: Vec<String>,
    /// Pending files that sort before one that has run: most runners skip or refuse them.
    pub out_of_order: Vec<String>,
    /// What the history holds and the folder does not: the database is ahead of this release.
    pub ahead: Vec<String>,
}

/// Returns what is pending. A history line names a file whole, without its ending, or by its version number; each line names one file.
///
/// Down-migrations and files that are no SQL are left out.
pub fn pending(files: &[String], history: &[String]) -> Pending {
    let mut ups: Vec<&String> = files.iter().filter(|name| name.to_lowercase().ends_with(".sql") && !is_down(name)).collect();
    ups.sort_by(|one, two| by_number(one, two));
    ups.dedup();
    // A version that two files share names neither.
    let mut versions: BTreeMap<String, Option<&String>> = BTreeMap::new();
    for name in &ups {
        if let Some(version) = version(name) {
            versions.entry(version).and_modify(|holder| *holder = None).or_insert(Some(name));
        }
    }
    let named = |line: &str| {
        let by_name = ups.iter().find(|name| **name == line || stem(name) == line).copied();
        by_name.or_else(|| versions.get(&plain_number(line)?).copied().flatten())
    };
    let history: Vec<&str> = history.iter().map(|line| line.trim()).filter(|line| !line.is_empty()).collect();
    let done: BTreeSet<&String> = history.iter().filter_map(|line| named(line)).collect();
    let mut ahead: Vec<String> = history.iter().filter(|line| named(line).is_none()).map(|line| (*line).to_owned()).collect();
    ahead.sort_by(|one, two| by_number(one, two));
    let files: Vec<String> = ups.iter().filter(|name| !done.contains(**name)).map(|name| (*name).clone()).collect();
    let last = ups.iter().rposition(|name| done.contains(*name)).map(|at| ups[at]);
    let out_of_order = files.iter().filter(|name| last.is_some_and(|last| by_number(name, last) == Ordering::Less)).cloned().collect();
    Pending { files, out_of_order, ahead }
}

/// Compares names as people order them: digits by their number, so that `9_a` comes before `10_b`.
pub fn by_number(one: &str, two: &str) -> Ordering {
    let pieces = pieces(one).into_iter().zip(self::pieces(two));
    let differs = pieces.map(|(one, two)| match (number(one), number(two)) {
        (Some(one), Some(two)) => one.len().cmp(&two.len()).then(one.cmp(two)),
        _ => one.cmp(two),
    });
    let count = |name: &str| self::pieces(name).len();
    differs.into_iter().find(|order| order.is_ne()).unwrap_or_else(|| count(one).cmp(&count(two))).then_with(|| one.cmp(two))
}

/// Tells whether the file undoes a migration: `0042_x.down.sql`, `0042_x_down.sql`, `down.sql`.
pub fn is_down(name: &str) -> bool {
    let stem = stem(name).to_lowercase();
    [".down", "_down", "-down", "/down"].iter().any(|end| stem.ends_with(end)) || stem == "down"
}

/// Tells whether one of the files undoes this one: same name but for `up` and `down`, or same number when only these two have it.
pub fn has_down(name: &str, files: &[String]) -> bool {
    let base = |name: &str| {
        let stem = stem(name).to_lowercase();
        let cut =
            ["up", "down"].iter().find_map(|end| stem.strip_suffix(end)).map(|rest| rest.trim_end_matches(['.', '_', '-']).to_owned());
        cut.unwrap_or(stem)
    };
    files.iter().any(|other| is_down(other) && base(other) == base(name))
}

/// Returns the name without `.sql`, and without `.up` before it.
fn stem(name: &str) -> &str {
    let cut = |name: &'_ str, end: &str| {
        name.len().checked_sub(end.len()).filter(|at| name.is_char_boundary(*at) && name[*at..].eq_ignore_ascii_case(end))
    };
    let name = cut(name, ".sql").map_or(name, |at| &name[..at]);
    cut(name, ".up").map_or(name, |at| &name[..at])
}

/// Returns the number a file starts with: `0042_x.sql` is `42`, Flyway's `V42__x.sql` too.
fn version(name: &str) -> Option<String> {
    let name = name.rsplit('/').next().unwrap_or(name);
    let digits = name.strip_prefix(['V', 'v']).filter(|rest| rest.starts_with(|c: char| c.is_ascii_digit())).unwrap_or(name);
    let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
    // `1.2__x` is version 1.2, not 1.
    if digits[end..].starts_with('.') && digits[end + 1..].starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    plain_number(&digits[..end])
}

fn plain_number(text: &str) -> Option<String> {
    number(text).map(|digits| if digits.is_empty() { "0".to_owned() } else { digits.to_owned() })
}

/// Returns the digits without leading zeros, when there is nothing else.
fn number(text: &str) -> Option<&str> {
    (!text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())).then(|| text.trim_start_matches('0'))
}

fn pieces(name: &str) -> Vec<&str> {
    let (mut pieces, mut rest) = (Vec::new(), name);
    while let Some(first) = rest.chars().next() {
        let is_digit = first.is_ascii_digit();
        let end = rest.find(|c: char| c.is_ascii_digit() != is_digit).unwrap_or(rest.len());
        pieces.push(&rest[..end]);
        rest = &rest[end..];
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn numbers_order_files() {
        let mut found =
            names(&["10_b.sql", "9_a.sql", "0001_z.sql", "V2__c.sql", "20261120_x.sql", "99999999999999999999999_y.sql", "1_a.sql"]);
        found.sort_by(|one, two| by_number(one, two));
        assert_eq!(found, ["1_a.sql", "0001_z.sql", "9_a.sql", "10_b.sql", "20261120_x.sql", "99999999999999999999999_y.sql", "V2__c.sql"]);
    }

    #[test]
    fn what_is_not_in_the_history_is_pending() {
        let files = names(&["0003_c.sql", "0001_a.up.sql", "0001_a.down.sql", "0002_b.sql", "0010_d.sql", "notes.md"]);
        let found = pending(&files, &names(&["0001_a", " 2 ", "0003_c.sql", ""]));
        assert_eq!(found, Pending { files: names(&["0010_d.sql"]), ..Pending::default() });
        assert_eq!(pending(&files, &[]).files, ["0001_a.up.sql", "0002_b.sql", "0003_c.sql", "0010_d.sql"]);
        assert_eq!(pending(&[], &names(&["1"])).ahead, ["1"]);
    }

    #[test]
    fn a_database_that_is_ahead_and_files_that_come_late_are_named() {
        let found = pending(&names(&["1_a.sql", "2_b.sql", "3_c.sql"]), &names(&["1", "3", "12", "4_gone"]));
        assert_eq!(found.files, ["2_b.sql"]);
        assert_eq!(found.out_of_order, ["2_b.sql"]);
        assert_eq!(found.ahead, ["4_gone", "12"]);
    }

    #[test]
    fn a_number_that_two_files_share_names_neither() {
        let found = pending(&names(&["7_a.sql", "7_b.sql", "V1.2__c.sql"]), &names(&["7", "1"]));
        assert_eq!((found.files.len(), found.ahead), (3, names(&["1", "7"])));
        assert_eq!(pending(&names(&["7_a.sql", "7_b.sql"]), &names(&["7_b"])).files, ["7_a.sql"]);
    }

    #[test]
    fn a_migration_knows_its_way_back() {
        let files = names(&[
            "1_a.up.sql",
            "1_a.down.sql",
            "2_b.sql",
            "2_b.down.sql",
            "3_c.sql",
            "4_d_up.sql",
            "4_d_down.sql",
            "5/up.sql",
            "5/down.sql",
        ]);
        for (name, has) in [("1_a.up.sql", true), ("2_b.sql", true), ("3_c.sql", false), ("4_d_up.sql", true), ("5/up.sql", true)] {
            assert_eq!(has_down(name, &files), has, "{name}");
        }
        assert!(!is_down("0042_shutdown_hours.sql") && !is_down("0042_slow_down_x.sql"));
    }

    proptest! {
        #[test]
        fn the_order_is_total(one in "[a0-9_.]{0,12}", two in "[a0-9_.]{0,12}", three in "[a0-9_.]{0,12}") {
            prop_assert_eq!(by_number(&one, &two), by_number(&two, &one).reverse());
            prop_assert_eq!(by_number(&one, &two) == Ordering::Equal, one == two);
            if by_number(&one, &two).is_le() && by_number(&two, &three).is_le() {
                prop_assert!(by_number(&one, &three).is_le());
            }
        }
    }
}

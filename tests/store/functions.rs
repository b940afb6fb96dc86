//! Every store function is exercised here, on both databases: the list is read from the source.

use std::{collections::BTreeSet, fs, path::Path};

fn source_of(folder: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    fs::read_dir(folder).unwrap().map(|entry| fs::read_to_string(entry.unwrap().path()).unwrap()).collect()
}

fn untested<'a>(source: &'a str, tests: &str) -> (usize, BTreeSet<&'a str>) {
    let functions: Vec<&str> = source.split("pub async fn ").skip(1).filter_map(|rest| rest.split(['(', '<']).next()).collect();
    let called = |name: &str| tests.contains(&format!(".{name}(")) || tests.contains(&format!("Store::{name}("));
    (functions.len(), functions.into_iter().filter(|name| !called(name)).collect())
}

#[test]
fn every_store_function_has_a_test() {
    let (source, tests) = (source_of("src/store"), source_of("tests/store"));
    let (count, untested_functions) = untested(&source, &tests);
    assert!(count > 70, "only {count} functions were found");
    assert!(untested_functions.is_empty(), "without a test: {untested_functions:?}");

    // The same search finds a function nobody calls.
    assert_eq!(untested("    pub async fn forgotten(&self) {}", "store.remembered()").1, BTreeSet::from(["forgotten"]));
}

//! What the package rests on: licences, sources and duplicates against lists with reasons. Needs no network.

use cargo_metadata::{Metadata, MetadataCommand, Package};
use std::collections::{BTreeMap, BTreeSet};

const MANIFEST: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");

/// Licences that ask for nothing but a notice.
const ALLOWED: &[&str] = &[
    "MIT",
    "MIT-0",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "ISC",
    "Zlib",
    "0BSD",
    "BSL-1.0",
    "CC0-1.0",
    "Unlicense",
    // The Unicode tables inside regex-syntax, unicode-ident and ICU.
    "Unicode-3.0",
    // File by file, not on what links it.
    "MPL-2.0",
];

/// Packages that are built in more than one version, and who keeps the older one. Both directions are checked: a duplicate
/// that is gone leaves the list.
const DUPLICATES: &[(&str, &str)] = &[
    ("base64", "soketto, sqlx and ours are on 0.22; rmcp is on 0.23"),
    ("block-buffer", "digest 0.10 beside 0.11"),
    ("chacha20", "chacha20poly1305 is on 0.9; rand 0.10 on 0.10"),
    ("const-oid", "digest 0.10 beside 0.11"),
    ("cpufeatures", "digest 0.10 beside 0.11"),
    ("crypto-common", "digest 0.10 beside 0.11"),
    ("digest", "argon2, ed25519-dalek and our sha2 are on 0.10; sqlx and rmcp are on 0.11"),
    ("getrandom", "one for each rand"),
    ("hashbrown", "sqlx's hashlink is one version behind indexmap"),
    ("rand", "soketto is on 0.8, ours on 0.9, rmcp and sqlx on 0.10"),
    ("rand_chacha", "rand 0.8 beside 0.9"),
    ("rand_core", "one for each rand"),
    ("sha1", "soketto is on 0.10; sqlx-mysql, listed but not built, is on 0.11"),
    ("sha2", "ed25519-dalek and ours are on 0.10; sqlx and rmcp are on 0.11"),
    ("syn", "macros move from 2 to 3; nothing of it is in the binary"),
];

/// Packages of this repository.
const OURS: &[&str] = &["interlock", "interlock-model", "interlock-proxy", "interlock-rotating", "interlock-wire"];

/// Packages that would break the promise that a Rust toolchain and a C compiler build it.
const REFUSED: &[&str] = &["openssl-sys", "native-tls", "aws-lc-sys", "cmake", "bindgen"];

#[test]
fn every_licence_is_allowed() {
    let refused: Vec<_> = packages().into_iter().filter(|package| !is_allowed(package.license.as_deref().unwrap_or("none"))).collect();
    assert!(refused.is_empty(), "{:?}", refused.iter().map(|package| (&package.name, &package.license)).collect::<Vec<_>>());
}

#[test]
fn a_licence_is_read_as_it_is_written() {
    for allowed in
        ["MIT", "MIT/Apache-2.0", "GPL-3.0 OR MIT", "(MIT OR GPL-3.0) AND Unicode-3.0", "Apache-2.0 WITH LLVM-exception OR GPL-2.0"]
    {
        assert!(is_allowed(allowed), "{allowed}");
    }
    for refused in ["AGPL-3.0", "none", "MIT AND GPL-3.0", "(AGPL-3.0 OR GPL-3.0) AND MIT", "Apache-2.0 WITH other-exception"] {
        assert!(!is_allowed(refused), "{refused}");
    }
}

#[test]
fn every_package_comes_from_the_registry() {
    let foreign: Vec<_> =
        packages().into_iter().filter(|package| !OURS.contains(&package.name.as_str()) && !is_registry(package)).collect();
    assert!(foreign.is_empty(), "{:?}", foreign.iter().map(|package| (&package.name, &package.source)).collect::<Vec<_>>());
}

#[test]
fn duplicates_are_the_ones_listed() {
    let mut versions: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for package in packages() {
        versions.entry(package.name.to_string()).or_default().insert(package.version.to_string());
    }
    let found: BTreeMap<_, _> = versions.into_iter().filter(|(_, versions)| versions.len() > 1).collect();
    let listed: BTreeSet<&str> = DUPLICATES.iter().map(|(name, _)| *name).collect();

    let new: Vec<_> = found.iter().filter(|(name, _)| !listed.contains(name.as_str())).collect();
    assert!(new.is_empty(), "list them with a reason, or bring them together: {new:?}");
    let gone: Vec<_> = listed.iter().filter(|name| !found.contains_key(**name)).collect();
    assert!(gone.is_empty(), "no longer duplicated, take them off the list: {gone:?}");
}

#[test]
fn rust_and_a_c_compiler_build_it() {
    let refused: Vec<_> =
        packages().into_iter().filter(|package| REFUSED.contains(&package.name.as_str())).map(|package| package.name).collect();
    assert!(refused.is_empty(), "{refused:?}");
}

#[test]
fn the_mcp_library_is_pinned() {
    let metadata = metadata();
    let own = metadata.root_package().expect("the package is the root");
    let rmcp = own.dependencies.iter().find(|dependency| dependency.name == "rmcp").expect("rmcp is a dependency");
    assert_eq!(rmcp.req.to_string(), "=3.9.0");
}

/// Tells whether a licence expression can be met with allowed licences alone.
fn is_allowed(expression: &str) -> bool {
    let mut alternatives = split(expression, " OR ").into_iter().flat_map(|part| split(part, "/"));
    alternatives.any(|alternative| {
        split(alternative, " AND ").into_iter().all(|term| match term.strip_prefix('(').and_then(|term| term.strip_suffix(')')) {
            Some(inner) => is_allowed(inner),
            None => ALLOWED.contains(&term),
        })
    })
}

/// Splits at `separator` outside brackets.
fn split<'a>(expression: &'a str, separator: &str) -> Vec<&'a str> {
    let (mut parts, mut start, mut depth) = (Vec::new(), 0, 0);
    for (at, c) in expression.char_indices() {
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            _ if depth == 0 && at >= start && expression[at..].starts_with(separator) => {
                parts.push(expression[start..at].trim());
                start = at + separator.len();
            }
            _ => (),
        }
    }
    parts.push(expression[start..].trim());
    parts
}

fn is_registry(package: &Package) -> bool {
    package.source.as_ref().is_some_and(|source| source.repr == "registry+https://github.com/rust-lang/crates.io-index")
}

/// Returns the packages that are built here, tests included; those of other systems are not downloaded and so not looked at.
fn packages() -> Vec<Package> {
    let metadata = metadata();
    let resolved: BTreeSet<_> = metadata.resolve.expect("dependencies are resolved").nodes.into_iter().map(|node| node.id).collect();
    let packages: Vec<_> = metadata.packages.into_iter().filter(|package| resolved.contains(&package.id)).collect();
    assert!(packages.len() > 100, "only {} packages were found", packages.len());
    packages
}

fn metadata() -> Metadata {
    let host = std::process::Command::new("rustc").arg("-vV").output().expect("rustc runs").stdout;
    let host = String::from_utf8(host).expect("rustc speaks UTF-8");
    let host = host.lines().find_map(|line| line.strip_prefix("host: ")).expect("rustc says its host").to_owned();
    let options = vec!["--offline".to_owned(), "--locked".to_owned(), "--filter-platform".to_owned(), host];
    let read = || MetadataCommand::new().manifest_path(MANIFEST).other_options(options.clone()).exec();
    // A build downloads what it compiles; the lock file names more. Fetching is needed once after a clean clone.
    read()
        .or_else(|_| {
            let fetched = std::process::Command::new("cargo").args(["fetch", "--locked", "--manifest-path", MANIFEST]).output();
            assert!(fetched.expect("cargo runs").status.success(), "`cargo fetch --locked` failed");
            read()
        })
        .expect("cargo metadata runs offline")
}

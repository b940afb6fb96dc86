//! Secrets in a configuration: a reference where the value would stand, and the refusal of what looks like a secret written out.

use super::reader::Item;
use crate::model::service::SecretRef;

/// What a variable is called when its value is not for a file in version control.
const SECRET_WORDS: &[&str] = &["SECRET", "TOKEN", "PASSWORD", "API_KEY", "PRIVATE_KEY"];

/// How a secret is referred to.
pub const REFERENCES: &str = "refer to it: \"env:NAME\", \"file:/path\" or \"exec:program argument\"";

/// Tells a reference to nothing, and a value under this name that looks like a secret written out.
pub fn check(item: &Item<'_>, name: &str, value: &str) {
    match SecretRef::parse(value) {
        Some(SecretRef::Env(rest) | SecretRef::File(rest)) if rest.trim().is_empty() => {
            item.fault("refers to nothing", Some(REFERENCES.into()))
        }
        Some(SecretRef::Exec(argv)) if argv.is_empty() => item.fault("refers to nothing", Some(REFERENCES.into())),
        // The value is never repeated in the message: it may be the secret.
        None if !value.is_empty() && names_secret(name) => item.fault("looks like a secret written out", Some(REFERENCES.into())),
        _ => (),
    }
}

/// Tells whether the query of an address gives a value to what is a secret by its name.
pub fn query_names_secret(address: &str) -> bool {
    let query = address.split_once('?').map_or("", |(_, query)| query);
    query.split('&').any(|pair| pair.split_once('=').is_some_and(|(name, value)| !value.is_empty() && names_secret(name)))
}

/// Tells whether what has this name is a secret, by all appearance.
pub fn names_secret(name: &str) -> bool {
    let name = name.to_ascii_uppercase().replace('-', "_");
    SECRET_WORDS.iter().any(|word| name.contains(word))
}

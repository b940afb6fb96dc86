//! Host names as services claim them and as requests carry them.

use std::collections::BTreeMap;

/// The longest host name.
const LONGEST: usize = 253;

/// Returns a claim as it is compared: `shop.example.test`, or `*.example.test` for any one label; `None` when it is no host.
pub fn claim(text: &str) -> Option<String> {
    let text = text.to_ascii_lowercase();
    let name = text.strip_prefix("*.").unwrap_or(&text);
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let is_address = text.starts_with('[') && text.ends_with(']') && text[1..text.len() - 1].parse::<std::net::Ipv6Addr>().is_ok();
    (is_address || (text.len() <= LONGEST && name.split('.').all(is_label))).then_some(text)
}

/// Returns a request's host as claims are compared with it: lower case, without port and without the root's dot.
pub fn asked(host: &str) -> String {
    let host = host.to_ascii_lowercase();
    let end = match host.rfind(']') {
        Some(bracket) => bracket + 1,
        None => host.find(':').unwrap_or(host.len()),
    };
    let name = &host[..end];
    name.strip_suffix('.').unwrap_or(name).to_owned()
}

/// Returns what belongs to a host: an exact claim goes before a wildcard.
pub fn find<'a, T>(claims: &'a BTreeMap<String, T>, host: &str) -> Option<&'a T> {
    let host = asked(host);
    claims.get(&host).or_else(|| claims.get(&format!("*.{}", host.split_once('.')?.1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_found_by_its_name_alone() {
        let claims: BTreeMap<String, u8> =
            [("shop.example.test", 1), ("*.example.test", 2), ("[::1]", 3), ("127.0.0.1", 4)].map(|(name, id)| (name.into(), id)).into();
        for (host, found) in [
            ("shop.example.test", Some(1)),
            ("SHOP.example.TEST:8080", Some(1)),
            ("shop.example.test.", Some(1)),
            ("shop.example.test.:80", Some(1)),
            ("blog.example.test", Some(2)),
            ("a.blog.example.test", None),
            ("example.test", None),
            ("[::1]:80", Some(3)),
            ("127.0.0.1:80", Some(4)),
            ("", None),
            ("shop", None),
            ("*.example.test", Some(2)),
        ] {
            assert_eq!(find(&claims, host).copied(), found, "{host}");
        }
    }

    #[test]
    fn a_claim_is_a_host() {
        assert_eq!(claim("Shop.Example.test").as_deref(), Some("shop.example.test"));
        assert_eq!(claim("*.Example.test").as_deref(), Some("*.example.test"));
        for good in ["a", "localhost", "127.0.0.1", "[::1]", "a_b.test", "xn--bcher-kva.example"] {
            assert_eq!(claim(good).as_deref(), Some(good));
        }
        for bad in ["", "*", "*.", "*.*.a", "a.*", "a*.b", "a:80", "a/b", "a..b", ".a", "a.", "-a", "a b", "[x]", "[::1]:80", "ü"] {
            assert_eq!(claim(bad), None, "{bad}");
        }
        assert_eq!(claim(&format!("{}.test", "a".repeat(64))), None);
        assert_eq!(claim(&["a"; 150].join(".")), None);
    }
}

//! What a returning client is known by: the cookie, its reading, its setting, and where a value always leads.

use http::{HeaderMap, HeaderValue, header};
use interlock_model::{Sha256, Stickiness};
use interlock_wire::headers::Ask;

/// The router's own cookie.
pub const COOKIE: &str = "interlock_release";

/// Which release a request would like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wish {
    /// Any: by weight.
    Any,
    /// The one with this id.
    Release(String),
    /// The one this value leads to.
    Value(Vec<u8>),
}

/// Returns the id of a version's set as clients see it: it tells two apart and says nothing.
pub fn release_id(version: &str) -> String {
    Sha256::of(format!("interlock release {version}").as_bytes()).0[..16].to_owned()
}

/// Returns what a request would like.
pub fn wish(stickiness: &Stickiness, ask: &Ask) -> Wish {
    match stickiness {
        Stickiness::None => Wish::Any,
        Stickiness::Cookie => cookies(&ask.head.headers).filter_map(own_value).next().map_or(Wish::Any, |id| Wish::Release(id.to_owned())),
        Stickiness::Header { name } => ask.header(name).map_or(Wish::Any, |value| Wish::Value(value.as_bytes().to_vec())),
    }
}

/// Takes the router's cookie out of a head: the application never sees it.
pub fn strip(headers: &mut HeaderMap) {
    if !cookies(headers).any(|pair| own_value(pair).is_some()) {
        return;
    }
    let others: Vec<_> = cookies(headers).filter(|pair| own_value(pair).is_none()).collect();
    let others = HeaderValue::from_str(&others.join("; ")).ok().filter(|value| !value.is_empty());
    headers.remove(header::COOKIE);
    headers.extend(others.map(|value| (header::COOKIE, value)));
}

/// Returns the header that makes a client come back to a release.
pub fn set_cookie(release: &str) -> HeaderValue {
    let cookie = format!("{COOKIE}={release}; Path=/; HttpOnly; SameSite=Lax");
    HeaderValue::from_str(&cookie).expect("hex digits make a readable value")
}

/// Returns which release a value leads to: always the same, and when a weight grows, only to the one that grew (weighted rendezvous).
pub fn rendezvous<'a>(value: &[u8], releases: impl Iterator<Item = (&'a str, i64)>) -> Option<&'a str> {
    let scored = releases.filter(|(_, weight)| *weight > 0).map(|(release, weight)| {
        let digest = Sha256::of(&[release.as_bytes(), b" ", value].concat()).0;
        let drawn = u64::from_str_radix(&digest[..13], 16).expect("a digest is hex digits");
        // 52 bits, and never 0 or 1: exactly a float between them.
        let drawn = (drawn as f64 + 0.5) / (1u64 << 52) as f64;
        (release, -(weight as f64) / drawn.ln())
    });
    scored.max_by(|one, other| one.1.total_cmp(&other.1)).map(|(release, _)| release)
}

fn cookies(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let values = headers.get_all(header::COOKIE).into_iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(';')).map(str::trim).filter(|pair| !pair.is_empty())
}

fn own_value(pair: &str) -> Option<&str> {
    pair.strip_prefix(COOKIE)?.strip_prefix('=')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (http::HeaderName::from_static(name), HeaderValue::from_str(value).unwrap())).collect()
    }

    fn asked(headers: &HeaderMap) -> Ask {
        let mut request = http::Request::new(());
        *request.headers_mut() = headers.clone();
        interlock_wire::headers::prepare(request.into_parts().0, &HeaderValue::from_static("10.0.0.1"))
    }

    #[test]
    fn a_cookie_is_read_and_taken_out_again() {
        let mut asks = headers(&[("cookie", "a=1; interlock_release=abc; b=2")]);
        assert_eq!(wish(&Stickiness::Cookie, &asked(&asks)), Wish::Release("abc".into()));
        assert_eq!(wish(&Stickiness::None, &asked(&asks)), Wish::Any);
        strip(&mut asks);
        assert_eq!(asks["cookie"], "a=1; b=2");
        let mut only = headers(&[("cookie", "interlock_release=abc")]);
        strip(&mut only);
        assert!(only.is_empty());
        let mut other = headers(&[("cookie", "xinterlock_release=abc;; a=\"b; c\"")]);
        let before = other.clone();
        strip(&mut other);
        assert_eq!(other, before, "what is not ours stays as it is");
        assert_eq!(wish(&Stickiness::Cookie, &asked(&other)), Wish::Any);
    }

    #[test]
    fn a_header_is_read() {
        let by_user = Stickiness::Header { name: "X-User".into() };
        assert_eq!(wish(&by_user, &asked(&headers(&[("x-user", "ann")]))), Wish::Value(b"ann".to_vec()));
        assert_eq!(wish(&by_user, &asked(&headers(&[]))), Wish::Any);
        let by_address = Stickiness::Header { name: "X-Forwarded-For".into() };
        assert_eq!(wish(&by_address, &asked(&headers(&[("x-forwarded-for", "1.2.3.4")]))), Wish::Value(b"1.2.3.4, 10.0.0.1".to_vec()));
    }

    #[test]
    fn the_cookie_is_for_the_router_alone() {
        let cookie = set_cookie(&release_id("1.0.0"));
        let text = cookie.to_str().unwrap();
        assert!(text.ends_with("; Path=/; HttpOnly; SameSite=Lax") && !text.contains("1.0.0"), "{text}");
        assert_ne!(release_id("1"), release_id("2"));
    }

    #[test]
    fn values_spread_by_weight_and_move_only_to_what_grows() {
        let lead = |value: u32, new: i64| rendezvous(&value.to_be_bytes(), [("old", 100 - new), ("new", new)].into_iter()).unwrap();
        let share = |new| (0..10_000).filter(|value| lead(*value, new) == "new").count();
        assert!((900..1_100).contains(&share(10)) && (4_800..5_200).contains(&share(50)), "{} {}", share(10), share(50));
        assert_eq!((share(0), share(100)), (0, 10_000));
        assert!((0..10_000).all(|value| lead(value, 10) == "old" || lead(value, 50) == "new"), "nobody goes back while the weight grows");
        assert_eq!(rendezvous(b"x", [("a", 0)].into_iter()), None);
    }
}

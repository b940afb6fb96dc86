//! A figure from a JSON document: an endpoint, and where in its answer the number stands.

use super::{
    MetricsSource, NoData, SourceError,
    endpoint::{Endpoint, filled},
};
use crate::model::{metric::is_pointer, text::visible_line};
use async_trait::async_trait;
use serde_json::Value;
use std::time::Duration;

/// Where in a JSON document a value stands: RFC 6901.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pointer(String);

/// Fetches a JSON document and takes one number out of it.
#[derive(Clone)]
pub struct JsonSource {
    endpoint: Endpoint,
    pointer: Pointer,
    timeout: Duration,
}

impl Pointer {
    /// Checks that the text is a pointer.
    pub fn parse(text: &str) -> Result<Self, SourceError> {
        if is_pointer(text) { Ok(Pointer(text.to_owned())) } else { Err(SourceError::Pointer(visible_line(text, 80))) }
    }

    /// Returns the number in this document. A text that looks like one is none.
    pub fn figure(&self, document: &[u8]) -> Result<f64, NoData> {
        let document: Value = serde_json::from_slice(document).map_err(|err| NoData::Malformed { message: err.to_string() })?;
        let found = document.pointer(&self.0).ok_or_else(|| NoData::Missing { pointer: self.0.clone() })?;
        let number = found.as_f64().filter(|value| value.is_finite());
        number.ok_or_else(|| NoData::NotANumber { found: visible_line(&found.to_string(), 80) })
    }
}

impl JsonSource {
    /// Returns a source that asks this address.
    pub fn new(url: &str, pointer: &str, timeout: Duration) -> Result<Self, SourceError> {
        Ok(JsonSource { endpoint: Endpoint::parse(url)?, pointer: Pointer::parse(pointer)?, timeout })
    }

    /// Sends these headers, too.
    pub fn with_headers(mut self, headers: Vec<(String, String)>) -> Self {
        self.endpoint.headers = headers;
        self
    }
}

#[async_trait]
impl MetricsSource for JsonSource {
    async fn read(&self, places: &[(&str, &str)]) -> Result<f64, NoData> {
        let path = filled(self.endpoint.path(), places);
        self.pointer.figure(&self.endpoint.fetch(&path, self.timeout, |_| None).await?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pointers_find_what_the_standard_says() {
        // RFC 6901, section 5.
        let document = br#"{"foo":["bar","baz"],"":0,"a/b":1,"c%d":2,"e^f":3,"g|h":4,"i\\j":5,"k\"l":6," ":7,"m~n":8}"#;
        let at = |pointer| Pointer::parse(pointer).unwrap().figure(document);
        for (pointer, value) in [
            ("/", 0.0),
            ("/a~1b", 1.0),
            ("/c%d", 2.0),
            ("/e^f", 3.0),
            ("/g|h", 4.0),
            ("/i\\j", 5.0),
            ("/k\"l", 6.0),
            ("/ ", 7.0),
            ("/m~0n", 8.0),
        ] {
            assert_eq!(at(pointer), Ok(value), "{pointer}");
        }
        assert_eq!(at("/foo/0"), Err(NoData::NotANumber { found: "\"bar\"".into() }));
        assert!(matches!(at(""), Err(NoData::NotANumber { .. })));
        for nothing in ["/foo/2", "/foo/-", "/foo/00", "/nothing", "/foo/0/x"] {
            assert_eq!(at(nothing), Err(NoData::Missing { pointer: nothing.into() }));
        }
        for wrong in ["foo", "#/foo", "/a~2b", "/a~"] {
            assert_eq!(Pointer::parse(wrong), Err(SourceError::Pointer(wrong.into())));
        }
    }

    #[test]
    fn only_a_number_is_a_number() {
        let at = |document: &str| Pointer::parse("/x").unwrap().figure(document.as_bytes());
        assert_eq!(at(r#"{"x":-1.5e3}"#), Ok(-1500.0));
        assert_eq!(at(r#"{"x":18446744073709551615}"#), Ok(18446744073709551615.0));
        for none in [r#"{"x":"5"}"#, r#"{"x":null}"#, r#"{"x":true}"#, r#"{"x":[1]}"#, r#"{"x":{}}"#] {
            assert!(matches!(at(none), Err(NoData::NotANumber { .. })), "{none}");
        }
        for broken in ["", "{", r#"{"x":NaN}"#, r#"{"x":1} 2"#, r#"{"x":1e999}"#, &"[".repeat(100_000)] {
            assert!(matches!(at(broken), Err(NoData::Malformed { .. })), "{}", &broken[..broken.len().min(20)]);
        }
    }
}

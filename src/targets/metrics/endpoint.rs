//! An address that figures are fetched from.

use super::{HEAD, MAX_BYTES, NoData, SourceError};
use crate::{
    model::{
        metric::{AddressFault, HttpAddress},
        text::visible_line,
    },
    targets::http::{Exchange, ExchangeError, escaped},
};
use hyper::{Uri, body::Bytes};
use std::time::Duration;

/// `http://host:port/path?query`, or `https://…`, and the headers that are sent there. They may be secrets: it is never shown.
#[derive(Clone)]
pub(super) struct Endpoint {
    address: HttpAddress,
    /// Sent with every request.
    pub headers: Vec<(String, String)>,
}

impl Endpoint {
    pub fn parse(url: &str) -> Result<Self, SourceError> {
        let wrong = |why| SourceError::Url { url: visible_line(url, HEAD), why };
        let address = HttpAddress::parse(url).map_err(wrong)?;
        // Places are filled later, always with what an address may hold.
        let path = address.path.replace(['{', '}'], "_").parse::<Uri>();
        path.map_err(|_| wrong(AddressFault("its path holds what must be written as `%XX`")))?;
        Ok(Endpoint { address, headers: Vec::new() })
    }

    /// Returns path and query as configured.
    pub fn path(&self) -> &str {
        &self.address.path
    }

    /// Returns the body of a success. A failure's body is handed to `explain` first, which may know better what it says.
    pub async fn fetch(&self, path: &str, timeout: Duration, explain: impl Fn(&[u8]) -> Option<NoData>) -> Result<Bytes, NoData> {
        self.exchange(path, None, timeout, explain).await
    }

    /// Sends a JSON document; returns the body of a success.
    pub async fn post(&self, path: &str, json: &str, timeout: Duration) -> Result<Bytes, NoData> {
        self.exchange(path, Some(json), timeout, |_| None).await
    }

    async fn exchange(
        &self,
        path: &str,
        posts: Option<&str>,
        timeout: Duration,
        explain: impl Fn(&[u8]) -> Option<NoData>,
    ) -> Result<Bytes, NoData> {
        let host = self.address.authority();
        let body = posts.map(str::to_owned);
        let get = Exchange { host: &host, path, agent: "interlock-metrics", headers: &self.headers, body, timeout, max_body: MAX_BYTES };
        let answer = get.at(&self.address).await.map_err(|err| match err {
            ExchangeError::Failed(message) => NoData::Unreachable { message },
            ExchangeError::TimedOut(_) => NoData::TimedOut { after_ms: timeout.as_millis() as u64 },
            ExchangeError::TooLarge { limit, .. } => NoData::TooLarge { limit: limit as u64 },
        })?;
        match answer.status {
            200..=299 => Ok(answer.body),
            status @ 300..=399 => {
                Err(NoData::Redirected { status, to: visible_line(&answer.header("location").unwrap_or_default(), HEAD) })
            }
            status => Err(explain(&answer.body).unwrap_or_else(|| NoData::BadStatus { status, head: head(&answer.body) })),
        }
    }
}

/// Fills the places of a path or query, each value written as an address may hold it.
pub(super) fn filled(path: &str, places: &[(&str, &str)]) -> String {
    places.iter().fold(path.to_owned(), |path, (name, value)| path.replace(&format!("{{{name}}}"), &escaped(value)))
}

/// Returns the beginning of a body, for people.
pub(super) fn head(body: &[u8]) -> String {
    visible_line(&String::from_utf8_lossy(body), HEAD)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_cannot_change_what_is_asked() {
        assert_eq!(filled("/x?v={version}&w={other}", &[("version", "1&w=2 é/..")]), "/x?v=1%26w%3D2%20%C3%A9%2F..&w={other}");
    }
}

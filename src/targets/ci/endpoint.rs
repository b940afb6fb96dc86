//! The API of a CI platform: one exchange at a time, its secrets taken out of whatever is said about it.

use crate::{
    model::{
        ci::{CiAccess, CiFault},
        metric::HttpAddress,
        text::visible_line,
    },
    shim::redact::Redactor,
    targets::{
        http::{Answer, Exchange, ExchangeError},
        job::revealed,
    },
};
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::time::Duration;

/// No more is read of one answer: a page of 100 checks is below 1 MB.
const MAX_BYTES: usize = 8 << 20;
/// How much of an answer is shown.
const HEAD: usize = 160;
/// No list has more pages of 100.
pub(super) const MOST_PAGES: usize = 30;

/// Where the API is, and the token that is sent there. It is never shown.
pub(super) struct Endpoint {
    address: HttpAddress,
    headers: Vec<(String, String)>,
    redactor: Redactor,
    timeout: Duration,
}

/// One answer that is a success.
pub(super) struct Page<T> {
    /// What it says.
    pub body: T,
    /// GitLab's number of the next page; none on the last one.
    pub next: Option<String>,
}

impl Endpoint {
    /// Returns the endpoint; the token is sent in `header`, after `scheme`.
    pub async fn resolved(access: &CiAccess, header: &str, scheme: &str) -> Result<Self, CiFault> {
        let values = std::iter::once(access.address.clone()).chain(access.token.clone()).collect();
        let (values, redactor) = revealed(values).await.map_err(|error| CiFault::Unusable(error.to_string()))?;
        let mut values = values.into_iter();
        let address = values.next().expect("there is an address");
        let address = HttpAddress::parse(&address).map_err(|why| CiFault::Unusable(format!("its address cannot be asked: {why}")))?;
        let token = values.next().map(|token| (header.to_owned(), format!("{scheme}{}", token.trim())));
        Ok(Endpoint { address, headers: token.into_iter().collect(), redactor, timeout: Duration::from_millis(access.timeout_ms) })
    }

    /// Sends this header, too.
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Returns what stands at `path`, below the configured address; `what` says what is asked for, to people.
    pub async fn get<T: DeserializeOwned>(&self, path: &str, what: &str) -> Result<Page<T>, CiFault> {
        let answer = self.exchange(path, None, what).await?;
        let body = serde_json::from_slice(&answer.body).map_err(|err| self.malformed(&err))?;
        Ok(Page { body, next: answer.header("x-next-page").filter(|page| !page.is_empty()) })
    }

    /// Sends `body` to `path`, and returns what is answered; none for an answer without a body.
    pub async fn post<T: DeserializeOwned>(&self, path: &str, body: &Value, what: &str) -> Result<Option<T>, CiFault> {
        let answer = self.exchange(path, Some(body), what).await?;
        match answer.body.is_empty() {
            true => Ok(None),
            false => serde_json::from_slice(&answer.body).map(Some).map_err(|err| self.malformed(&err)),
        }
    }

    async fn exchange(&self, path: &str, body: Option<&Value>, what: &str) -> Result<Answer, CiFault> {
        let host = self.address.authority();
        let path = format!("{}{path}", self.address.path.trim_end_matches('/'));
        let exchange = Exchange {
            host: &host,
            path: &path,
            agent: "interlock-ci",
            headers: &self.headers,
            body: body.map(Value::to_string),
            timeout: self.timeout,
            max_body: MAX_BYTES,
        };
        let answer = exchange.at(&self.address).await.map_err(|err| match err {
            ExchangeError::TimedOut(_) => CiFault::TimedOut { after_ms: exchange.timeout.as_millis() as u64 },
            other => CiFault::Unreachable(self.said(&other.to_string())),
        })?;
        let (what, head) = (what.to_owned(), || self.said(&String::from_utf8_lossy(&answer.body)));
        Err(match answer.status {
            200..=299 => return Ok(answer),
            401 => CiFault::Unauthorized,
            403 | 429 if is_limited(&answer) => CiFault::RateLimited { after_seconds: wait(&answer) },
            403 => CiFault::Forbidden { what, head: head() },
            status @ (404 | 410) => CiFault::Missing { what, status },
            // GitHub's answer for a commit that it does not have.
            status @ 422 if what.starts_with("commit") => CiFault::Missing { what, status },
            status => CiFault::Refused { status, what, head: head() },
        })
    }

    fn malformed(&self, err: &serde_json::Error) -> CiFault {
        CiFault::Malformed(self.said(&err.to_string()))
    }

    fn said(&self, text: &str) -> String {
        visible_line(&self.redactor.redacted(text.to_owned()), HEAD)
    }
}

/// Tells whether an answer says that too much was asked: GitHub by 403 or 429 with a header or a sentence, GitLab by 429.
fn is_limited(answer: &Answer) -> bool {
    let is_sentence = || String::from_utf8_lossy(&answer.body).to_lowercase().contains("rate limit");
    answer.status == 429
        || answer.header("x-ratelimit-remaining").as_deref() == Some("0")
        || answer.header("retry-after").is_some()
        || is_sentence()
}

/// Returns how long it asks to wait, as `retry-after` has it.
fn wait(answer: &Answer) -> Option<u64> {
    answer.header("retry-after")?.parse().ok()
}

/// Returns the id of a commit as it came, which goes into the next path: 40 or 64 hexadecimal digits.
pub(super) fn commit_id(came: String) -> Result<String, CiFault> {
    match [40, 64].contains(&came.len()) && came.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        true => Ok(came),
        false => Err(CiFault::Malformed(format!("`{}` is no commit", visible_line(&came, 64)))),
    }
}

/// Returns the fault of an answer about another commit than was asked; a commit's id has one spelling.
pub(super) fn same_commit(asked: &str, answered: &str) -> Result<(), CiFault> {
    match asked.eq_ignore_ascii_case(answered) {
        true => Ok(()),
        false => Err(CiFault::Other { asked: format!("commit {asked}"), answered: format!("commit {}", visible_line(answered, 64)) }),
    }
}

//! Tells somebody elsewhere of one notice: one exchange, its outcome, and nothing of what is secret in what is said about it.
//!
//! To add a kind of destination: a variant of [`DestinationKind`], a file here with its body, one arm in [`tell`].

mod inward;
mod slack;
mod webhook;

use super::{
    http::{Answer, Exchange, ExchangeError},
    job::revealed,
};
use crate::{
    model::{Destination, DestinationKind, Notice, Timestamp, metric::HttpAddress, text::visible_line},
    shim::redact::Redactor,
};
use std::time::Duration;

/// Patience with one exchange; Standard Webhooks recommends 15 to 30 s.
const PATIENCE: Duration = Duration::from_secs(15);
/// No more is read of an answer: nothing depends on what it says.
const MAX_BYTES: usize = 64 << 10;
/// How much of an answer is shown.
const HEAD: usize = 200;

/// A notice on its way.
pub struct Message<'a> {
    /// Its id, the same at each try.
    pub id: &'a str,
    /// When it is sent.
    pub at: Timestamp,
    /// What is told.
    pub notice: &'a Notice,
    /// Where the pages are: `http://localhost:8420`.
    pub pages: &'a str,
}

/// What came of telling.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answered {
    /// It was taken.
    Taken {
        /// What was answered, for people.
        said: String,
    },
    /// The receiver wants nothing any more: 410.
    Gone {
        /// What was answered.
        said: String,
    },
    /// It was not taken.
    Not {
        /// Why, for people.
        said: String,
        /// For how long the receiver asks to be left alone.
        retry_after: Option<Duration>,
    },
}

/// Tells a destination. Redirects are not followed, and what is inward is told only where configuration says that it is meant.
pub async fn tell(destination: &Destination, message: &Message<'_>) -> Answered {
    let not = |said: String| Answered::Not { said: visible_line(&said, HEAD), retry_after: None };
    let values = std::iter::once(destination.url.clone()).chain(destination.secret.clone()).collect();
    let (mut values, redactor) = match revealed(values).await {
        Ok(revealed) => revealed,
        Err(error) => return not(error.to_string()),
    };
    let secret = if values.len() > 1 { values.pop() } else { None };
    let address = match HttpAddress::parse(values[0].trim()) {
        Ok(address) if address.is_tls || destination.private => address,
        Ok(_) => return not("its address is not https, and it is not `private`".into()),
        Err(why) => return not(format!("its address cannot be asked: {why}")),
    };
    // Of an address that is a secret, no part is said; of one that is not, each is known.
    let hides = Hides { redactor, path: if values[0] == destination.url { String::new() } else { address.path.clone() } };
    let body = match destination.kind {
        DestinationKind::Webhook => webhook::body(message),
        DestinationKind::Slack => slack::body(message),
    };
    let headers = match (destination.kind, secret) {
        (DestinationKind::Slack, _) => Ok(Vec::new()),
        (DestinationKind::Webhook, Some(secret)) => webhook::headers(&secret, message, &body),
        (DestinationKind::Webhook, None) => Err("nothing signs it"),
    };
    let headers = match headers {
        Ok(headers) => headers,
        Err(why) => return not(why.into()),
    };
    let host = address.authority();
    let exchange = Exchange {
        host: &host,
        path: &address.path,
        agent: "interlock-notify",
        headers: &headers,
        body: Some(body),
        timeout: PATIENCE,
        max_body: MAX_BYTES,
    };
    let may_be_told = if destination.private { inward::anywhere } else { inward::is_public };
    match exchange.at_allowed(&address, may_be_told).await {
        Ok(answer) => answered(&answer, &hides),
        // It was taken, whatever else came.
        Err(ExchangeError::TooLarge { status: 200..=299, .. }) => Answered::Taken { said: "taken".into() },
        Err(error) => not(hides.hidden(error.to_string())),
    }
}

/// What is taken out of whatever is said.
struct Hides {
    redactor: Redactor,
    path: String,
}

impl Hides {
    fn hidden(&self, text: String) -> String {
        let text = self.redactor.redacted(text);
        if self.path.len() > 1 { text.replace(&self.path, "[redacted]") } else { text }
    }
}

fn answered(answer: &Answer, hides: &Hides) -> Answered {
    let head = visible_line(&hides.hidden(String::from_utf8_lossy(&answer.body).into_owned()), HEAD);
    let said = match answer.status {
        300..=399 => format!("answered {}; redirects are not followed", answer.status),
        status if head.trim().is_empty() => format!("answered {status}"),
        status => format!("answered {status}: {head}"),
    };
    match answer.status {
        200..=299 => Answered::Taken { said },
        410 => Answered::Gone { said },
        _ => {
            let seconds = answer.header("retry-after").and_then(|value| value.trim().parse().ok());
            Answered::Not { said, retry_after: seconds.map(Duration::from_secs) }
        }
    }
}

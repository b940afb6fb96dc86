//! Responses: the proxy's own, and an instance's body with the claim that lives until it ends.

use super::{
    instance::{Claim, Outcome},
    told::Told,
};
use http::{HeaderValue, Response, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Bytes, Frame, SizeHint};
use interlock_wire::{BoxError, Download, headers};
use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

/// The body of a response to a client.
pub type Answer = interlock_wire::Body;

/// Returns the proxy's own answer, which says so.
pub fn own(status: StatusCode, why: &'static str) -> Response<Answer> {
    let text = match why {
        "no_such_host" => format!("{status}: no service here answers for this host ({why})\n"),
        _ => format!("{status}: {why}\n"),
    };
    let mut response = Response::new(full(text));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(headers::ERROR, HeaderValue::from_static(why));
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    if status == StatusCode::SERVICE_UNAVAILABLE {
        headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    }
    if status == StatusCode::BAD_REQUEST || status == StatusCode::GATEWAY_TIMEOUT {
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// Returns a body that is there already.
pub fn full(text: impl Into<Bytes>) -> Answer {
    Full::new(text.into()).map_err(Into::into).boxed_unsync()
}

/// An instance's body on its way to the client; the request stays counted until it ends.
pub struct Relayed {
    body: Download,
    open: Option<Claim>,
    told: Told,
    is_event_stream: bool,
}

impl Relayed {
    /// Returns the body of a response whose head has come.
    pub fn new(body: Download, claim: Claim, told: Told, is_event_stream: bool) -> Self {
        Relayed { body, open: Some(claim), told, is_event_stream }
    }

    fn end(&mut self, outcome: Outcome) {
        let Some(mut claim) = self.open.take() else {
            return;
        };
        claim.end(outcome);
        // One that answered with an error may be about to close: with a body it had no wish to read, the next request would be lost.
        if outcome == Outcome::Completed
            && !claim.is_server_error()
            && !claim.instance.is_draining()
            && let Some(connection) = self.body.release()
        {
            claim.instance.pool.put(connection);
        }
    }
}

impl Body for Relayed {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if self.open.is_some() && Pin::new(&mut self.told).poll(cx).is_ready() {
            if self.is_event_stream {
                // A stream without an end is ended properly: its client connects again, to the set in force.
                self.end(Outcome::Drained);
                return Poll::Ready(None);
            }
            self.end(Outcome::Cut);
            return Poll::Ready(Some(Err("cut: the instance is being retired".into())));
        }
        if self.open.is_none() {
            return Poll::Ready(None);
        }
        match Pin::new(&mut self.body).poll_frame(cx) {
            Poll::Ready(None) => {
                self.end(Outcome::Completed);
                Poll::Ready(None)
            }
            Poll::Ready(Some(Err(err))) => {
                self.end(Outcome::Cut);
                Poll::Ready(Some(Err(err)))
            }
            other => {
                if let (Poll::Ready(Some(Ok(frame))), Some(claim)) = (&other, &mut self.open) {
                    claim.passed(frame.data_ref().map_or(0, Bytes::len));
                }
                if self.body.is_end_stream() {
                    self.end(Outcome::Completed);
                }
                other
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Relayed {
    fn drop(&mut self) {
        // Nobody polls a body that is empty from the start. One dropped before its end lost its client: its connection goes with it.
        if self.body.is_end_stream() {
            self.end(Outcome::Completed);
        }
    }
}

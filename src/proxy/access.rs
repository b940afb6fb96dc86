//! The access log: one JSON object per request that has ended, written by a thread of its own. No request ever waits for it: what does
//! not fit its queue is counted and left out.

use super::instance::Instance;
use crate::{
    model::{Clock, SystemClock, Timestamp},
    rotating::{FILE_BYTES, KEEP, Rotating},
};
use http::{header, request::Parts};
use serde::Serialize;
use std::{
    net::IpAddr,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    time::{Duration, Instant},
};

/// The most lines that wait to be written.
const QUEUE: usize = 4096;

/// The most of a path that is written down.
const LONGEST: usize = 1024;

/// Where ended requests are written down.
#[derive(Debug, Clone)]
pub struct AccessLog {
    queue: Option<SyncSender<Message>>,
    left_out: Arc<AtomicU64>,
}

enum Message {
    Line(Box<Line>),
    Flush(SyncSender<()>),
}

#[derive(Debug, Serialize)]
struct Line {
    at: String,
    service: String,
    client: IpAddr,
    method: String,
    host: String,
    path: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    authorization: Option<&'static str>,
    status: u16,
    version: Option<String>,
    instance: Option<String>,
    outcome: &'static str,
    bytes: u64,
    ms: f64,
    /// Lines left out before this one.
    #[serde(skip_serializing_if = "is_zero")]
    left_out: u64,
}

impl AccessLog {
    /// Returns a log that writes nothing.
    pub fn off() -> Self {
        AccessLog { queue: None, left_out: Arc::default() }
    }

    /// Returns the log in a folder, `access.log`.
    pub fn in_folder(dir: &Path) -> Self {
        let file = Rotating::open(dir.join("access.log"), FILE_BYTES, KEEP);
        let (queue, lines) = sync_channel(QUEUE);
        let writer = std::thread::Builder::new().name("access-log".into()).stack_size(256 << 10).spawn(move || write(file, &lines));
        match writer {
            Ok(_) => AccessLog { queue: Some(queue), left_out: Arc::default() },
            Err(_) => AccessLog::off(),
        }
    }

    /// Returns what is known of a request at its beginning; `None` when nothing is written.
    pub fn begin(&self, service: &str, head: &Parts, client: IpAddr) -> Option<Record> {
        self.queue.as_ref()?;
        let text = |name| head.headers.get(name).and_then(|value: &http::HeaderValue| value.to_str().ok()).unwrap_or_default().to_owned();
        let line = Line {
            at: String::new(),
            service: service.to_owned(),
            client,
            method: head.method.to_string(),
            host: text(header::HOST),
            path: redacted(head.uri.path(), head.uri.query()),
            authorization: head.headers.contains_key(header::AUTHORIZATION).then_some("[redacted]"),
            status: 0,
            version: None,
            instance: None,
            outcome: "",
            bytes: 0,
            ms: 0.0,
            left_out: 0,
        };
        Some(Record { log: self.clone(), at: SystemClock.now(), began: Instant::now(), line: Box::new(line) })
    }

    /// Returns when what was queued is in the file, or after a second.
    pub fn flush(&self) {
        let (done, flushed) = sync_channel(1);
        if self.queue.as_ref().is_some_and(|queue| queue.try_send(Message::Flush(done)).is_ok()) {
            let _ = flushed.recv_timeout(Duration::from_secs(1));
        }
    }
}

/// A request that is written down when it has ended.
#[derive(Debug)]
pub struct Record {
    log: AccessLog,
    at: Timestamp,
    began: Instant,
    line: Box<Line>,
}

impl Record {
    /// Writes it down.
    pub fn ended(self, status: Option<u16>, instance: Option<&Instance>, outcome: &'static str, bytes: u64) {
        let Record { log, at, began, mut line } = self;
        let Some(queue) = &log.queue else { return };
        line.at = at.to_string();
        line.status = status.unwrap_or(0);
        line.version = instance.map(|instance| instance.version.clone());
        line.instance = instance.map(|instance| instance.id.to_string());
        (line.outcome, line.bytes) = (outcome, bytes);
        line.ms = began.elapsed().as_micros() as f64 / 1000.0;
        line.left_out = log.left_out.swap(0, Relaxed);
        let left_out = line.left_out;
        if queue.try_send(Message::Line(line)).is_err() {
            log.left_out.fetch_add(left_out + 1, Relaxed);
        }
    }
}

fn write(mut file: Rotating, messages: &Receiver<Message>) {
    let (mut lines, mut flushed) = (Vec::new(), Vec::new());
    while let Ok(first) = messages.recv() {
        for message in std::iter::once(first).chain(messages.try_iter().take(QUEUE)) {
            match message {
                Message::Line(line) => {
                    if serde_json::to_writer(&mut lines, &line).is_ok() {
                        lines.push(b'\n');
                    }
                }
                Message::Flush(done) => flushed.push(done),
            }
        }
        if !lines.is_empty() {
            file.make_room(lines.len() as u64);
            // On a full disk it is lost: traffic matters more.
            let _ = file.append(&lines);
            lines.clear();
            lines.shrink_to(64 << 10);
        }
        flushed.drain(..).for_each(|done| _ = done.try_send(()));
    }
}

/// Returns path and query with every value of the query taken out: they hold tokens and names.
fn redacted(path: &str, query: Option<&str>) -> String {
    let mut text = path.to_owned();
    for (index, pair) in query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty()).enumerate() {
        text.push(if index == 0 { '?' } else { '&' });
        // Without a name the whole of it may be a secret.
        match pair.split_once('=') {
            Some((name, _)) => text.extend([name, "=…"]),
            None => text.push('…'),
        }
    }
    if text.len() > LONGEST {
        text.truncate(text.floor_char_boundary(LONGEST));
        text.push('…');
    }
    text
}

fn is_zero(count: &u64) -> bool {
    *count == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    fn head(uri: &str) -> Parts {
        let request = http::Request::get(uri).header("host", "a.test").header("authorization", "Bearer s3cret").header("cookie", "s3cret");
        request.body(()).unwrap().into_parts().0
    }

    fn lines(dir: &Path) -> Vec<Value> {
        let text = std::fs::read_to_string(dir.join("access.log")).unwrap();
        assert!(!text.contains("s3cret"), "{text}");
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    #[test]
    fn a_request_is_written_down_without_its_secrets() {
        let dir = tempfile::tempdir().unwrap();
        let log = AccessLog::in_folder(dir.path());
        let begin = |uri: &str| log.begin("web", &head(uri), [10, 0, 0, 1].into()).unwrap();
        begin("/a/b?token=s3cret&s3cret&x=&y=1=s3cret").ended(Some(200), None, "completed", 7);
        begin(&format!("/{}", "ä".repeat(1000))).ended(None, None, "cut", 0);
        log.flush();
        let lines = lines(dir.path());
        assert_eq!(lines[0]["path"], "/a/b?token=…&…&x=…&y=…");
        assert_eq!((&lines[0]["status"], &lines[0]["bytes"], &lines[0]["authorization"]), (&200.into(), &7.into(), &"[redacted]".into()));
        assert_eq!((&lines[1]["status"], &lines[1]["outcome"]), (&0.into(), &"cut".into()));
        assert!(lines[1]["path"].as_str().unwrap().len() < LONGEST + 4);
        assert!(AccessLog::off().begin("web", &head("/"), [10, 0, 0, 1].into()).is_none());
    }

    #[test]
    fn a_full_queue_leaves_out_and_says_so() {
        let (queue, messages) = sync_channel(1);
        let log = AccessLog { queue: Some(queue), left_out: Arc::default() };
        for _ in 0..4 {
            log.begin("web", &head("/"), [10, 0, 0, 1].into()).unwrap().ended(Some(200), None, "completed", 0);
        }
        assert_eq!(log.left_out.load(Relaxed), 3);
        assert!(matches!(messages.try_recv(), Ok(Message::Line(line)) if line.left_out == 0));
        log.begin("web", &head("/"), [10, 0, 0, 1].into()).unwrap().ended(Some(200), None, "completed", 0);
        assert!(matches!(messages.try_recv(), Ok(Message::Line(line)) if line.left_out == 3));
    }
}

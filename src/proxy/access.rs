//! The access log: one JSON object per request that has ended, written by a thread of its own. No request ever waits for it: what does
//! not fit its queue is counted and left out. What makes a line of it is done there, many lines at a time.

use super::instance::Instance;
use http::{Method, header, request::Parts};
use interlock_model::{Clock, SystemClock, Timestamp};
use interlock_rotating::{FILE_BYTES, KEEP, Rotating};
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

/// How long lines are collected before they are written: to wake the writer for each would cost more than the request itself.
const COLLECTING: Duration = Duration::from_millis(20);

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

/// What is known of a request; the writer makes text of it.
#[derive(Debug)]
struct Line {
    at: Timestamp,
    service: Arc<String>,
    client: IpAddr,
    method: Method,
    host: String,
    path: String,
    has_authorization: bool,
    status: u16,
    instance: Option<Arc<Instance>>,
    outcome: &'static str,
    bytes: u64,
    ms: f64,
    left_out: u64,
}

/// A line as it is written.
#[derive(Debug, Serialize)]
struct Written<'a> {
    at: &'a str,
    service: &'a str,
    client: IpAddr,
    method: &'a str,
    host: &'a str,
    path: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    authorization: Option<&'static str>,
    status: u16,
    version: Option<&'a str>,
    instance: Option<&'a str>,
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
    pub fn begin(&self, service: &Arc<String>, head: &Parts, client: IpAddr) -> Option<Record> {
        self.queue.as_ref()?;
        let text = |name| head.headers.get(name).and_then(|value: &http::HeaderValue| value.to_str().ok()).unwrap_or_default().to_owned();
        let line = Line {
            at: SystemClock.now(),
            service: service.clone(),
            client,
            method: head.method.clone(),
            host: text(header::HOST),
            path: redacted(head.uri.path(), head.uri.query()),
            has_authorization: head.headers.contains_key(header::AUTHORIZATION),
            status: 0,
            instance: None,
            outcome: "",
            bytes: 0,
            ms: 0.0,
            left_out: 0,
        };
        Some(Record { log: self.clone(), began: Instant::now(), line: Box::new(line) })
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
    began: Instant,
    line: Box<Line>,
}

impl Record {
    /// Writes it down.
    pub fn ended(self, status: Option<u16>, instance: Option<&Arc<Instance>>, outcome: &'static str, bytes: u64) {
        let Record { log, began, mut line } = self;
        let Some(queue) = &log.queue else { return };
        line.status = status.unwrap_or(0);
        line.instance = instance.cloned();
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
    let (mut lines, mut flushed, mut second) = (Vec::new(), Vec::new(), Second::default());
    while let Ok(first) = messages.recv() {
        for message in std::iter::once(first).chain(messages.try_iter().take(QUEUE)) {
            match message {
                Message::Line(line) => {
                    if serde_json::to_writer(&mut lines, &line.written(second.text(line.at))).is_ok() {
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
        std::thread::sleep(COLLECTING);
    }
}

/// The second of the last line, and its text: the next line is most often of the same.
#[derive(Default)]
struct Second {
    number: i64,
    text: String,
}

impl Second {
    fn text(&mut self, at: Timestamp) -> &str {
        let number = at.0.div_euclid(1000);
        if self.text.is_empty() || self.number != number {
            *self = Second { number, text: at.to_string() };
        }
        &self.text
    }
}

impl Line {
    fn written<'a>(&'a self, at: &'a str) -> Written<'a> {
        Written {
            at,
            service: &self.service,
            client: self.client,
            method: self.method.as_str(),
            host: &self.host,
            path: &self.path,
            authorization: self.has_authorization.then_some("[redacted]"),
            status: self.status,
            version: self.instance.as_ref().map(|instance| instance.version.as_str()),
            instance: self.instance.as_ref().map(|instance| instance.id.as_str()),
            outcome: self.outcome,
            bytes: self.bytes,
            ms: self.ms,
            left_out: self.left_out,
        }
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
        let begin = |uri: &str| log.begin(&Arc::new("web".to_owned()), &head(uri), [10, 0, 0, 1].into()).unwrap();
        begin("/a/b?token=s3cret&s3cret&x=&y=1=s3cret").ended(Some(200), None, "completed", 7);
        begin(&format!("/{}", "ä".repeat(1000))).ended(None, None, "cut", 0);
        log.flush();
        let lines = lines(dir.path());
        assert_eq!(lines[0]["path"], "/a/b?token=…&…&x=…&y=…");
        assert_eq!((&lines[0]["status"], &lines[0]["bytes"], &lines[0]["authorization"]), (&200.into(), &7.into(), &"[redacted]".into()));
        assert_eq!((&lines[1]["status"], &lines[1]["outcome"]), (&0.into(), &"cut".into()));
        assert!(lines[1]["path"].as_str().unwrap().len() < LONGEST + 4);
        assert!(AccessLog::off().begin(&Arc::new("web".to_owned()), &head("/"), [10, 0, 0, 1].into()).is_none());
    }

    #[test]
    fn a_full_queue_leaves_out_and_says_so() {
        let (queue, messages) = sync_channel(1);
        let log = AccessLog { queue: Some(queue), left_out: Arc::default() };
        for _ in 0..4 {
            log.begin(&Arc::new("web".to_owned()), &head("/"), [10, 0, 0, 1].into()).unwrap().ended(Some(200), None, "completed", 0);
        }
        assert_eq!(log.left_out.load(Relaxed), 3);
        assert!(matches!(messages.try_recv(), Ok(Message::Line(line)) if line.left_out == 0));
        log.begin(&Arc::new("web".to_owned()), &head("/"), [10, 0, 0, 1].into()).unwrap().ended(Some(200), None, "completed", 0);
        assert!(matches!(messages.try_recv(), Ok(Message::Line(line)) if line.left_out == 3));
    }
}

//! Somebody who is told: a server on loopback that keeps every message, and can be told to answer otherwise. Signatures are verified by
//! Python's standard library, and not by the code that makes them.

use super::{PATIENCE, required};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    io::Write,
    net::SocketAddr,
    process::{Command, Stdio},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

/// A secret as the specification writes it; 24 bytes.
pub const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// A message that came.
#[derive(Debug, Clone)]
pub struct Came {
    pub path: String,
    pub headers: BTreeMap<String, String>,
    pub body: String,
}

/// How it answers.
#[derive(Debug, Clone)]
pub enum Answers {
    /// With this status line's rest and these headers.
    With(u16, String),
    /// Never.
    Never,
}

#[derive(Clone)]
pub struct Receiver {
    pub address: SocketAddr,
    came: Arc<Mutex<Vec<Came>>>,
    answers: Arc<Mutex<Answers>>,
}

impl Receiver {
    /// Starts one that takes everything.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let receiver = Receiver { address, came: Arc::default(), answers: Arc::new(Mutex::new(Answers::With(200, String::new()))) };
        let serving = receiver.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serving.clone().serve(stream));
            }
        });
        receiver
    }

    /// Answers so from now on.
    pub fn answers(&self, status: u16, headers: &str) {
        *self.answers.lock().unwrap() = Answers::With(status, headers.to_owned());
    }

    /// Takes every message, and never answers from now on.
    pub fn hangs(&self) {
        *self.answers.lock().unwrap() = Answers::Never;
    }

    /// Returns what came so far.
    pub fn came(&self) -> Vec<Came> {
        self.came.lock().unwrap().clone()
    }

    /// Waits until so many have come.
    pub async fn until(&self, count: usize) -> Vec<Came> {
        let deadline = Instant::now() + PATIENCE;
        while self.came().len() < count {
            assert!(Instant::now() < deadline, "{} of {count} messages came: {:#?}", self.came().len(), self.came());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        self.came()
    }

    async fn serve(self, mut stream: TcpStream) {
        let mut read = Vec::new();
        let (head, body) = loop {
            let mut buffer = [0; 4096];
            match stream.read(&mut buffer).await {
                Ok(0) | Err(_) => return,
                Ok(count) => read.extend_from_slice(&buffer[..count]),
            }
            let text = String::from_utf8_lossy(&read).into_owned();
            let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
            let length = head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
            if body.len() >= length.unwrap_or(0) {
                break (head.to_owned(), body.to_owned());
            }
        };
        let mut lines = head.lines();
        let path = lines.next().and_then(|line| line.split(' ').nth(1)).unwrap_or_default().to_owned();
        let headers = lines.filter_map(|line| line.split_once(": ")).map(|(name, value)| (name.to_lowercase(), value.to_owned())).collect();
        let answers = self.answers.lock().unwrap().clone();
        self.came.lock().unwrap().push(Came { path, headers, body });
        match answers {
            Answers::With(status, headers) => {
                let answer = format!("HTTP/1.1 {status} X\r\ncontent-length: 2\r\n{headers}connection: close\r\n\r\nok");
                let _ = stream.write_all(answer.as_bytes()).await;
            }
            Answers::Never => std::future::pending().await,
        }
    }
}

impl Came {
    /// Returns the id, the same at each try.
    pub fn id(&self) -> String {
        self.headers["webhook-id"].clone()
    }

    /// Returns when it was sent, seconds.
    pub fn sent_at(&self) -> i64 {
        self.headers["webhook-timestamp"].parse().unwrap()
    }

    /// Returns what it says.
    pub fn says(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }

    /// Returns what kind it is.
    pub fn kind(&self) -> String {
        self.says()["type"].as_str().unwrap().to_owned()
    }
}

/// Returns of each message whether its signature holds under this secret; none where there is no Python.
pub fn verified(messages: &[Came], secret: &str) -> Option<Vec<bool>> {
    const SCRIPT: &str = "import base64, hashlib, hmac, json, sys\n\
        asked = json.load(sys.stdin)\n\
        key = base64.b64decode(asked['secret'].removeprefix('whsec_'))\n\
        def holds(m):\n\
        \x20   content = (m['id'] + '.' + m['timestamp'] + '.' + m['body']).encode()\n\
        \x20   expected = base64.b64encode(hmac.new(key, content, hashlib.sha256).digest()).decode()\n\
        \x20   return any(hmac.compare_digest(one, 'v1,' + expected) for one in m['signature'].split(' '))\n\
        json.dump([holds(m) for m in asked['messages']], sys.stdout)\n";
    let of = |came: &Came| {
        let header = |name: &str| came.headers.get(name).cloned().unwrap_or_default();
        json!({ "id": header("webhook-id"), "timestamp": header("webhook-timestamp"), "signature": header("webhook-signature"), "body": came.body })
    };
    let asked = json!({ "secret": secret, "messages": messages.iter().map(of).collect::<Vec<_>>() }).to_string();
    let python = Command::new("python3").args(["-c", SCRIPT]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().ok();
    let mut python = required::found("python", python, "python3 does not start")?;
    python.stdin.take().unwrap().write_all(asked.as_bytes()).unwrap();
    let said = python.wait_with_output().unwrap();
    Some(serde_json::from_slice(&said.stdout).unwrap_or_else(|error| panic!("{error}: {said:?}")))
}

//! What a worker and its holder say to each other: one JSON object per line on the worker's standard input. Unknown words are passed over:
//! a holder outlives the program it was started from.

use anyhow::Context;
use serde::{Deserialize, Serialize};
use std::{os::unix::net::UnixStream as StdStream, path::PathBuf};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::UnixStream,
};

/// One word.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Word {
    /// To the holder: start another worker, which takes over from me.
    Start {
        /// The program; none for the one that is there now.
        exe: Option<PathBuf>,
        /// My own socket.
        predecessor: PathBuf,
    },
    /// To the holder: I serve.
    Ready,
    /// To the worker: the other one did not come to serve.
    Failed {
        /// Why.
        why: String,
    },
}

/// The worker's end.
pub struct Link(BufReader<UnixStream>);

impl Link {
    /// Takes the holder's socket from standard input; `None` under a holder from before there was one.
    pub fn from_stdin() -> Option<Self> {
        let stdin = rustix::io::dup(std::io::stdin()).ok()?;
        rustix::net::sockopt::socket_type(&stdin).ok()?;
        let stream = StdStream::from(stdin);
        stream.set_nonblocking(true).ok()?;
        Some(Link(BufReader::new(UnixStream::from_std(stream).ok()?)))
    }

    /// Says a word to the holder.
    pub async fn say(&mut self, word: &Word) -> anyhow::Result<()> {
        self.0.write_all(&line(word)).await.context("telling the holder")
    }

    /// Returns why the other worker did not come to serve.
    pub async fn failure(&mut self) -> String {
        let mut text = String::new();
        loop {
            text.clear();
            match self.0.read_line(&mut text).await {
                Ok(1..) => {
                    if let Some(Word::Failed { why }) = understand(&text) {
                        return why;
                    }
                }
                _ => return "the holder has ended".into(),
            }
        }
    }
}

/// Returns a word as a line.
pub fn line(word: &Word) -> Vec<u8> {
    let mut line = serde_json::to_vec(word).expect("words are JSON");
    line.push(b'\n');
    line
}

/// Returns the word of a line; `None` for one that is not known.
pub fn understand(line: &str) -> Option<Word> {
    serde_json::from_str(line).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_read_as_they_were_said_and_unknown_ones_are_passed_over() {
        let start = Word::Start { exe: None, predecessor: "a.sock".into() };
        assert_eq!(understand(std::str::from_utf8(&line(&start)).unwrap()), Some(start));
        assert_eq!(understand("\"ready\"\n"), Some(Word::Ready));
        assert_eq!(understand("{\"sing\":{}}\n"), None);
        assert_eq!(understand("{\"failed\":{\"why\":\"x\",\"more\":1}}\n"), Some(Word::Failed { why: "x".into() }));
    }
}

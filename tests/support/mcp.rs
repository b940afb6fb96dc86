//! An MCP client that shows every message: newline-delimited JSON over a stream, in either revision.

use serde_json::{Value, json};
use std::time::Duration;
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader, Lines},
    time::timeout,
};

/// How long an answer may take on a slow, loaded machine.
const PATIENCE: Duration = Duration::from_secs(60);

type Reader = Lines<BufReader<Box<dyn AsyncRead + Send + Unpin>>>;

/// Speaks newline-delimited JSON.
pub struct Client {
    pub lines: Reader,
    pub write: Box<dyn AsyncWrite + Send + Unpin>,
    pub next_id: u64,
}

impl Client {
    pub fn over(stream: impl AsyncRead + AsyncWrite + Send + 'static) -> Self {
        let (read, write) = tokio::io::split(stream);
        Client { lines: BufReader::new(Box::new(read) as Box<dyn AsyncRead + Send + Unpin>).lines(), write: Box::new(write), next_id: 1 }
    }

    pub async fn send(&mut self, message: Value) {
        self.write.write_all(format!("{message}\n").as_bytes()).await.unwrap();
    }

    pub async fn hear(&mut self) -> Value {
        let line = timeout(PATIENCE, self.lines.next_line()).await.expect("an answer in time").unwrap().expect("an answer");
        serde_json::from_str(&line).unwrap()
    }

    pub async fn ask(&mut self, method: &str, params: Value) -> Value {
        let id = self.begin(method, params).await;
        let answer = self.hear().await;
        assert_eq!(answer["id"], id, "{answer}");
        answer
    }

    /// Sends a request and returns its id; the answer is to be heard.
    pub async fn begin(&mut self, method: &str, params: Value) -> u64 {
        let id = self.next_id;
        self.next_id += 1;
        self.send(json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params})).await;
        id
    }

    /// Calls a tool the way 2026-07-28 does.
    pub async fn call(&mut self, tool: &str, arguments: Value) -> Value {
        self.ask("tools/call", modern(json!({"name": tool, "arguments": arguments}))).await["result"].take()
    }

    pub async fn initialize(&mut self) -> Value {
        let answer = self.ask("initialize", initialize()).await;
        self.send(json!({"jsonrpc": "2.0", "method": "notifications/initialized"})).await;
        answer
    }
}

pub fn initialize() -> Value {
    json!({"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "old", "version": "1"}})
}

pub fn modern(mut params: Value) -> Value {
    params["_meta"]["io.modelcontextprotocol/protocolVersion"] = "2026-07-28".into();
    params["_meta"]["io.modelcontextprotocol/clientCapabilities"] = json!({});
    params["_meta"]["io.modelcontextprotocol/clientInfo"] = json!({"name": "new", "version": "2"});
    params
}

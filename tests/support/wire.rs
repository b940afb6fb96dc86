//! How a test speaks: lines over Unix sockets, HTTP, commands.

use super::PATIENCE;
use anyhow::{Result, bail};
use serde_json::{Value, json};
use std::{
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Output, Stdio},
    time::Duration,
};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpStream, UnixStream},
    process::Command,
    time::timeout,
};

/// How long a command may run on a slow machine: a client takes several releases to production.
pub const DEADLINE: Duration = Duration::from_secs(300);

/// A caller of the server's `api.sock`; one connection per call.
#[derive(Clone)]
pub struct Client(pub PathBuf);

/// Why a call brought no reply.
#[derive(Debug)]
pub enum NoReply {
    /// The server said no: the JSON-RPC error, whose `data` is the refusal.
    Refused(Value),
    /// The server is not there, or went away.
    Gone(String),
}

impl Client {
    /// Calls a method once.
    pub async fn try_call(&self, method: &str, params: Value) -> Result<Value, NoReply> {
        let mut answer = exchange(&self.0, method, params).await.map_err(|error| NoReply::Gone(error.to_string()))?;
        match answer.get("error") {
            Some(error) => Err(NoReply::Refused(error.clone())),
            None => Ok(answer["result"].take()),
        }
    }

    /// Calls a method that must work.
    pub async fn call(&self, method: &str, params: Value) -> Result<Value> {
        match self.try_call(method, params).await {
            Ok(reply) => Ok(reply),
            Err(NoReply::Refused(refusal)) => bail!("`{method}` was refused: {refusal}"),
            Err(NoReply::Gone(how)) => bail!("`{method}`: {how}"),
        }
    }
}

/// Sends one line and reads one, JSON-RPC over a Unix socket; returns the whole answer.
pub async fn line(socket: &Path, method: &str, params: Value) -> Value {
    exchange(socket, method, params).await.unwrap_or_else(|error| panic!("`{method}`: {error}"))
}

async fn exchange(socket: &Path, method: &str, params: Value) -> io::Result<Value> {
    let asked = async {
        let (read, mut write) = UnixStream::connect(socket).await?.into_split();
        let request = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
        write.write_all(format!("{request}\n").as_bytes()).await?;
        let line = BufReader::new(read).lines().next_line().await?;
        Ok(serde_json::from_str(&line.ok_or_else(|| io::Error::other("the server hung up"))?)?)
    };
    timeout(PATIENCE, asked).await.unwrap_or_else(|_| Err(io::Error::other(format!("no answer within {PATIENCE:?}"))))
}

/// Runs a command to its end; one that hangs is killed and fails the test.
pub async fn finish(command: &mut Command) -> Output {
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true).spawn();
    let output = child.unwrap_or_else(|error| panic!("{command:?}: {error}")).wait_with_output();
    timeout(DEADLINE, output).await.unwrap_or_else(|_| panic!("{command:?} did not end")).unwrap()
}

/// Sends one HTTP request; returns the status and the body.
pub async fn http(address: SocketAddr, method: &str, path: &str, headers: &str, body: &str) -> io::Result<(u16, String)> {
    http_for(address, &address.to_string(), method, path, headers, body).await
}

/// Sends one HTTP request for a host; returns the status and the body.
pub async fn http_for(address: SocketAddr, host: &str, method: &str, path: &str, headers: &str, body: &str) -> io::Result<(u16, String)> {
    let asked = async {
        let mut stream = TcpStream::connect(address).await?;
        let length = body.len();
        let head = format!("{method} {path} HTTP/1.1\r\nhost: {host}\r\n{headers}content-length: {length}\r\nconnection: close\r\n\r\n");
        stream.write_all(format!("{head}{body}").as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
        Ok((status, answer.split_once("\r\n\r\n").map_or(String::new(), |(_, body)| body.to_owned())))
    };
    timeout(PATIENCE, asked).await.unwrap_or_else(|_| Err(io::Error::other(format!("no answer within {PATIENCE:?}"))))
}

/// Returns what a customer gets.
pub async fn served(listen: SocketAddr) -> String {
    http(listen, "GET", "/", "", "").await.map_or_else(|error| format!("error: {error}"), |(_, body)| body)
}

/// Returns the code of an error on standard error.
pub fn said(stderr: &[u8]) -> String {
    let said = String::from_utf8_lossy(stderr);
    let line = said.lines().find_map(|line| line.strip_prefix("error: ")).unwrap_or_else(|| panic!("no error in `{said}`"));
    line.split(':').next().unwrap().to_owned()
}

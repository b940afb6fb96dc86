//! How a test speaks: lines over Unix sockets, HTTP, commands.

use super::PATIENCE;
use serde_json::{Value, json};
use std::{
    net::SocketAddr,
    path::Path,
    process::{Output, Stdio},
};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpStream, UnixStream},
    process::Command,
};

/// Sends one line and reads one: JSON-RPC over a Unix socket.
pub async fn line(socket: &Path, method: &str, params: Value) -> Value {
    let asked = async {
        let (read, mut write) = UnixStream::connect(socket).await?.into_split();
        let request = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
        write.write_all(format!("{request}\n").as_bytes()).await?;
        BufReader::new(read).lines().next_line().await
    };
    let answer = tokio::time::timeout(PATIENCE, asked).await.unwrap_or_else(|_| panic!("no answer to `{method}`"));
    serde_json::from_str(&answer.unwrap().unwrap_or_else(|| panic!("`{method}` was hung up on"))).unwrap()
}

/// Runs a command to its end; one that hangs is killed and fails the test.
pub async fn finish(command: &mut Command) -> Output {
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
    tokio::time::timeout(PATIENCE, child.wait_with_output()).await.unwrap_or_else(|_| panic!("{command:?} did not end")).unwrap()
}

/// Sends one HTTP request; returns the status and the body.
pub async fn http(address: SocketAddr, method: &str, path: &str, headers: &str, body: &str) -> std::io::Result<(u16, String)> {
    let mut stream = TcpStream::connect(address).await?;
    let length = body.len();
    let head = format!("{method} {path} HTTP/1.1\r\nhost: {address}\r\n{headers}content-length: {length}\r\nconnection: close\r\n\r\n");
    stream.write_all(format!("{head}{body}").as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    Ok((status, answer.split_once("\r\n\r\n").map_or(String::new(), |(_, body)| body.to_owned())))
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

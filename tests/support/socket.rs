//! A websocket client that shows every message: text frames, nothing else.

use serde_json::Value;
use std::{net::SocketAddr, time::Duration};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
    time::timeout,
};

/// How long a message may take on a slow, loaded machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// An open websocket.
pub struct Socket(BufReader<TcpStream>);

impl Socket {
    /// Opens `/rpc` with the bearer token.
    pub async fn open(address: SocketAddr, token: &str) -> Self {
        let mut stream = BufReader::new(TcpStream::connect(address).await.unwrap());
        let upgrade = format!(
            "GET /rpc HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {token}\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        stream.write_all(upgrade.as_bytes()).await.unwrap();
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            timeout(PATIENCE, stream.read_line(&mut head)).await.unwrap().unwrap();
        }
        assert!(head.starts_with("HTTP/1.1 101"), "{head}");
        Socket(stream)
    }

    /// Sends one text frame.
    pub async fn send(&mut self, message: &Value) {
        self.frame(0x81, message.to_string().as_bytes()).await;
    }

    /// Sends one masked frame, whose mask is zero.
    async fn frame(&mut self, kind: u8, payload: &[u8]) {
        assert!(payload.len() < 126, "a longer frame is not needed");
        self.0.write_all(&[&[kind, 0x80 | payload.len() as u8, 0, 0, 0, 0], payload].concat()).await.unwrap();
    }

    /// Returns the next message; answers pings on the way.
    pub async fn hear(&mut self) -> Value {
        loop {
            let frame = async {
                let (kind, short) = (self.0.read_u8().await.unwrap(), self.0.read_u8().await.unwrap());
                let length = if short == 126 { usize::from(self.0.read_u16().await.unwrap()) } else { usize::from(short) };
                let mut payload = vec![0; length];
                self.0.read_exact(&mut payload).await.unwrap();
                (kind, payload)
            };
            match timeout(PATIENCE, frame).await.expect("a message in time") {
                (0x89, payload) => self.frame(0x8a, &payload).await,
                (0x81, text) => return serde_json::from_slice(&text).unwrap(),
                (kind, _) => panic!("neither text nor ping: {kind:#x}"),
            }
        }
    }
}

//! The backend before which every proxy stands: one thread that answers from memory, so that it is never what is measured.

use std::{net::Ipv4Addr, process::ExitCode};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

/// The end of a request's head; these requests have no body.
const END: &[u8] = b"\r\n\r\n";

/// Serves on a port of the loopback interface until it is ended.
pub fn run(words: &[String]) -> ExitCode {
    let Some(port) = words.first().and_then(|port| port.parse::<u16>().ok()) else { return ExitCode::FAILURE };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime starts");
    let served: std::io::Result<()> = runtime.block_on(async {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
        loop {
            let (stream, _) = listener.accept().await?;
            tokio::spawn(async move { _ = answer(stream).await });
        }
    });
    eprintln!("{served:?}");
    ExitCode::FAILURE
}

async fn answer(mut stream: TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let (small, large) = (response(100), response(64 << 10));
    let (mut buffer, mut filled) = (vec![0; 16 << 10], 0);
    loop {
        match stream.read(&mut buffer[filled..]).await? {
            0 => return Ok(()),
            count => filled += count,
        }
        let mut done = 0;
        while let Some(end) = buffer[done..filled].windows(END.len()).position(|bytes| bytes == END) {
            let is_large = buffer[done..].starts_with(b"GET /large");
            stream.write_all(if is_large { &large } else { &small }).await?;
            done += end + END.len();
        }
        buffer.copy_within(done..filled, 0);
        filled -= done;
    }
}

fn response(size: usize) -> Vec<u8> {
    let head = format!("HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: {size}\r\n\r\n");
    [head.as_bytes(), &vec![b'x'; size]].concat()
}

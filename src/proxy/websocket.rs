//! Websocket frames: read only as far as their headers, so that a close can be said between two of them.

use std::{future::Future, time::Duration};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf, split},
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

/// How long both sides may take to end once one has, or once told to.
const ENDING: Duration = Duration::from_secs(2);

const CLOSE: u8 = 8;

/// Close code 1012, Service Restart, big-endian.
const SERVICE_RESTART: [u8; 2] = 1012u16.to_be_bytes();

/// How a relay ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// One side closed it.
    Closed,
    /// The instance hung up without a close frame.
    BrokenByInstance,
    /// Both sides were told 1012.
    Told,
}

/// Follows frames through a stream of bytes.
#[derive(Debug, Default)]
pub struct Frames {
    header: [u8; 10],
    have: usize,
    mask_left: usize,
    payload_left: u64,
    has_closed: bool,
}

impl Frames {
    /// Returns whether a frame may be put in here.
    pub fn is_between(&self) -> bool {
        self.have == 0 && self.mask_left == 0 && self.payload_left == 0
    }

    /// Returns whether a close frame has gone by.
    pub fn has_closed(&self) -> bool {
        self.has_closed
    }

    /// Follows all these bytes.
    pub fn follow(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let step = self.step(bytes);
            bytes = &bytes[step..];
        }
    }

    /// Follows bytes to the end of the frame they are in and returns how many these are.
    pub fn follow_to_end(&mut self, bytes: &[u8]) -> usize {
        let mut done = 0;
        while done < bytes.len() && !self.is_between() {
            done += self.step(&bytes[done..]);
        }
        done
    }

    fn step(&mut self, bytes: &[u8]) -> usize {
        if self.mask_left > 0 {
            let step = self.mask_left.min(bytes.len());
            self.mask_left -= step;
            return step;
        }
        if self.payload_left > 0 {
            let step = usize::try_from(self.payload_left).unwrap_or(usize::MAX).min(bytes.len());
            self.payload_left -= step as u64;
            return step;
        }
        self.header[self.have] = bytes[0];
        self.have += 1;
        let length_bytes = match self.header[1] & 0x7f {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        if self.have >= 2 && self.have == 2 + length_bytes {
            let long = self.header[2..self.have].iter().fold(0u64, |sum, byte| sum << 8 | u64::from(*byte));
            self.payload_left = if length_bytes == 0 { u64::from(self.header[1] & 0x7f) } else { long };
            self.mask_left = if self.header[1] & 0x80 != 0 { 4 } else { 0 };
            self.has_closed |= self.header[0] & 0x0f == CLOSE;
            self.header = [0; 10];
            self.have = 0;
        }
        1
    }
}

/// Relays frames both ways until a side ends, or `told`: then both are sent 1012 between two frames.
pub async fn relay<C, U>(client: C, upstream: U, told: CancellationToken) -> Ended
where
    C: AsyncRead + AsyncWrite,
    U: AsyncRead + AsyncWrite,
{
    let (mut from_client, mut to_client) = split(client);
    let (mut from_upstream, mut to_upstream) = split(upstream);
    let overdue = async {
        told.cancelled().await;
        sleep(ENDING).await;
    };
    let mask: [u8; 4] = rand::random();
    let masked = [0x88, 0x82, mask[0], mask[1], mask[2], mask[3], SERVICE_RESTART[0] ^ mask[0], SERVICE_RESTART[1] ^ mask[1]];
    let unmasked = [0x88, 0x02, SERVICE_RESTART[0], SERVICE_RESTART[1]];
    let relaying = async {
        let down = one_way(&mut from_upstream, &mut to_client, &told, &unmasked);
        let up = one_way(&mut from_client, &mut to_upstream, &told, &masked);
        tokio::pin!(down, up);
        tokio::select! {
            end = &mut down => {
                let other = finish(up).await;
                match (end, other) {
                    (End::Told, _) => Ended::Told,
                    (End::Closed, _) | (_, Some(End::Closed)) => Ended::Closed,
                    _ => Ended::BrokenByInstance,
                }
            }
            end = &mut up => match (end, finish(down).await) {
                (_, Some(End::Told)) => Ended::Told,
                _ => Ended::Closed,
            },
        }
    };
    let ended = tokio::select! {
        ended = relaying => ended,
        () = overdue => Ended::Told,
    };
    if ended == Ended::Told {
        // The client's answer is awaited, so that our close is not overtaken by a reset.
        let mut rest = [0; 1024];
        let _ = timeout(ENDING, async { while from_client.read(&mut rest).await.is_ok_and(|count| count > 0) {} }).await;
    }
    ended
}

async fn finish(other: impl Future<Output = End>) -> Option<End> {
    timeout(ENDING, other).await.ok()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// Its source ended, after a close frame.
    Closed,
    /// Its source ended without one, or its sink did.
    Broken,
    /// Its sink was told.
    Told,
}

async fn one_way<R: AsyncRead, W: AsyncWrite>(
    from: &mut ReadHalf<R>,
    to: &mut WriteHalf<W>,
    told: &CancellationToken,
    close: &[u8],
) -> End {
    let mut frames = Frames::default();
    let mut bytes = vec![0; 16 * 1024];
    let mut end = loop {
        if told.is_cancelled() && frames.is_between() {
            break End::Told;
        }
        let count = tokio::select! {
            read = from.read(&mut bytes) => match read {
                Ok(count) if count > 0 => count,
                _ => break if frames.has_closed() { End::Closed } else { End::Broken },
            },
            () = told.cancelled(), if !told.is_cancelled() => continue,
        };
        let keep = if told.is_cancelled() {
            frames.follow_to_end(&bytes[..count])
        } else {
            frames.follow(&bytes[..count]);
            count
        };
        if to.write_all(&bytes[..keep]).await.is_err() || to.flush().await.is_err() {
            return End::Broken;
        }
    };
    if end == End::Told {
        if frames.has_closed() {
            end = End::Closed;
        } else if to.write_all(close).await.is_err() {
            return End::Broken;
        }
    }
    let _ = to.shutdown().await;
    end
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use tokio::io::duplex;

    fn frame(opcode: u8, length: usize, is_masked: bool) -> Vec<u8> {
        let mut frame = vec![0x80 | opcode];
        let mask_bit = if is_masked { 0x80 } else { 0 };
        match length {
            0..=125 => frame.push(mask_bit | length as u8),
            126..=65535 => {
                frame.push(mask_bit | 126);
                frame.extend((length as u16).to_be_bytes());
            }
            _ => {
                frame.push(mask_bit | 127);
                frame.extend((length as u64).to_be_bytes());
            }
        }
        frame.extend(vec![7; length + if is_masked { 4 } else { 0 }]);
        frame
    }

    proptest! {
        #[test]
        fn frames_end_where_they_end_however_they_are_cut(
            frames in prop::collection::vec((1u8..3, prop_oneof![0usize..200, Just(125), Just(126), Just(65535), Just(65536)], any::<bool>()), 1..5),
            step in 1usize..5000,
        ) {
            let all: Vec<Vec<u8>> = frames.iter().map(|(opcode, length, masked)| frame(*opcode, *length, *masked)).collect();
            let stream = all.concat();
            let mut follower = Frames::default();
            for part in stream.chunks(step) {
                follower.follow(part);
            }
            prop_assert!(follower.is_between());
            let mut follower = Frames::default();
            follower.follow(&stream[..1]);
            prop_assert_eq!(1 + follower.follow_to_end(&stream[1..]), all[0].len());
        }
    }

    #[tokio::test]
    async fn told_in_the_middle_of_a_frame_the_close_comes_behind_it() {
        let (mut client, client_side) = duplex(1 << 16);
        let (mut upstream, upstream_side) = duplex(1 << 16);
        let told = CancellationToken::new();
        let relay = tokio::spawn(relay(client_side, upstream_side, told.clone()));
        let message = frame(2, 300, false);
        upstream.write_all(&message[..100]).await.unwrap();
        let mut got = vec![0; 100];
        client.read_exact(&mut got).await.unwrap();
        told.cancel();
        let mut closed = [0; 8];
        upstream.read_exact(&mut closed).await.unwrap();
        assert_eq!(closed[..2], [0x88, 0x82], "a masked close for the instance");
        assert_eq!([closed[6] ^ closed[2], closed[7] ^ closed[3]], SERVICE_RESTART);
        upstream.write_all(&message[100..]).await.unwrap();
        upstream.write_all(&message).await.unwrap();
        let mut rest = Vec::new();
        client.read_to_end(&mut rest).await.unwrap();
        assert_eq!(rest[..message.len() - 100], message[100..]);
        assert_eq!(rest[message.len() - 100..], [0x88, 2, SERVICE_RESTART[0], SERVICE_RESTART[1]]);
        drop(client);
        assert_eq!(relay.await.unwrap(), Ended::Told);
    }

    #[tokio::test]
    async fn a_close_is_told_from_a_broken_line() {
        for (last, expected) in [(frame(CLOSE, 2, false), Ended::Closed), (frame(1, 2, false), Ended::BrokenByInstance)] {
            let (client, client_side) = duplex(1024);
            let (mut upstream, upstream_side) = duplex(1024);
            let relay = tokio::spawn(relay(client_side, upstream_side, CancellationToken::new()));
            upstream.write_all(&last).await.unwrap();
            drop(upstream);
            assert_eq!(relay.await.unwrap(), expected);
            drop(client);
        }
    }
}

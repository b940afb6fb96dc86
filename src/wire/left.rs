//! How much of a message's body is still to come, and its next piece (RFC 9112, 6.3).

use super::chunks::Chunks;
use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http_body::SizeHint;

/// How much of a body is still to come.
#[derive(Debug)]
pub enum Left {
    /// So many bytes.
    Sized(u64),
    /// Chunks, until the last.
    Chunked(Chunks),
    /// All that comes until the connection is closed.
    UntilClose,
}

/// What comes next of a body.
#[derive(Debug, PartialEq, Eq)]
pub enum Piece {
    /// A part of it.
    Data(Bytes),
    /// Its end, with its trailers.
    End(Option<HeaderMap>),
    /// Nothing before more bytes have come.
    Unknown,
}

impl Left {
    /// Takes the next piece out of the buffer.
    pub fn next(&mut self, buffer: &mut BytesMut) -> Result<Piece, &'static str> {
        let piece = match self {
            Left::Sized(0) => Piece::End(None),
            Left::Sized(_) | Left::UntilClose if buffer.is_empty() => Piece::Unknown,
            Left::Sized(left) => {
                let count = usize::try_from(*left).unwrap_or(usize::MAX).min(buffer.len());
                *left -= count as u64;
                Piece::Data(buffer.split_to(count).freeze())
            }
            Left::UntilClose => Piece::Data(buffer.split().freeze()),
            Left::Chunked(chunks) => chunks.next(buffer)?,
        };
        if matches!(piece, Piece::End(_)) {
            *self = Left::Sized(0);
        }
        Ok(piece)
    }

    /// Returns whether nothing is to come.
    pub fn is_over(&self) -> bool {
        matches!(self, Left::Sized(0))
    }

    /// Returns how much is to come, where that is known.
    pub fn size(&self) -> SizeHint {
        match self {
            Left::Sized(left) => SizeHint::with_exact(*left),
            _ => SizeHint::default(),
        }
    }
}

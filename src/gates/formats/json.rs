//! JSON from outside: its shape is checked before anything is built from it.

use super::{Format, Limited, ReportError};
use serde::de::DeserializeOwned;
use std::io::Read;

/// Below serde_json's own limit of 128, so that the error is ours.
const MAX_DEPTH: usize = 100;
/// A struct of a few dozen bytes is built for each at most: memory stays bounded.
const MAX_CONTAINERS: usize = 1_000_000;

/// Returns a report's JSON as `T`.
pub fn read<T: DeserializeOwned>(format: Format, reader: impl Read) -> Result<T, ReportError> {
    let mut bytes = Vec::new();
    Limited::new(reader).read_to_end(&mut bytes).map_err(|cause| ReportError::of_io(&cause))?;
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes);
    check_shape(bytes)?;
    serde_json::from_slice(bytes).map_err(|cause| ReportError::malformed(format, cause))
}

/// Checks depth and number of objects and arrays, in one pass without memory.
fn check_shape(bytes: &[u8]) -> Result<(), ReportError> {
    let (mut depth, mut containers, mut in_string, mut escaped) = (0usize, 0usize, false, false);
    for byte in bytes {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            _ if in_string => {}
            b'{' | b'[' => {
                depth += 1;
                containers += 1;
                if depth > MAX_DEPTH {
                    return Err(ReportError::TooDeep(MAX_DEPTH));
                }
                if containers > MAX_CONTAINERS {
                    return Err(ReportError::TooMany(MAX_CONTAINERS));
                }
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn depth_and_size_are_checked_outside_strings_only() {
        assert_eq!(check_shape("[".repeat(101).as_bytes()), Err(ReportError::TooDeep(MAX_DEPTH)));
        assert_eq!(check_shape(br#"{"a":"[[[[\"[[[","b":[{}]}"#), Ok(()));
        assert_eq!(check_shape(format!("[{}]", "{},".repeat(MAX_CONTAINERS)).as_bytes()), Err(ReportError::TooMany(MAX_CONTAINERS)));
        assert_eq!(check_shape(format!("\"{}\"", "[".repeat(1000)).as_bytes()), Ok(()));
    }

    #[test]
    fn a_byte_order_mark_is_skipped() {
        assert_eq!(read::<Vec<u8>>(Format::Sarif, &b"\xef\xbb\xbf[1]"[..]).unwrap(), [1]);
    }
}

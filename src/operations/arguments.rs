//! Arguments as they come in: bounded, free of control characters, and every fault named by its field.

use crate::{error::Error, model::text};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

const STRING_BYTES: usize = 64 * 1024;
/// The largest request any edge reads.
pub const REQUEST_BYTES: usize = 1024 * 1024;

/// Refuses what no operation takes: anything but an object, strings over 64 KiB, control characters. Drops `null`s.
pub fn checked(arguments: Value) -> Result<Value, Error> {
    match arguments {
        Value::Null => Ok(Value::Object(Map::new())),
        Value::Object(object) => {
            let mut total_bytes = 0;
            for (name, value) in &object {
                check(&text::visible_line(name, 60), value, &mut total_bytes)?;
            }
            if total_bytes > REQUEST_BYTES {
                return Err(Error::invalid(format!("the arguments have {total_bytes} bytes; at most {REQUEST_BYTES} are taken")));
            }
            Ok(without_nulls(Value::Object(object)))
        }
        _ => Err(Error::invalid("arguments are an object: `{\"name\": value}`")),
    }
}

fn check(name: &str, value: &Value, total_bytes: &mut usize) -> Result<(), Error> {
    *total_bytes += value.as_str().map_or(8, str::len);
    match value {
        Value::String(string) => check_string(name, string),
        Value::Array(items) => items.iter().try_for_each(|item| check(name, item, total_bytes)),
        Value::Object(object) => {
            object.iter().try_for_each(|(key, value)| check_string(name, key).and_then(|()| check(name, value, total_bytes)))
        }
        _ => Ok(()),
    }
}

fn check_string(name: &str, string: &str) -> Result<(), Error> {
    if string.len() > STRING_BYTES {
        return Err(Error::invalid(format!("argument `{name}` has {} bytes; at most {STRING_BYTES} are taken", string.len()))
            .hint("shorten it; a long report is named by its path in the workspace"));
    }
    // A carriage return is taken only as part of a line end.
    let refused = |&(at, character): &(usize, char)| match character {
        '\n' | '\t' => false,
        '\r' => !string[at + 1..].starts_with('\n'),
        character => character.is_ascii_control(),
    };
    match string.char_indices().find(refused) {
        Some((at, character)) => {
            Err(Error::invalid(format!("argument `{name}` holds the control character U+{:04X} at byte {at}", character as u32)))
        }
        None => Ok(()),
    }
}

/// Drops arguments that are `null`: absent and `null` are the same.
pub(super) fn without_nulls(mut arguments: Value) -> Value {
    if let Value::Object(object) = &mut arguments {
        object.retain(|_, value| !value.is_null());
    }
    arguments
}

/// Reads arguments into their type; the refusal names the field.
pub(super) fn read<P: DeserializeOwned>(arguments: Value) -> Result<P, Error> {
    let fault = match serde_json::from_value(arguments.clone()) {
        Ok(params) => return Ok(params),
        Err(fault) => fault.to_string(),
    };
    // serde names no field in a type error; the argument without which the message changes is the one.
    let culprit = arguments.as_object().and_then(|object| {
        object.keys().find(|key| {
            let mut rest = object.clone();
            rest.remove(*key);
            serde_json::from_value::<P>(Value::Object(rest)).err().is_none_or(|other| other.to_string() != fault)
        })
    });
    let said = match culprit.filter(|name| !fault.starts_with(&format!("unknown field `{name}`"))) {
        Some(name) => format!("argument `{name}`: {fault}"),
        None => match (fault.strip_prefix("missing field "), fault.strip_prefix("unknown field ")) {
            (Some(rest), _) => format!("argument {rest} is missing"),
            (_, Some(rest)) => format!("unknown argument {rest}"),
            _ => fault,
        },
    };
    Err(Error::invalid(text::visible_line(&said, 600)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;
    use serde_json::json;

    #[derive(Deserialize, Debug)]
    #[serde(deny_unknown_fields)]
    #[allow(dead_code)]
    struct Params {
        directive: String,
        wait_seconds: Option<u8>,
        held: Option<bool>,
        limits: Option<Limits>,
    }

    #[derive(Deserialize, Debug)]
    #[serde(deny_unknown_fields)]
    #[allow(dead_code)]
    struct Limits {
        most: u8,
    }

    fn refused(arguments: Value) -> String {
        checked(arguments).and_then(read::<Params>).unwrap_err().message
    }

    #[test]
    fn every_fault_names_its_argument() {
        assert_eq!(refused(json!({})), "argument `directive` is missing");
        assert_eq!(refused(json!({"directive": null})), "argument `directive` is missing");
        assert_eq!(
            refused(json!({"directive": "a", "force": true})),
            "unknown argument `force`, expected one of `directive`, `wait_seconds`, `held`, `limits`"
        );
        assert_eq!(refused(json!({"directive": 7})), "argument `directive`: invalid type: integer `7`, expected a string");
        assert_eq!(
            refused(json!({"directive": "a", "wait_seconds": 300, "held": true})),
            "argument `wait_seconds`: invalid value: integer `300`, expected u8"
        );
        let within = |limits: Value| refused(json!({"directive": "a", "limits": limits}));
        assert_eq!(within(json!({})), "argument `limits`: missing field `most`");
        assert_eq!(within(json!({"most": 1, "least": 2})), "argument `limits`: unknown field `least`, expected `most`");
        assert_eq!(refused(json!([1])), "arguments are an object: `{\"name\": value}`");
    }

    #[test]
    fn control_characters_and_long_strings_are_refused() {
        assert_eq!(refused(json!({"directive": "a\u{0}"})), "argument `directive` holds the control character U+0000 at byte 1");
        assert_eq!(refused(json!({"directive": "a\rb"})), "argument `directive` holds the control character U+000D at byte 1");
        assert_eq!(refused(json!({"x": [{"y": "\u{1b}[2J"}]})), "argument `x` holds the control character U+001B at byte 0");
        assert_eq!(refused(json!({"directive": "a".repeat(65_537)})), "argument `directive` has 65537 bytes; at most 65536 are taken");
        assert!(refused(json!({"x": vec!["a".repeat(65_000); 17]})).starts_with("the arguments have 1105"));
        assert!(checked(json!({"directive": "a\r\n\tb".to_owned() + &"é".repeat(30_000)})).is_ok());
    }
}

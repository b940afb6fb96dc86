//! The reference pages, made from what the binary knows: error codes and operations.

use crate::{error::Code, operations::Entry, rpc};
use std::fmt::Write;

/// Returns the table of error codes, Markdown.
pub fn codes() -> String {
    let mut page = String::from("| code | JSON-RPC | exit | meaning |\n|---|---|---|---|\n");
    for &code in Code::ALL {
        let _ = writeln!(page, "| `{code}` | {} | {} | {} |", rpc::number(code), code.exit(), code.meaning().trim());
    }
    page
}

/// Returns the reference of operations, Markdown.
pub fn operations(entries: &[Entry]) -> String {
    let mut page = String::new();
    for entry in entries {
        let _ = writeln!(page, "## {}\n\n{}\n\n{}\n", entry.name, entry.manual.description, entry.manual.docs);
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_stands_in_the_table() {
        let page = codes();
        assert_eq!(page.lines().count(), Code::ALL.len() + 2);
        assert!(
            page.contains("| `invalid_arguments` | 1000 | 2 | An argument is missing, of the wrong type, unknown or out of range. |"),
            "{page}"
        );
    }
}

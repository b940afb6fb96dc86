//! The program as it is, built with the feature `conformance-fixtures`: what `tests/conformance.rs` drives, and nobody else.

use std::process::ExitCode;

fn main() -> ExitCode {
    interlock::cli::main()
}

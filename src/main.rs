//! The one binary.

use mimalloc::MiMalloc;
use std::process::ExitCode;

// Under load the proxy takes and gives back buffers all the time, and the system's allocator hands them back to the kernel in between.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    interlock::cli::main()
}

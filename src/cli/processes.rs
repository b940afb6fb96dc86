//! The hidden subcommands that are processes of their own: shim, proxy, and the demo's parts. They are told apart before the rest of the
//! command line is built, so that they stay small.

use crate::{
    cli::demo::{app, app_test, load_test},
    proxy, shim, telemetry,
};
use clap::{Args, FromArgMatches};
use std::{ffi::OsString, io::Write, process::ExitCode};

/// Runs the process that the first word names; `None` when it names none.
pub(super) fn run() -> Option<ExitCode> {
    let mut words = std::env::args_os().skip(1).peekable();
    let name = words.peek()?.to_str()?.to_owned();
    let outcome = match name.as_str() {
        "proxy" => proxy::holder::run(read(words)).map(|()| ExitCode::SUCCESS),
        "proxy-worker" => worker(read(words)).map(|()| ExitCode::SUCCESS),
        "shim" => shim::run(read(words)).map(|()| ExitCode::SUCCESS),
        "shim-launch" => shim::launch::run(read(words)).map(|()| ExitCode::SUCCESS),
        "demo-app" => block_on(app::run(read(words))),
        "demo-test" => block_on(app_test::run(read(words))),
        "demo-load" => block_on(load_test::run(read(words))),
        _ => return None,
    };
    Some(outcome.unwrap_or_else(|error| {
        let _ = writeln!(std::io::stderr(), "interlock {name}: {error:#}");
        ExitCode::FAILURE
    }))
}

fn worker(args: proxy::WorkerArgs) -> anyhow::Result<()> {
    // Traffic does not wait for a log that cannot be opened.
    if let Err(error) = telemetry::to_files(&args.dir, "proxy") {
        eprintln!("{error:#}");
    }
    proxy::worker::run(args)
}

fn block_on(work: impl Future<Output = anyhow::Result<ExitCode>>) -> anyhow::Result<ExitCode> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(work)
}

fn read<T: Args + FromArgMatches>(words: impl Iterator<Item = OsString>) -> T {
    let matches = T::augment_args(clap::Command::new("interlock")).get_matches_from(words);
    T::from_arg_matches(&matches).unwrap_or_else(|error| error.exit())
}

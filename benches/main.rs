//! Figures, each measured beside what it is judged against: `cargo bench --bench figures -- NAME`. Results stand in `README.md`.
//!
//! Prints Markdown, and ends non-zero when a bar is missed. To add one: a file here with `run`, and a line in [`FIGURES`].

mod bridge;
mod calls;
mod judge;
mod machine;
mod memory;
mod options;
mod pages;
mod processes;
mod proxy;
mod store;
#[path = "../tests/support/mod.rs"]
mod support;

use judge::Verdicts;
use options::Options;
use std::process::ExitCode;

type Figure = (&'static str, fn(&Options) -> anyhow::Result<Verdicts>);

const FIGURES: &[Figure] =
    &[("proxy", proxy::run), ("calls", calls::run), ("memory", memory::run), ("store", store::run), ("pages", pages::run)];

fn main() -> ExitCode {
    let mut words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    if words.first().is_some_and(|word| word == "backend") {
        return proxy::backend::run(&words.split_off(1));
    }
    let outcome = Options::read(words).and_then(|options| {
        let named = |name: &str| options.names.is_empty() || options.names.iter().any(|one| one == name);
        anyhow::ensure!(
            options.names.iter().all(|name| FIGURES.iter().any(|(known, _)| known == name)),
            "the figures are {:?}",
            FIGURES.iter().map(|(name, _)| *name).collect::<Vec<_>>()
        );
        println!("{}\n", machine::description(&options.binary)?);
        let mut holds = true;
        for (_, run) in FIGURES.iter().filter(|(name, _)| named(name)) {
            let verdicts = run(&options)?;
            println!("{verdicts}");
            holds &= verdicts.hold();
        }
        Ok(holds)
    });
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => {
            eprintln!("a bar is missed");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("no figure: {error:#}");
            ExitCode::FAILURE
        }
    }
}

//! The book in `docs/`, held against the program: every command in it runs, every configuration in it is read, every link leads somewhere,
//! every picture is there, and the reference pages are those the program gives.
//!
//! `INTERLOCK_WRITE_DOCS=1 cargo test --test docs reference` writes the reference pages and `llms.txt` anew.
//!
//! # How a page is read
//!
//! - A block `console` is run: what follows `$ ` is a command, in `bash`, in a folder of its own, with a terminal in which a passphrase is
//!   typed when one is asked for; the lines below it are lines of its answer, in their order, `…` standing for anything. A command ends
//!   well, unless the page shows its `error: `. A plan's name is that of one run, and stands for the one of this run.
//! - Of a block `sh` every line is a command, without an answer.
//! - `needs=WHY` behind either says why it cannot run here; it is counted, and held against something else ([`commands`]).
//! - A block with `file=NAME` is written to that file, with `append=NAME` behind it.
//! - `<!-- after: PAGE -->` goes on in the folder where that page ended.

#[path = "../support/mod.rs"]
mod support;

mod book;
mod commands;
mod configuration;
mod links;
mod reference;
mod snippets;

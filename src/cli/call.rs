//! A subcommand per operation: asks the server over `api.sock`, prints the answer or the refusal.

use super::{block_on, code_of, failed, launch, output, workspace};
use crate::{
    error::{Code, Error},
    operations::{self, Entry},
};
use clap::{ArgMatches, Command};
use serde_json::{Value, json};
use std::{
    io::{IsTerminal, Write},
    process::ExitCode,
};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};

pub(super) fn command(entry: &Entry) -> Command {
    let description = &entry.manual.description;
    let first = description.find(". ").map_or(description.as_str(), |end| &description[..end]);
    // After the arguments, which bring the doc comment of their type as a description.
    (entry.command)(Command::new(entry.kebab()))
        .about(first.trim_end_matches('.').to_owned())
        .long_about(description.clone())
        .after_long_help(entry.manual.docs)
}

pub(super) fn run(name: &str, matches: &ArgMatches) -> ExitCode {
    let asked = || {
        let entry = operations::find(&name.replace('-', "_")).expect("every other subcommand is an operation");
        let arguments = (entry.params)(matches)?;
        let workspace = workspace(matches)?;
        block_on(async { call(launch::connect(&workspace, workspace.api_socket()).await?, entry.name, arguments).await })
    };
    let is_json = matches.get_flag("json");
    match asked() {
        Ok(Ok(reply)) => {
            let is_styled = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
            let shown = match reply["csv"].as_str() {
                _ if is_json => format!("{reply:#}\n"),
                // A table is for another program.
                Some(table) => table.to_owned(),
                None => output::reply(&reply, is_styled),
            };
            match std::io::stdout().write_all(shown.as_bytes()) {
                Ok(()) => ExitCode::SUCCESS,
                Err(_) => ExitCode::FAILURE,
            }
        }
        Ok(Err(refusal)) => {
            let shown = if is_json { format!("{refusal:#}\n") } else { output::refusal(&refusal) };
            let _ = std::io::stderr().write_all(shown.as_bytes());
            ExitCode::from(code_of(refusal["code"].as_str().unwrap_or_default()).exit())
        }
        Err(error) => failed(&error),
    }
}

/// Calls a method of `api.sock`: the reply, or the body of the refusal.
pub(super) async fn call(stream: tokio::net::UnixStream, method: &str, params: Value) -> Result<Result<Value, Value>, Error> {
    let gone = |err: std::io::Error| Error::new(Code::ServerUnavailable, format!("the server did not answer: {err}"));
    let (read, mut write) = stream.into_split();
    let request = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
    write.write_all(format!("{request}\n").as_bytes()).await.map_err(gone)?;
    let line = BufReader::new(read).lines().next_line().await.map_err(gone)?;
    let line = line.ok_or_else(|| Error::new(Code::ServerUnavailable, "the server ended before it answered"))?;
    let mut answer: Value = serde_json::from_str(&line).map_err(Error::internal)?;
    match answer.get_mut("error").map(Value::take) {
        None => Ok(Ok(answer["result"].take())),
        Some(mut error) if error["data"]["code"].is_string() => Ok(Err(error["data"].take())),
        // Only another version of the server answers so.
        Some(error) => Err(Error::new(Code::Internal, format!("the server answered: {}", error["message"]))
            .hint("run `interlock stop`, then try again: the server may be another version")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{operations::Registry, rpc};
    use std::sync::Arc;
    use tokio::net::UnixStream;

    #[tokio::test]
    async fn a_refusal_is_told_apart_from_a_server_of_another_version() {
        let registry = Arc::new(Registry::with_entries(vec![Entry::of::<operations::tests::GetThing>()], Err(Error::invalid("no"))));
        let ask = async |method: &str| {
            let (ours, theirs) = UnixStream::pair().unwrap();
            let (read, write) = theirs.into_split();
            tokio::spawn(rpc::serve_lines(rpc::operator_methods(&registry, &[]), read, write));
            call(ours, method, json!({"deployment": "dep_1"})).await
        };
        assert_eq!(ask("get_thing").await.unwrap().unwrap_err()["code"], "invalid_arguments");
        assert_eq!(ask("get_other").await.unwrap_err().code, Code::Internal);
    }

    #[tokio::test]
    async fn a_server_that_ends_is_unavailable() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        drop(theirs);
        assert_eq!(call(ours, "get_thing", json!({})).await.unwrap_err().code, Code::ServerUnavailable);
    }
}

//! The other blocks of the book: configuration is read by the program, and what a client is told to start answers.

use super::{
    book::{Block, Page, none, pages},
    support::{BINARY, databases::Database, workspace::Workspace},
};
use interlock::{config, operations};
use serde_json::{Value, json};
use std::{
    io::{BufRead, BufReader, Write},
    process::{Command, Stdio},
};

/// What a fragment of a configuration is put into.
const BASE: &str = r#"
[project]
name = "shop"
[services.web]
command = ["{release}/web", "--port", "{port}"]
health = { http = "/healthz" }
[environments.staging.services.web]
router = { kind = "proxy", listen = "127.0.0.1:8080" }
[environments.production]
approval = { role = "chairman" }
[environments.production.services.web]
router = { kind = "proxy", listen = "127.0.0.1:8081" }
[monitoring]
prometheus = "http://127.0.0.1:9090"
[ci]
platform = "github"
repository = "shop/web"
[phases]
dir = "phases"
[phases.files]
our-release = "as it was applied"
"#;

#[test]
fn every_configuration_in_the_book_is_accepted() {
    let pages = pages();
    let mut read = 0;
    let mut faults = Vec::new();
    for page in &pages {
        for block in page.blocks().iter().filter(|block| block.language == "toml" && !block.marks.contains_key("client")) {
            read += 1;
            faults.extend(told(block).into_iter().map(|fault| format!("{}:{}: {fault}", page.path, block.line)));
        }
    }
    println!("figure: {read} configurations of the book are accepted");
    assert!(read > 20, "{read} blocks");
    none(faults);
    let block = |text: &str| Page { path: "planted.md".into(), text: format!("```toml\n{text}\n```\n") }.blocks().remove(0);
    assert!(told(&block("[services.web]\ndrian = \"30s\"")).concat().contains("did you mean `drain`"));
    assert!(told(&block("[services.web")).len() == 1);
    assert!(told(&block("[services.web]\ndrain = \"30s\"")).is_empty());
}

#[test]
fn every_json_in_the_book_is_one_and_a_call_names_arguments_there_are() {
    let (mut read, mut calls, mut faults) = (0, 0, Vec::new());
    for page in &pages() {
        for block in page.blocks().iter().filter(|block| block.language == "json") {
            read += 1;
            match serde_json::from_str::<Value>(&block.text) {
                Err(error) => faults.push(format!("{}:{}: {error}", page.path, block.line)),
                Ok(value) if value["arguments"].is_object() => {
                    calls += 1;
                    faults.extend(wrong_call(&value).map(|fault| format!("{}:{}: {fault}", page.path, block.line)));
                }
                Ok(_) => (),
            }
        }
    }
    assert!(read > 30 && calls > 30, "{read} blocks, {calls} calls");
    none(faults);
    assert!(wrong_call(&json!({ "name": "get_statu", "arguments": {} })).is_some());
    assert!(wrong_call(&json!({ "name": "get_status", "arguments": { "directives": "x" } })).is_some());
    assert!(wrong_call(&json!({ "name": "execute_deployment", "arguments": {} })).is_some());
}

#[test]
fn what_each_client_is_told_to_start_answers_with_the_tools() {
    let workspace = Workspace::new(Database::Sqlite, BASE);
    let mut clients = Vec::new();
    for page in &pages() {
        for block in page.blocks() {
            let Some(client) = block.marks.get("client") else { continue };
            let server = server_of(&block);
            let words =
                |value: &Value| value.as_array().into_iter().flatten().map(|word| word.as_str().unwrap().to_owned()).collect::<Vec<_>>();
            assert_eq!(server["command"], "interlock", "{}:{}", page.path, block.line);
            let tools = tools(&workspace, &words(&server["args"]));
            assert!(tools >= 16, "{}:{}: {tools} tools", page.path, block.line);
            clients.push(client.clone());
        }
    }
    clients.sort();
    clients.dedup();
    assert_eq!(clients, ["claude-code", "codex", "cursor", "vs-code"]);
    assert_eq!(tools(&workspace, &["mpc".into()]), 0, "what does not start has no tools");
}

/// Tells what the program says against a configuration; a fragment is put into one that has everything else.
fn told(block: &Block) -> Vec<String> {
    let fragment: toml::Table = match toml::from_str(&block.text) {
        Ok(table) => table,
        Err(error) => return vec![error.message().to_owned()],
    };
    let is_whole = ["project", "services", "environments"].iter().all(|key| fragment.contains_key(*key));
    let whole = if is_whole { block.text.clone() } else { toml::to_string(&merged(base(), fragment)).unwrap() };
    config::parse("interlock.toml", &whole).err().map(|faults| faults.0.iter().map(ToString::to_string).collect()).unwrap_or_default()
}

/// Returns the configuration that fragments are put into.
pub fn base() -> toml::Table {
    toml::from_str(BASE).unwrap()
}

/// Puts a table into another one; what has a `kind`, and every value, takes the place of what was there.
pub fn merged(mut whole: toml::Table, fragment: toml::Table) -> toml::Table {
    for (key, value) in fragment {
        let value = match (whole.remove(&key), value) {
            (Some(toml::Value::Table(old)), toml::Value::Table(new)) if !new.contains_key("kind") => toml::Value::Table(merged(old, new)),
            (_, new) => new,
        };
        whole.insert(key, value);
    }
    whole
}

fn wrong_call(call: &Value) -> Option<String> {
    let name = call["name"].as_str().unwrap_or_default();
    let Some(entry) = operations::find(name) else { return Some(format!("no operation `{name}`")) };
    let arguments = call["arguments"].as_object().unwrap();
    let unknown = arguments.keys().find(|key| entry.input_schema["properties"].get(key.as_str()).is_none());
    let missing = entry.required().into_iter().find(|key| !arguments.contains_key(*key)).map(str::to_owned);
    unknown.map(|key| format!("`{name}` has no `{key}`")).or(missing.map(|key| format!("`{name}` needs `{key}`")))
}

/// Returns the server that a client's configuration names.
fn server_of(block: &Block) -> Value {
    let whole: Value = match block.language.as_str() {
        "toml" => toml::from_str(&block.text).unwrap(),
        _ => serde_json::from_str(&block.text).unwrap(),
    };
    let servers = ["mcpServers", "servers", "mcp_servers"].iter().find_map(|key| whole.get(*key)).expect("a list of servers");
    servers["interlock"].clone()
}

/// Starts what a client starts, and returns how many tools it is told of; none where nothing answers.
fn tools(workspace: &Workspace, arguments: &[String]) -> usize {
    let mut command = Command::new(BINARY);
    command.args(arguments).current_dir(workspace.root()).env_remove("INTERLOCK_WORKSPACE").env_remove("INTERLOCK_DATABASE_URL");
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    let hello = json!({ "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": { "name": "test", "version": "1" } });
    for message in [
        json!({ "jsonrpc": "2.0", "id": 1, "method": "initialize", "params": hello }),
        json!({ "jsonrpc": "2.0", "method": "notifications/initialized" }),
        json!({ "jsonrpc": "2.0", "id": 2, "method": "tools/list", "params": {} }),
    ] {
        let _ = input.write_all(format!("{message}\n").as_bytes());
    }
    let answers = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    let list = answers.filter_map(|line| serde_json::from_str::<Value>(&line).ok()).find(|answer| answer["id"] == 2);
    drop(input);
    let _ = child.wait();
    list.map_or(0, |list| list["result"]["tools"].as_array().map_or(0, Vec::len))
}

//! `target = { kind = … }` and `router = { kind = … }` of a placed service: where its instances run, and what moves its traffic.

use super::{
    ci,
    reader::{Item, Table},
};
use crate::model::{
    ci::CiConfig,
    service::{CommandTarget, RouterKind, TargetKind},
};
use std::net::SocketAddr;

/// How long a target's command may take, unless told otherwise.
const TIMEOUT_MS: u64 = 300_000;
const HOUR_MS: u64 = 3_600_000;

#[derive(Clone, Copy)]
enum Kind {
    Local,
    Command,
    Ci,
    Proxy,
    External,
}

/// Reads where instances run; `configured` is `[ci]`.
pub fn target(item: &Item<'_>, configured: Option<&CiConfig>) -> Option<TargetKind> {
    let known = [("local", Kind::Local), ("command", Kind::Command), ("ci", Kind::Ci)];
    let (kind, table) = kind(item, &known, &["docker", "ssh", "kubernetes"])?;
    let target = match kind {
        Kind::Ci => ci::target(&table, configured).map(TargetKind::Ci),
        Kind::Command => {
            let argv = |name, hint| table.require(name, hint).and_then(|item| item.argv());
            let apply = argv("apply", "write apply = [\"./deploy.sh\", \"{version}\"]: it makes this version run");
            let observe = argv("observe", "write observe = [\"./state.sh\"]: it prints {\"running\": true, \"version\": \"1.4.0\"}");
            let undo = argv("undo", "write undo = [\"./deploy.sh\", \"--undo\", \"{version}\"]: it takes back what `apply` did");
            let logs = table.get("logs").and_then(|item| item.argv());
            let timeout_ms = table.get("timeout").and_then(|item| item.duration(100..=24 * HOUR_MS)).unwrap_or(TIMEOUT_MS);
            apply
                .zip(observe)
                .zip(undo)
                .map(|((apply, observe), undo)| TargetKind::Command(CommandTarget { apply, observe, undo, logs, timeout_ms }))
        }
        _ => Some(TargetKind::Local),
    };
    table.close();
    target
}

/// Reads what moves traffic; `listen` is told every address the built-in proxy is to listen on.
pub fn router<'a>(item: &Item<'a>, mut listen: impl FnMut(SocketAddr, Item<'a>)) -> Option<RouterKind> {
    let (kind, table) = kind(item, &[("proxy", Kind::Proxy), ("external", Kind::External)], &["kubernetes", "haproxy"])?;
    let router = match kind {
        Kind::External => {
            let address = table
                .require("address", "write address = \"10.0.0.7:80\": where customers connect, and this server checks")
                .and_then(|item| address(&item));
            let switch = table.get("switch").and_then(|item| item.argv());
            address.map(|address| RouterKind::External { address, switch })
        }
        _ => table.require("listen", "write listen = \"127.0.0.1:8080\"").and_then(|item| {
            let address = address(&item)?;
            listen(address, item);
            Some(RouterKind::Proxy { listen: address })
        }),
    };
    table.close();
    router
}

/// Reads `{ kind = … }`; of a kind that is not built, nothing else is read.
fn kind<'a>(item: &Item<'a>, known: &[(&str, Kind)], reserved: &[&str]) -> Option<(Kind, Table<'a>)> {
    let table = item.table()?;
    match table.get("kind") {
        Some(kind) => kind.choice(known, reserved).map(|kind| (kind, table)),
        None => {
            table.missing("`kind` is missing", &format!("write kind = \"{}\"", known[0].0));
            None
        }
    }
}

fn address(item: &Item<'_>) -> Option<SocketAddr> {
    let text = item.text()?;
    match text.parse::<SocketAddr>() {
        Ok(address) if address.port() != 0 => return Some(address),
        Ok(_) => item.fault("port 0 is no port that customers can know", Some("write a port from 1 to 65535".into())),
        Err(_) => item.fault(format!("`{text}` is no address"), Some("write an IP address and a port, \"127.0.0.1:8080\"".into())),
    }
    None
}

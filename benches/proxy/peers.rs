//! The proxies: how each is started on its core, with what its own manual advises for keep-alive to one backend.

use super::{PROXY_CORE, write};
use crate::{
    machine::first_line,
    options::Options,
    processes::{Process, free_address},
};
use anyhow::Context;
use interlock::{
    model::{Epoch, Split, split::Share},
    proxy::{ProxyClient, control::Rules},
};
use std::{net::SocketAddr, path::Path};

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// HAProxy.
    HaProxy,
    /// nginx.
    Nginx,
    /// Caddy.
    Caddy,
    /// Ours.
    Interlock,
    /// Ours with its access log, as a service has it by default.
    InterlockLogging,
}

impl Kind {
    /// All of them.
    pub const ALL: [Kind; 5] = [Kind::HaProxy, Kind::Nginx, Kind::Caddy, Kind::Interlock, Kind::InterlockLogging];

    /// Returns its name.
    pub fn name(self) -> &'static str {
        match self {
            Kind::HaProxy => "HAProxy",
            Kind::Nginx => "nginx",
            Kind::Caddy => "Caddy",
            Kind::Interlock => "Interlock",
            Kind::InterlockLogging => "Interlock with access log",
        }
    }

    /// Returns the name of its program.
    pub fn program(self) -> &'static str {
        match self {
            Kind::HaProxy => "haproxy",
            Kind::Nginx => "nginx",
            Kind::Caddy => "caddy",
            Kind::Interlock => "interlock",
            Kind::InterlockLogging => "interlock-logging",
        }
    }

    /// Returns its name and version; `None` when it is not installed.
    pub fn version(self, binary: &Path) -> Option<String> {
        let line = match self {
            Kind::HaProxy => first_line(&["haproxy", "-v"]),
            Kind::Nginx => first_line(&["nginx", "-v"]),
            Kind::Caddy => first_line(&["caddy", "version"]),
            Kind::Interlock | Kind::InterlockLogging => first_line(&[&binary.display().to_string(), "--version"]),
        }?;
        let number =
            line.split([' ', '/', '-', '+']).find(|word| word.trim_start_matches('v').starts_with(|first: char| first.is_ascii_digit()));
        Some(format!("{} {}", self.name(), number.unwrap_or(&line)))
    }
}

/// A proxy that runs.
pub struct Peer {
    /// Where it listens.
    pub address: SocketAddr,
    /// Its process; workers are its children.
    pub process: Process,
}

impl Peer {
    /// Starts one in front of the backend.
    pub fn start(kind: Kind, options: &Options, folder: &Path, backend: SocketAddr) -> anyhow::Result<Self> {
        let address = free_address()?;
        let log = folder.join(format!("{}.log", kind.program()));
        let run = |command: &[&str]| Process::on_core(PROXY_CORE, command, &log);
        let mut process = match kind {
            Kind::HaProxy => run(&["haproxy", "-db", "-f", &write(folder, "haproxy.cfg", &haproxy(address, backend))?])?,
            Kind::Nginx => {
                let configuration = write(folder, "nginx.conf", &nginx(folder, address, backend))?;
                run(&["nginx", "-p", &folder.display().to_string(), "-c", &configuration])?
            }
            Kind::Caddy => run(&[
                "env",
                "GOMAXPROCS=1",
                "caddy",
                "run",
                "--adapter",
                "caddyfile",
                "--config",
                &write(folder, "Caddyfile", &caddy(address, backend))?,
            ])?,
            Kind::Interlock | Kind::InterlockLogging => interlock(kind, options, folder, address, backend, &run)?,
        };
        process.answers(address).with_context(|| format!("{}: {}", kind.name(), std::fs::read_to_string(&log).unwrap_or_default()))?;
        Ok(Peer { address, process })
    }
}

fn haproxy(listen: SocketAddr, backend: SocketAddr) -> String {
    format!(
        "global\n  nbthread 1\n  maxconn 4096\ndefaults\n  mode http\n  timeout connect 5s\n  timeout client 60s\n  timeout server 60s\n  \
         option forwardfor\n  http-reuse always\nfrontend customers\n  bind {listen}\n  default_backend app\nbackend app\n  server one {backend}\n"
    )
}

fn nginx(folder: &Path, listen: SocketAddr, backend: SocketAddr) -> String {
    let folder = folder.display();
    format!(
        "daemon off;\nworker_processes 1;\npid {folder}/nginx.pid;\nerror_log {folder}/nginx.log warn;\nevents {{ worker_connections 4096; }}\n\
         http {{\n  access_log off;\n  keepalive_requests 1000000000;\n  proxy_temp_path {folder}/nginx-temp;\n  \
         client_body_temp_path {folder}/nginx-body;\n  \
         upstream app {{ server {backend}; keepalive 64; keepalive_requests 1000000000; }}\n  \
         server {{\n    listen {listen};\n    location / {{\n      proxy_pass http://app;\n      proxy_http_version 1.1;\n      \
         proxy_set_header Connection \"\";\n      proxy_set_header Host $host;\n      \
         proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;\n      proxy_buffers 16 16k;\n    }}\n  }}\n}}\n"
    )
}

fn caddy(listen: SocketAddr, backend: SocketAddr) -> String {
    format!("{{\n  admin off\n  auto_https off\n}}\nhttp://{listen} {{\n  reverse_proxy {backend}\n}}\n")
}

fn interlock(
    kind: Kind,
    options: &Options,
    folder: &Path,
    listen: SocketAddr,
    backend: SocketAddr,
    run: &impl Fn(&[&str]) -> anyhow::Result<Process>,
) -> anyhow::Result<Process> {
    // A folder of its own each time: what an earlier one had in force is of no concern.
    let folder = folder.join(listen.port().to_string());
    std::fs::create_dir(&folder)?;
    let control = folder.join("control.sock");
    let (binary, dir, socket) = (options.binary.display().to_string(), folder.display().to_string(), control.display().to_string());
    let mut process = run(&[&binary, "proxy", "--dir", &dir, "--listen", &listen.to_string(), "--control", &socket])?;
    process.answers(listen)?;
    let split = Split(vec![Share { instance: "one".into(), address: backend, version: "1".into(), weight: 1 }]);
    let rules = Rules { access_log: Some(kind == Kind::InterlockLogging), ..Rules::default() };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let client = ProxyClient::new(&control);
        while client.version().await.is_err() {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        client.set_with(&split, Epoch(1), rules).await
    })?;
    Ok(process)
}

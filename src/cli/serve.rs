//! `interlock serve`: runs the server in the foreground.

use super::workspace;
use crate::{
    error::Error,
    operations::Toolset,
    server::{self, ServeOptions},
};
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use std::net::SocketAddr;

pub(super) fn command(command: Command) -> Command {
    command.about("Run the server of a workspace until SIGTERM").args([
        Arg::new("listen")
            .long("listen")
            .value_name("IP:PORT")
            .default_value("127.0.0.1:0")
            .value_parser(value_parser!(SocketAddr))
            .help("Loopback address of /mcp, /rpc and /healthz; port 0 takes a free one, see .interlock/server.json"),
        Arg::new("standby")
            .long("standby")
            .action(ArgAction::SetTrue)
            .help("Wait while another server runs in the workspace, and take over when it ends or no longer answers"),
        toolsets("Offer agents the tools of these, and of no others [default: core, and the others to those who ask]"),
        Arg::new("detached").long("detached").hide(true).action(ArgAction::SetTrue),
    ])
}

/// Returns the argument that names toolsets.
pub(super) fn toolsets(help: &'static str) -> Arg {
    let words = value_parser!(Toolset);
    Arg::new("toolsets").long("toolsets").value_name("LIST").value_delimiter(',').value_parser(words).help(help)
}

/// Returns the toolsets that the command line names; none where it names none.
pub(super) fn asked_toolsets(matches: &ArgMatches) -> Option<Vec<Toolset>> {
    Some(matches.get_many::<Toolset>("toolsets")?.copied().collect())
}

pub(super) fn run(matches: &ArgMatches) -> Result<(), Error> {
    if matches.get_flag("detached") {
        // A session of its own: the terminal's end or Ctrl-C at the client does not reach the server.
        let _ = rustix::process::setsid();
    }
    let options = ServeOptions {
        workspace: workspace(matches)?,
        listen: *matches.get_one("listen").expect("it has a default"),
        standby: matches.get_flag("standby"),
        toolsets: asked_toolsets(matches),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(Error::internal)?;
    let outcome = runtime.block_on(server::run(options));
    runtime.shutdown_background();
    outcome
}

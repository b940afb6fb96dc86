//! The parts the demo is made of, each a hidden subcommand: the service it deploys (`app`), the continuous load it puts on it
//! (`load`), and the two commands its gates run (`app_test`, `load_test`). All of them talk real HTTP over real sockets.

mod agent;
pub mod app;
pub mod app_test;
mod chairman;
mod keep;
pub mod load;
pub mod load_test;
mod request;
pub mod run;
mod shop;
mod summary;
pub mod tally;

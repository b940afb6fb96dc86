#![doc = include_str!("ARCHITECTURE.md")]

pub mod cli;
pub mod command;
pub mod config;
pub mod decisions;
pub mod engine;
pub mod error;
pub mod gates;
pub mod manifest;
pub mod mcp;
pub mod operations;
pub mod phases;
pub mod rpc;
pub mod server;
pub mod shim;
pub mod store;
pub mod targets;
pub mod telemetry;
pub mod web;

pub use interlock_model as model;
pub use interlock_proxy as proxy;
pub use interlock_rotating as rotating;

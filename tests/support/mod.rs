//! What tests share: both databases, a workspace with the real server, the shop in it and its people, and how a test speaks to them.
#![allow(dead_code, unused_imports, unused_macros, reason = "each test file uses its part")]

pub mod agent;
pub mod authenticator;
pub mod chromium;
pub mod configuration;
pub mod databases;
pub mod evil;
pub mod large;
pub mod mcp;
pub mod pages;
pub mod passkeys;
pub mod people;
pub mod postgres;
pub mod previous;
pub mod receiver;
pub mod required;
pub mod shop;
pub mod socket;
pub mod standby;
pub mod wire;
pub mod workspace;

use std::time::Duration;

/// The real binary.
pub const BINARY: &str = env!("CARGO_BIN_EXE_interlock");

/// How long anything that must happen may take on a slow, loaded machine.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// Makes of each `async fn NAME(database: Database)` the tests `sqlite::NAME` and `postgres::NAME`.
macro_rules! on_both {
    ($($name:ident),+ $(,)?) => {
        mod sqlite {
            $(
                #[tokio::test(flavor = "multi_thread")]
                async fn $name() {
                    super::$name($crate::support::databases::Database::Sqlite).await;
                }
            )+
        }
        mod postgres {
            $(
                #[tokio::test(flavor = "multi_thread")]
                async fn $name() {
                    if let Some(database) = $crate::support::databases::Database::postgres().await {
                        super::$name(database).await;
                    }
                }
            )+
        }
    };
}
pub(crate) use on_both;

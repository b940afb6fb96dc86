//! A workspace stays with the database that holds its record.
//!
//! `INTERLOCK_DATABASE_URL` is a variable of whoever starts the server, and every caller may start it. In another database, an empty one
//! or that of another workspace, nothing would be known of what serves here, of its approvers and of their decisions.

use super::{cannot, hold};
use crate::{
    config::Workspace,
    error::{Code, Error},
    store::{database_address, sqlite_file},
};
use std::{
    fs::{self, File},
    io::ErrorKind,
};

/// The database of a workspace's record.
pub(super) struct Record {
    /// For `Store::open`.
    pub url: String,
    /// What is to be noted when it could be opened: its own database needs no note, it moves with the folder.
    note: Option<String>,
}

impl Record {
    /// Returns where the record of this workspace is, or is to be; `database_elsewhere` when the environment names another database.
    pub fn of(workspace: &Workspace) -> Result<Self, Error> {
        let url = workspace.database_url();
        let (address, own) = (database_address(&url)?, database_address(&workspace.own_database_url())?);
        let note = workspace.database_note();
        let noted = match fs::read_to_string(&note) {
            Ok(noted) => Some(noted.trim_end().to_owned()),
            Err(err) if err.kind() == ErrorKind::NotFound => workspace.own_database().exists().then(|| own.clone()),
            Err(err) => return Err(cannot("read", &note, &err)),
        };
        match noted {
            Some(noted) if noted != address => {
                let now = if address == own {
                    "INTERLOCK_DATABASE_URL is not set".to_owned()
                } else {
                    format!("INTERLOCK_DATABASE_URL names `{address}`")
                };
                Err(Error::new(Code::DatabaseElsewhere, format!("the record of this workspace is in `{noted}`, and {now}")))
            }
            Some(_) => Ok(Record { url, note: None }),
            None => Ok(Record { url, note: (address != own).then_some(address) }),
        }
    }

    /// Takes a SQLite database for this server alone, until the file that is returned is closed; a PostgreSQL one is shared.
    pub async fn hold(&self) -> Result<Option<File>, Error> {
        match sqlite_file(&self.url) {
            Some(file) => hold::database(&file).await.map(Some),
            None => Ok(None),
        }
    }

    /// Remembers it, without user and password.
    pub fn note(&self, workspace: &Workspace) -> Result<(), Error> {
        let (Some(address), path) = (&self.note, workspace.database_note()) else { return Ok(()) };
        fs::write(&path, format!("{address}\n")).map_err(|err| cannot("write", &path, &err))
    }
}

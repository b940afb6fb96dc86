//! Which database a url names: what may be written down and shown, without user, password and options.

use super::{Result, open::file_of};
use anyhow::{Context, anyhow};
use sqlx::postgres::PgConnectOptions;

/// Returns the database that a url names; equal for two urls of one database, as far as their text shows it.
pub fn database_address(url: &str) -> Result<String> {
    match url.split(':').next() {
        Some("sqlite") => Ok(file_of(url).map_or_else(|| "sqlite: in memory".to_owned(), |file| format!("sqlite:{}", file.display()))),
        Some("postgres" | "postgresql") => {
            // The error of the driver may repeat the url, and with it a password.
            let options: PgConnectOptions = url.parse().map_err(|_| anyhow!("a PostgreSQL url that cannot be read"))?;
            let host = options.get_socket().map_or_else(|| options.get_host().to_owned(), |folder| folder.display().to_string());
            let database = options.get_database().or(Some(options.get_username())).context("a database has a name")?;
            Ok(format!("postgres:{host}:{}/{database}", options.get_port()))
        }
        _ => Err(anyhow!("a database url starts with `sqlite:` or `postgres:`").into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_names_the_database_and_no_secret() {
        let address = |url| database_address(url).unwrap();
        let plain = address("postgres://db.test/shop");
        assert_eq!(plain, "postgres:db.test:5432/shop");
        assert_eq!(address("postgresql://ann:secret@db.test:5432/shop?options=-c%20default_transaction_read_only=on"), plain);
        assert_ne!(address("postgres://db.test/other"), plain);
        assert_ne!(address("postgres://db.test:5433/shop"), plain);
        assert_eq!(address("postgres://ann@localhost/shop?host=/run/postgresql"), "postgres:/run/postgresql:5432/shop");
        assert_eq!(address("sqlite:///srv/a%20b/interlock.db?mode=ro&max_page_count=9"), "sqlite:/srv/a b/interlock.db");
        let refused = database_address("postgres://ann:secret@db test:x/shop").unwrap_err().to_string();
        assert!(!refused.contains("secret"), "{refused}");
        assert!(database_address("mysql://x").is_err());
    }
}

//! What every kind of statement is, in each database; and the ways a file might try to look harmless.

use super::*;
use MigrationClass::{Backfill, Contract, Expand, Unknown};
use proptest::prelude::*;

fn class(dialect: SqlDialect, text: &str) -> MigrationClass {
    let found = read(dialect, "0001_x.sql", text);
    println!("{dialect}: {} ({}): {}", found.class, found.reason, text.lines().next().unwrap_or_default());
    found.class
}

fn all_are(dialect: SqlDialect, rows: &[(MigrationClass, &str)]) {
    let wrong: Vec<String> = rows
        .iter()
        .filter(|(expected, text)| class(dialect, text) != *expected)
        .map(|(expected, text)| {
            let found = read(dialect, "0001_x.sql", text);
            format!("{text}\n    is {} ({}), not {expected}", found.class, found.reason)
        })
        .collect();
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}

#[test]
fn postgres_statements_have_their_class() {
    all_are(
        SqlDialect::Postgres,
        &[
            (Expand, "CREATE TABLE a (id bigint PRIMARY KEY, at timestamptz NOT NULL DEFAULT now())"),
            (Expand, "CREATE TABLE IF NOT EXISTS a (id uuid PRIMARY KEY DEFAULT my_id(), b int REFERENCES c (id))"),
            (Expand, "CREATE UNLOGGED TABLE a (id int)"),
            (Expand, "CREATE INDEX CONCURRENTLY i ON a (b)"),
            (Expand, "CREATE INDEX i ON a (lower(b)) WHERE b IS NOT NULL"),
            (Contract, "CREATE UNIQUE INDEX i ON a (b)"),
            (Contract, "CREATE UNIQUE INDEX CONCURRENTLY i ON a (b)"),
            (Unknown, "CREATE INDEX i ON a (secretly_drop(b))"),
            (Expand, "ALTER TABLE a ADD COLUMN b text"),
            (Expand, "ALTER TABLE a ADD COLUMN IF NOT EXISTS b text NULL"),
            (Expand, "ALTER TABLE a ADD COLUMN b int NOT NULL DEFAULT 0"),
            (Expand, "ALTER TABLE a ADD COLUMN b uuid NOT NULL DEFAULT gen_random_uuid()"),
            (Expand, "ALTER TABLE a ADD COLUMN b bigserial NOT NULL"),
            (Expand, "ALTER TABLE a ADD COLUMN b int GENERATED ALWAYS AS (c * 2) STORED"),
            (Expand, "ALTER TABLE a ADD COLUMN b int REFERENCES c (id)"),
            (Contract, "ALTER TABLE a ADD COLUMN b int NOT NULL"),
            (Contract, "ALTER TABLE a ADD COLUMN b int NOT NULL DEFAULT NULL"),
            (Contract, "ALTER TABLE a ADD COLUMN b int PRIMARY KEY"),
            (Contract, "ALTER TABLE a ADD COLUMN b int DEFAULT 1 UNIQUE"),
            (Contract, "ALTER TABLE a ADD COLUMN b int CHECK (b IS NOT NULL)"),
            (Unknown, "ALTER TABLE a ADD COLUMN b int DEFAULT secretly_drop()"),
            (Contract, "ALTER TABLE a ADD COLUMN b int, DROP COLUMN c"),
            (Contract, "ALTER TABLE a DROP COLUMN b"),
            (Contract, "ALTER TABLE a DROP CONSTRAINT b"),
            (Contract, "ALTER TABLE a RENAME COLUMN b TO c"),
            (Contract, "ALTER TABLE a RENAME TO b"),
            (Contract, "ALTER TABLE a ALTER COLUMN b TYPE bigint"),
            (Contract, "ALTER TABLE a ALTER COLUMN b SET DATA TYPE text USING b::text"),
            (Contract, "ALTER TABLE a ALTER COLUMN b SET NOT NULL"),
            (Contract, "ALTER TABLE a ALTER COLUMN b DROP DEFAULT"),
            (Expand, "ALTER TABLE a ALTER COLUMN b DROP NOT NULL"),
            (Expand, "ALTER TABLE a ALTER COLUMN b SET DEFAULT 1"),
            (Contract, "ALTER TABLE a ADD CONSTRAINT c CHECK (b > 0)"),
            (Contract, "ALTER TABLE a ADD CONSTRAINT c FOREIGN KEY (b) REFERENCES d (id) NOT VALID"),
            (Expand, "ALTER TABLE a VALIDATE CONSTRAINT c"),
            (Contract, "ALTER TABLE a ENABLE ROW LEVEL SECURITY"),
            (Contract, "ALTER TABLE a OWNER TO someone"),
            (Unknown, "ALTER TABLE a DISABLE TRIGGER t"),
            (Expand, "ALTER TYPE mood ADD VALUE 'calm'"),
            (Contract, "ALTER TYPE mood RENAME VALUE 'calm' TO 'quiet'"),
            (Contract, "DROP TABLE a"),
            (Contract, "DROP TABLE IF EXISTS a CASCADE"),
            (Contract, "DROP INDEX i"),
            (Contract, "DROP VIEW v"),
            (Contract, "DROP FUNCTION f()"),
            (Contract, "DROP TRIGGER t ON a"),
            (Contract, "DROP TYPE mood"),
            (Contract, "TRUNCATE a"),
            (Backfill, "INSERT INTO a (b) VALUES (1), (2)"),
            (Backfill, "INSERT INTO a SELECT * FROM b ON CONFLICT DO NOTHING"),
            (Backfill, "UPDATE a SET b = coalesce(c, 0) WHERE b IS NULL"),
            (Backfill, "UPDATE a SET b = 1"),
            (Backfill, "DELETE FROM a WHERE b < 3"),
            (Contract, "DELETE FROM a"),
            (Unknown, "UPDATE a SET b = slugify(c)"),
            (Backfill, "WITH gone AS (DELETE FROM a WHERE b = 1 RETURNING *) INSERT INTO c SELECT * FROM gone"),
            (Backfill, "WITH gone AS (UPDATE a SET b = 2 WHERE b = 1 RETURNING *) SELECT count(*) FROM gone"),
            (Contract, "WITH gone AS (DELETE FROM a RETURNING *) SELECT count(*) FROM gone"),
            (Expand, "SELECT 1"),
            (Unknown, "SELECT drop_everything()"),
            (Unknown, "SELECT * FROM drop_everything()"),
            (Unknown, "SELECT * INTO b FROM a"),
            (Unknown, "CREATE TABLE b AS SELECT drop_everything()"),
            (Expand, "CREATE VIEW v AS SELECT f(b) FROM a"),
            (Contract, "CREATE OR REPLACE VIEW v AS SELECT 1"),
            (Expand, "CREATE FUNCTION f() RETURNS int AS $$ SELECT 1; DROP TABLE a; $$ LANGUAGE sql"),
            (Unknown, "CREATE OR REPLACE FUNCTION f() RETURNS int AS $body$ SELECT 1 $body$ LANGUAGE sql"),
            (Unknown, "CREATE TRIGGER t BEFORE INSERT ON a FOR EACH ROW EXECUTE FUNCTION f()"),
            (Unknown, "DO $$ BEGIN DROP TABLE a; END $$"),
            (Unknown, "CALL f()"),
            (Unknown, "EXECUTE p"),
            (Expand, "CREATE TYPE mood AS ENUM ('glad', 'calm')"),
            (Expand, "CREATE EXTENSION IF NOT EXISTS pgcrypto"),
            (Expand, "CREATE SCHEMA s"),
            (Expand, "CREATE SEQUENCE s"),
            (Expand, "COMMENT ON TABLE a IS 'DROP TABLE a'"),
            (Expand, "GRANT SELECT ON a TO b"),
            (Contract, "REVOKE SELECT ON a FROM b"),
            (Expand, "SET lock_timeout = '2s'"),
            (Unknown, "SET search_path = other"),
            (Unknown, "SET ROLE admin"),
            (Backfill, "COPY a (b) FROM '/data/b.csv'"),
            (Unknown, "COPY a (b) FROM STDIN;\n1\n\\.\n"),
            (Unknown, "COPY a (b) FROM STDIN;\n/*\n\\.\nDROP TABLE a;\n*/\n\\.\n"),
            (Expand, "SET standard_conforming_strings = on; SET client_encoding = 'UTF8'; SET check_function_bodies = false"),
            (Unknown, "SET standard_conforming_strings = off; CREATE TABLE b (id text DEFAULT '\\'' ; DROP TABLE a; --')"),
            (Unknown, "SET client_encoding = 'SJIS'"),
            (Unknown, "SELECT pg_catalog.set_config('search_path', 'other', false)"),
            (Unknown, "SELECT format('drop table %s', tablename) FROM pg_tables \\gexec"),
            (Unknown, "COPY a FROM PROGRAM 'rm -rf x'"),
            (Expand, "BEGIN; SET LOCAL lock_timeout = '1s'; ALTER TABLE a ADD COLUMN b int; COMMIT;"),
            (Unknown, "CREATE TABLE a (id int); ROLLBACK;"),
            (Unknown, "\\i other.sql"),
            (Unknown, "VACUUM FULL a; CREATE TABLE"),
        ],
    );
}

#[test]
fn sqlite_statements_have_their_class() {
    all_are(
        SqlDialect::Sqlite,
        &[
            (Expand, "CREATE TABLE a (id INTEGER PRIMARY KEY AUTOINCREMENT, b TEXT NOT NULL) STRICT"),
            (Expand, "ALTER TABLE a ADD COLUMN b TEXT"),
            (Contract, "ALTER TABLE a DROP COLUMN b"),
            (Contract, "ALTER TABLE a RENAME TO b"),
            (Expand, "CREATE VIRTUAL TABLE f USING fts5(x)"),
            (Expand, "PRAGMA foreign_keys = ON"),
            (Expand, "PRAGMA foreign_keys=off; PRAGMA user_version = 3; PRAGMA foreign_key_check;"),
            (Unknown, "PRAGMA writable_schema = ON"),
            (Unknown, "PRAGMA writable_schema = 1"),
            (Contract, "PRAGMA foreign_keys = ON; DROP TABLE a"),
            (Unknown, "PRAGMA foreign_keys = ON DROP TABLE a"),
            (Unknown, "ATTACH DATABASE 'x' AS y"),
            (Backfill, "INSERT OR REPLACE INTO a VALUES (1, 'x')"),
            (Unknown, "SELECT load_extension('evil')"),
            (Unknown, "CREATE TRIGGER t AFTER INSERT ON a BEGIN DELETE FROM b; END;"),
            (Unknown, ".read other.sql"),
            (Contract, "CREATE TABLE a_new (id int); INSERT INTO a_new SELECT * FROM a; DROP TABLE a; ALTER TABLE a_new RENAME TO a;"),
        ],
    );
}

#[test]
fn mysql_statements_have_their_class() {
    all_are(
        SqlDialect::Mysql,
        &[
            (Expand, "CREATE TABLE `a` (`id` INT AUTO_INCREMENT PRIMARY KEY) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4"),
            (Expand, "ALTER TABLE a ADD COLUMN b INT AFTER c, ALGORITHM=INSTANT"),
            (Contract, "ALTER TABLE a MODIFY COLUMN b BIGINT NOT NULL"),
            (Contract, "ALTER TABLE a CHANGE COLUMN b c INT"),
            (Contract, "RENAME TABLE a TO b"),
            (Backfill, "REPLACE INTO a VALUES (1)"),
            (Backfill, "INSERT IGNORE INTO a VALUES (1)"),
            (Contract, "/*!40000 DROP TABLE a */"),
            (Unknown, "/*M!100100 DROP TABLE a */ CREATE TABLE b (id int)"),
            (Contract, "# nothing here\nDROP TABLE a"),
            (Contract, "SELECT 1 --1; DROP TABLE a"),
            (Expand, "SET NAMES utf8mb4"),
            (Unknown, "SET NAMES gbk"),
            (Unknown, "DELIMITER //\nCREATE TABLE a (id int)//"),
            (Unknown, "SET sql_mode = ''"),
            (Unknown, "LOAD DATA INFILE 'x' INTO TABLE a"),
        ],
    );
}

#[test]
fn nothing_hides_in_comments_strings_or_quotes() {
    all_are(
        SqlDialect::Postgres,
        &[
            (Expand, "-- DROP TABLE a;\nCREATE TABLE b (id int); /* DROP TABLE c; */"),
            (Expand, "CREATE TABLE b (id text DEFAULT '; DROP TABLE a; --')"),
            (Contract, "CREATE TABLE b (id text DEFAULT '\\'); DROP TABLE a; --')"),
            (Expand, "/* outer /* inner */ DROP TABLE a; */ CREATE TABLE b (id int)"),
            (Expand, "CREATE FUNCTION f() RETURNS void AS $a$ $b$; DROP TABLE a; $b$ $a$ LANGUAGE sql"),
            (Contract, "CREATE FUNCTION f() RETURNS void AS $a$ x $a$ LANGUAGE sql; DROP TABLE a; SELECT $b$ y $b$"),
            (Expand, "CREATE TABLE \"drop table a; --\" (id int)"),
            (Contract, "CREATE TABLE b (id int)\n;\n\n;;dRoP/**/tAbLe a"),
            (Contract, "DO $$ x $$; DROP TABLE a"),
            (Contract, "-- interlock: expand because we checked\nDROP TABLE a"),
            (Contract, "/* interlock: class = expand */ ALTER TABLE a DROP COLUMN b -- safe"),
            (Unknown, "CREATE TABLE a (id int) DROP TABLE b"),
            (Unknown, "CREATE TABLE a (id text DEFAULT 'unclosed)"),
            (Unknown, "/* unclosed"),
            (Unknown, ""),
            (Unknown, " \n-- only a comment\n;;"),
        ],
    );
    all_are(
        SqlDialect::Sqlite,
        &[(Contract, "/* /* */ DROP TABLE a; -- */"), (Expand, "CREATE TABLE b (id text DEFAULT '\\'); -- '; DROP TABLE a;")],
    );
}

#[test]
fn a_table_the_file_adds_may_be_shaped_freely() {
    let add = "ALTER TABLE orders ADD CONSTRAINT c CHECK (id > 0); CREATE UNIQUE INDEX i ON orders (id); INSERT INTO orders VALUES (1);";
    all_are(
        SqlDialect::Postgres,
        &[
            (Expand, &format!("CREATE TABLE orders (id int); {add}")),
            (Expand, &format!("CREATE TABLE \"orders\" (id int); {add}")),
            (Expand, &format!("CREATE TABLE ORDERS (id int); {add}")),
            (Contract, add),
            // It may have been there before, is another one, or is hidden only for this session.
            (Contract, &format!("CREATE TABLE IF NOT EXISTS orders (id int); {add}")),
            (Contract, &format!("CREATE TABLE \"Orders\" (id int); {add}")),
            (Contract, &format!("CREATE TABLE other.orders (id int); {add}")),
            (Contract, &format!("CREATE TEMPORARY TABLE orders (id int); {add}")),
            (Contract, "CREATE TABLE orders (id int); DROP TABLE orders;"),
            (Contract, "CREATE TABLE orders (id int); ALTER TABLE orders RENAME TO users;"),
            (Unknown, &format!("CREATE TABLE orders (id int); SET search_path = other; {add}")),
            (Unknown, &format!("CREATE TABLE orders (id int); ROLLBACK; {add}")),
        ],
    );
    assert_eq!(class(SqlDialect::Mysql, &format!("CREATE TABLE ORDERS (id int); {add}")), Contract);
}

#[test]
fn locks_are_warned_of() {
    let warnings = |dialect, text: &str| read(dialect, "x", text).warnings.join("; ");
    assert_eq!(warnings(SqlDialect::Postgres, "\nCREATE INDEX i ON a (b)"), "line 2: blocks writes to `a` while the index is built");
    assert_eq!(warnings(SqlDialect::Postgres, "CREATE INDEX CONCURRENTLY i ON a (b)"), "");
    assert!(
        warnings(SqlDialect::Postgres, "BEGIN; CREATE INDEX CONCURRENTLY i ON a (b); COMMIT").contains("cannot run inside a transaction")
    );
    assert_eq!(warnings(SqlDialect::Postgres, "CREATE TABLE a (b int); CREATE INDEX i ON a (b)"), "");
    assert!(
        warnings(SqlDialect::Postgres, "ALTER TABLE a ADD COLUMN b uuid DEFAULT gen_random_uuid()").contains("rewrites the whole table")
    );
    assert_eq!(warnings(SqlDialect::Postgres, "ALTER TABLE a ADD COLUMN b int DEFAULT 0"), "");
    assert!(warnings(SqlDialect::Postgres, "ALTER TABLE a ALTER COLUMN b SET NOT NULL").contains("reads the whole table"));
}

#[test]
fn what_takes_data_away_says_so() {
    for (text, loses) in [
        ("ALTER TABLE a DROP COLUMN b", true),
        ("DROP TABLE a", true),
        ("TRUNCATE a", true),
        ("DELETE FROM a", true),
        ("DO $$ x $$", true),
        ("ALTER TABLE a RENAME COLUMN b TO c", false),
        ("DROP INDEX i", false),
        ("ALTER TABLE a ALTER COLUMN b SET NOT NULL", false),
        ("UPDATE a SET b = 1", false),
    ] {
        assert_eq!(read(SqlDialect::Postgres, "x", text).loses_data, loses, "{text}");
    }
}

#[test]
fn every_statement_is_named_with_its_line_and_reason() {
    let found = read(
        SqlDialect::Postgres,
        "0042_x.sql",
        "-- first\nCREATE TABLE a (id int);\n\nALTER TABLE b\n  DROP COLUMN c;\nDO $$ DROP TABLE d $$;\nUPDATE b SET e = 1 WHERE e IS NULL;",
    );
    let rows: Vec<_> = found.statements.iter().map(|found| (found.line, found.class, found.text.as_str())).collect();
    assert_eq!(
        rows,
        [
            (2, Expand, "CREATE TABLE a (id int)"),
            (4, Contract, "ALTER TABLE b   DROP COLUMN c"),
            (6, Unknown, "DO $$ DROP TABLE d $$"),
            (7, Backfill, "UPDATE b SET e = 1 WHERE e IS NULL"),
        ]
    );
    assert_eq!((found.class, found.reason.as_str()), (Contract, "drops a column"));
    assert!(found.statements[2].reason.starts_with("not understood as PostgreSQL: "), "{}", found.statements[2].reason);
}

#[test]
fn a_database_that_is_not_named_gets_the_worst_reading() {
    all_are(
        SqlDialect::Any,
        &[
            (Expand, "CREATE TABLE a (id int PRIMARY KEY, b varchar(20) NOT NULL)"),
            (Expand, "ALTER TABLE a ADD COLUMN b int"),
            (Backfill, "UPDATE a SET b = 1 WHERE b IS NULL"),
            (Contract, "DROP TABLE a"),
            // A comment for two of the three.
            (Contract, "CREATE TABLE b (id int); /*!40000 DROP TABLE a */"),
            // A string for one of the three.
            (Contract, "INSERT INTO b VALUES ('\\'); DROP TABLE a; -- ')"),
        ],
    );
    let found = read(SqlDialect::Any, "x", "CREATE TABLE b (id int); /*!40000 DROP TABLE a */");
    assert_eq!(found.reason, "drops a table (read as MySQL; say which database it is for)");
}

#[test]
fn what_is_too_large_or_too_deep_is_not_understood() {
    assert_eq!(class(SqlDialect::Postgres, &"x".repeat(MAX_BYTES + 1)), Unknown);
    assert_eq!(class(SqlDialect::Postgres, &format!("SELECT {}1{}", "(".repeat(20_000), ")".repeat(20_000))), Unknown);
    let many = "INSERT INTO a VALUES (1);".repeat(20_000);
    assert_eq!(read(SqlDialect::Postgres, "x", &many).statements.len(), 20_000);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn no_text_makes_it_panic(text in "(?s)[ -~\\n]{0,80}", dialect in 0usize..4) {
        let dialect = [SqlDialect::Any, SqlDialect::Postgres, SqlDialect::Sqlite, SqlDialect::Mysql][dialect];
        let found = read(dialect, "x", &text);
        prop_assert!(!found.statements.is_empty() || found.class == Unknown);
    }

    #[test]
    fn a_drop_after_anything_is_never_harmless(before in "(?s)[ -~\\n]{0,60}") {
        for dialect in [SqlDialect::Postgres, SqlDialect::Sqlite, SqlDialect::Mysql] {
            // On a line of its own, unless what comes before opens a string or a comment, which then never closes or is no statement.
            let found = read(dialect, "x", &format!("{before}\n;\nDROP TABLE a;"));
            prop_assert!(found.class.is_contract(), "{before}");
        }
    }
}

//! What one statement does to the release that still serves.

use super::{alter, calls};
use crate::model::migration::{MigrationClass, MigrationStatement, SqlDialect};
use sqlparser::ast::{
    AlterTypeOperation, CopyTarget, CreateIndex, CreateTable, Delete, Expr, Insert, ObjectName, ObjectType, Set, Statement, TableObject,
};
use std::collections::BTreeSet;

/// Settings of the session that change nothing outside it.
const HARMLESS_SETTINGS: [&str; 10] = [
    "lock_timeout",
    "statement_timeout",
    "idle_in_transaction_session_timeout",
    "client_min_messages",
    "check_function_bodies",
    "xmloption",
    "timezone",
    "maintenance_work_mem",
    "lock_wait_timeout",
    "innodb_lock_wait_timeout",
];

/// Values with which a string ends where it was read to end; with others `'\\'' ; DROP TABLE a; --'` is a string and a statement.
const PLAIN_TEXT: [(&str, &[&str]); 2] =
    [("standard_conforming_strings", &["on", "'on'", "true"]), ("client_encoding", &["'utf8'", "utf8", "'utf-8'", "unicode"])];

/// Character sets in which no other character holds the byte of a backslash or a quote.
const PLAIN_NAMES: [&str; 3] = ["utf8", "utf8mb3", "utf8mb4"];

/// The same of SQLite.
pub(super) const HARMLESS_PRAGMAS: [&str; 9] = [
    "foreign_keys",
    "defer_foreign_keys",
    "busy_timeout",
    "foreign_key_check",
    "integrity_check",
    "user_version",
    "optimize",
    "table_info",
    "cache_size",
];

/// What a statement does, without where it stands.
#[derive(Debug, Clone)]
pub(super) struct Judged {
    pub class: MigrationClass,
    pub reason: String,
    pub loses_data: bool,
    pub warnings: Vec<String>,
}

/// A file being read: what its earlier statements did.
pub(super) struct Reading {
    pub dialect: SqlDialect,
    /// Tables made earlier in the file: nothing that serves uses them yet.
    new_tables: BTreeSet<String>,
    in_transaction: bool,
}

impl Reading {
    pub fn new(dialect: SqlDialect) -> Self {
        Reading { dialect, new_tables: BTreeSet::new(), in_transaction: false }
    }

    /// Returns what the statement does, and remembers what it made.
    pub fn judge(&mut self, statement: &Statement) -> Judged {
        let mut judged = self.judge_itself(statement);
        for inner in calls::inside(statement) {
            judged = judged.and(match inner {
                calls::Inside::Statement(statement) => self.judge_itself(&statement),
                calls::Inside::Call(name) => Judged::unknown(format!("calls `{name}`, which may do anything")),
                calls::Inside::Into => Judged::unknown("makes a table out of a query"),
            });
        }
        judged
    }

    /// Tells whether the table was made earlier in this file.
    pub fn is_new(&self, table: &ObjectName) -> bool {
        self.new_tables.contains(&self.key(table))
    }

    /// Only PostgreSQL surely takes `Users` for `users`; elsewhere they are left to be two, which is the stricter reading.
    fn key(&self, name: &ObjectName) -> String {
        let part = |part: &sqlparser::ast::ObjectNamePart| match part.as_ident() {
            Some(ident) if ident.quote_style.is_none() && self.dialect == SqlDialect::Postgres => ident.value.to_lowercase(),
            Some(ident) => ident.value.clone(),
            None => part.to_string(),
        };
        name.0.iter().map(part).collect::<Vec<_>>().join("\u{0}")
    }

    fn judge_itself(&mut self, statement: &Statement) -> Judged {
        match statement {
            Statement::CreateTable(table) => self.create_table(table),
            Statement::CreateIndex(index) => self.create_index(index),
            Statement::AlterTable(table) => alter::judge(self, table),
            Statement::Insert(insert) => self.insert(insert),
            Statement::Update(update) if update.selection.is_none() && update.limit.is_none() => {
                Judged::backfill("changes every row").warning("locks every row it changes until its transaction ends")
            }
            Statement::Update(_) => Judged::backfill("changes rows"),
            Statement::Delete(Delete { selection: None, limit: None, .. }) => Judged::contract("deletes every row").losing(),
            Statement::Delete(_) => Judged::backfill("deletes rows"),
            Statement::Merge(_) => Judged::backfill("merges rows"),
            Statement::Copy { target: CopyTarget::Program { .. }, .. } => Judged::unknown("runs a program"),
            // Where the data ends is for the client to say: what stands after it may have been read as a comment in it.
            Statement::Copy { to: false, target: CopyTarget::Stdin, .. } => {
                Judged::unknown("its rows stand in the file and cannot be told from SQL")
            }
            Statement::Copy { to: false, .. } => Judged::backfill("adds rows"),
            Statement::Truncate(_) => Judged::contract("deletes every row").losing(),
            Statement::AlterType(alter) => match alter.operation {
                AlterTypeOperation::AddValue(_) => Judged::expand("adds a value to a type"),
                _ => Judged::contract("renames what the serving release may use"),
            },
            Statement::CreateView(view) if view.or_replace || view.or_alter => Judged::contract("replaces a view"),
            Statement::CreateFunction(function) if function.or_replace || function.or_alter => {
                Judged::unknown("replaces a function, whose new body may do anything")
            }
            Statement::CreateTrigger(trigger) if !self.is_new(&trigger.table_name) => {
                Judged::unknown("a trigger acts on what the serving release writes")
            }
            Statement::CreateTrigger(trigger) if trigger.or_replace || trigger.or_alter => Judged::unknown("replaces a trigger"),
            Statement::CreatePolicy(policy) if !self.is_new(&policy.table_name) => {
                Judged::contract("a policy may hide rows from the serving release")
            }
            Statement::CreateView(_)
            | Statement::CreateFunction(_)
            | Statement::CreateTrigger(_)
            | Statement::CreatePolicy(_)
            | Statement::CreateSchema { .. }
            | Statement::CreateSequence { .. }
            | Statement::CreateType { .. }
            | Statement::CreateDomain(_)
            | Statement::CreateExtension(_)
            | Statement::CreateCollation(_)
            | Statement::CreateRole(_)
            | Statement::CreateVirtualTable { .. } => Judged::expand("adds something new"),
            Statement::Grant(_) => Judged::expand("grants a right"),
            Statement::Revoke(_) => Judged::contract("takes a right away"),
            Statement::Drop { object_type, .. } => dropped(object_type),
            Statement::DropFunction(_)
            | Statement::DropProcedure { .. }
            | Statement::DropTrigger(_)
            | Statement::DropDomain(_)
            | Statement::DropPolicy(_)
            | Statement::DropExtension(_)
            | Statement::DropOperator(_) => Judged::contract("drops what the serving release may use"),
            Statement::RenameTable(_) | Statement::AlterIndex { .. } => Judged::contract("renames what the serving release may use"),
            Statement::AlterView { .. } | Statement::AlterPolicy(_) | Statement::AlterSchema(_) => {
                Judged::contract("changes what the serving release may use")
            }
            Statement::StartTransaction { statements, exception: None, .. } if statements.is_empty() => {
                self.in_transaction = true;
                Judged::nothing()
            }
            Statement::Commit { .. } => {
                self.in_transaction = false;
                Judged::nothing()
            }
            // What was made before it may not have been made, so the rest cannot be read.
            Statement::Rollback { .. } => Judged::unknown("takes back what the file did before"),
            Statement::Set(set) => setting(set),
            Statement::Pragma { name, .. } if is_one_of(name, &HARMLESS_PRAGMAS) => Judged::nothing(),
            Statement::Lock(_) | Statement::LockTables { .. } => Judged::nothing().warning("locks tables until its transaction ends"),
            Statement::Vacuum(_) => Judged::nothing().warning("may lock the table while it runs"),
            Statement::Query(_)
            | Statement::Copy { .. }
            | Statement::Comment { .. }
            | Statement::Analyze(_)
            | Statement::Savepoint { .. }
            | Statement::ReleaseSavepoint { .. }
            | Statement::UnlockTables => Judged::nothing(),
            _ => Judged::unknown("no rule says what this statement does to the serving release"),
        }
    }

    fn create_table(&mut self, table: &CreateTable) -> Judged {
        if table.or_replace {
            return Judged::contract("replaces a table").losing();
        }
        if table.partition_of.is_some() {
            return Judged::unknown("a new partition takes rows the serving release writes");
        }
        // A temporary table hides one of the same name; one that may be there already is not new.
        if !table.temporary && !table.if_not_exists {
            self.new_tables.insert(self.key(&table.name));
        }
        Judged::expand("adds a table")
    }

    fn create_index(&mut self, index: &CreateIndex) -> Judged {
        if self.is_new(&index.table_name) {
            return Judged::expand("indexes a table this file adds");
        }
        let warning = match self.dialect {
            SqlDialect::Postgres if !index.concurrently => {
                Some(format!("blocks writes to `{}` while the index is built", index.table_name))
            }
            SqlDialect::Postgres if self.in_transaction => Some("`CONCURRENTLY` cannot run inside a transaction".to_owned()),
            SqlDialect::Sqlite => Some("blocks all writes while the index is built".to_owned()),
            _ => None,
        };
        let judged = match index.unique {
            true => Judged::contract("the serving release may write what a unique index forbids"),
            false => Judged::expand("adds an index"),
        };
        warning.into_iter().fold(judged, Judged::warning)
    }

    fn insert(&self, insert: &Insert) -> Judged {
        match &insert.table {
            TableObject::TableName(name) if self.is_new(name) => Judged::expand("fills a table this file adds"),
            TableObject::TableName(_) => Judged::backfill("adds rows"),
            _ => Judged::unknown("adds rows to something that is no table"),
        }
    }
}

fn dropped(object: &ObjectType) -> Judged {
    let judged = Judged::contract(format!("drops a {}", object.to_string().to_lowercase()));
    match object {
        ObjectType::Table | ObjectType::Schema | ObjectType::Database | ObjectType::Type => judged.losing(),
        _ => judged,
    }
}

fn setting(set: &Set) -> Judged {
    match set {
        Set::SingleAssignment { variable, hivevar: false, .. } if is_one_of(variable, &HARMLESS_SETTINGS) => Judged::nothing(),
        Set::SingleAssignment { variable, hivevar: false, values, .. } if is_plain(variable, values) => Judged::nothing(),
        Set::SetNames { charset_name, .. } if PLAIN_NAMES.iter().any(|plain| charset_name.value.eq_ignore_ascii_case(plain)) => {
            Judged::nothing()
        }
        Set::SetTimeZone { .. } | Set::SetTransaction { .. } => Judged::nothing(),
        // `search_path`, `ROLE`, `sql_mode` …: the same statement afterwards is another one.
        _ => Judged::unknown("changes what the statements after it mean"),
    }
}

fn is_plain(variable: &ObjectName, values: &[Expr]) -> bool {
    let [value] = values else { return false };
    let value = value.to_string().to_lowercase();
    PLAIN_TEXT.iter().any(|(name, plain)| is_one_of(variable, &[name]) && plain.contains(&value.as_str()))
}

fn is_one_of(name: &ObjectName, names: &[&str]) -> bool {
    matches!(name.0.as_slice(), [only] if names.iter().any(|known| only.to_string().eq_ignore_ascii_case(known)))
}

impl Judged {
    pub fn new(class: MigrationClass, reason: impl Into<String>) -> Self {
        Judged { class, reason: reason.into(), loses_data: false, warnings: Vec::new() }
    }

    pub fn expand(reason: impl Into<String>) -> Self {
        Judged::new(MigrationClass::Expand, reason)
    }

    pub fn backfill(reason: impl Into<String>) -> Self {
        Judged::new(MigrationClass::Backfill, reason)
    }

    pub fn contract(reason: impl Into<String>) -> Self {
        Judged::new(MigrationClass::Contract, reason)
    }

    /// Unknown may lose anything.
    pub fn unknown(reason: impl Into<String>) -> Self {
        Judged::new(MigrationClass::Unknown, reason).losing()
    }

    pub fn nothing() -> Self {
        Judged::expand("changes nothing")
    }

    pub fn losing(self) -> Self {
        Judged { loses_data: true, ..self }
    }

    pub fn warning(mut self, warning: impl Into<String>) -> Self {
        self.warnings.push(warning.into());
        self
    }

    /// Returns both together: the worse one's reason, everything else of both.
    pub fn and(self, other: Judged) -> Self {
        let (mut worse, better) = if other.class > self.class { (other, self) } else { (self, other) };
        worse.loses_data |= better.loses_data;
        worse.warnings.extend(better.warnings);
        worse
    }

    pub fn at(self, line: u64, text: String) -> MigrationStatement {
        let Judged { class, reason, loses_data, warnings } = self;
        MigrationStatement { line, text, class, reason, loses_data, warnings }
    }
}

//! What `ALTER TABLE` does to the release that still serves.

use super::statement::{Judged, Reading};
use crate::model::migration::SqlDialect;
use sqlparser::ast::{AlterColumnOperation, AlterTable, AlterTableOperation, ColumnDef, ColumnOption, Expr, Value};

/// Types that bring their own default.
const SERIAL: [&str; 6] = ["SERIAL", "BIGSERIAL", "SMALLSERIAL", "SERIAL4", "SERIAL8", "SERIAL2"];

/// Returns the worst of the statement's operations.
pub(super) fn judge(reading: &Reading, table: &AlterTable) -> Judged {
    if table.location.is_some() || table.on_cluster.is_some() || table.table_type.is_some() {
        return Judged::unknown("no rule says what this does to the serving release");
    }
    let is_new = reading.is_new(&table.name);
    table.operations.iter().map(|operation| operation_of(reading, operation, is_new)).fold(Judged::nothing(), keep_worse)
}

/// As [`Judged::and`], and of two equal ones the later: `changes nothing` is the weakest reason.
fn keep_worse(so_far: Judged, next: Judged) -> Judged {
    if next.class >= so_far.class { next.and(so_far) } else { so_far.and(next) }
}

fn operation_of(reading: &Reading, operation: &AlterTableOperation, is_new: bool) -> Judged {
    use AlterTableOperation as Op;
    match operation {
        Op::AddColumn { .. }
        | Op::AddConstraint { .. }
        | Op::AlterColumn { .. }
        | Op::ValidateConstraint { .. }
        | Op::EnableRowLevelSecurity
        | Op::ForceRowLevelSecurity
        | Op::OwnerTo { .. }
            if is_new =>
        {
            Judged::expand("shapes a table this file adds")
        }
        Op::AddColumn { column_def, .. } => add_column(reading.dialect, column_def),
        Op::AddConstraint { .. } => Judged::contract("the serving release may write what a constraint forbids")
            .warning("checks every row under a lock unless the constraint is `NOT VALID`"),
        Op::AlterColumn { op, .. } => alter_column(op),
        Op::ValidateConstraint { .. } => {
            Judged::expand("checks rows against a constraint that holds already").warning("reads the whole table")
        }
        Op::DropColumn { .. } => Judged::contract("drops a column").losing(),
        Op::DropPartitions { .. } => Judged::contract("drops a partition").losing(),
        Op::DropConstraint { .. } | Op::DropPrimaryKey { .. } | Op::DropForeignKey { .. } | Op::DropIndex { .. } => {
            Judged::contract("drops what the serving release may rely on")
        }
        Op::RenameColumn { .. } | Op::RenameTable { .. } | Op::RenameConstraint { .. } | Op::RenamePartitions { .. } => {
            Judged::contract("renames what the serving release may use")
        }
        Op::ChangeColumn { .. } | Op::ModifyColumn { .. } => {
            Judged::contract("changes a column's type or rules").losing().warning("may rewrite the whole table under a lock")
        }
        Op::EnableRowLevelSecurity | Op::ForceRowLevelSecurity => Judged::contract("may hide rows from the serving release"),
        Op::OwnerTo { .. } => Judged::contract("may take rights from the serving release"),
        Op::Algorithm { .. } | Op::Lock { .. } | Op::AutoIncrement { .. } | Op::ReplicaIdentity { .. } => Judged::nothing(),
        _ => Judged::unknown("no rule says what this does to the serving release"),
    }
}

fn alter_column(operation: &AlterColumnOperation) -> Judged {
    match operation {
        AlterColumnOperation::SetNotNull => {
            Judged::contract("the serving release may write NULL").warning("reads the whole table under a lock")
        }
        AlterColumnOperation::DropNotNull => Judged::expand("allows NULL"),
        AlterColumnOperation::SetDefault { .. } => Judged::expand("sets a default for rows to come"),
        AlterColumnOperation::DropDefault => Judged::contract("the serving release may rely on the default"),
        // What did not fit the new type is gone.
        AlterColumnOperation::SetDataType { .. } => {
            Judged::contract("changes a column's type").losing().warning("may rewrite the whole table under a lock")
        }
        AlterColumnOperation::AddGenerated { .. } => Judged::contract("the serving release may write the column itself"),
    }
}

fn add_column(dialect: SqlDialect, column: &ColumnDef) -> Judged {
    let (mut is_filled, mut not_null) = (SERIAL.contains(&column.data_type.to_string().to_uppercase().as_str()), false);
    let mut judged = Judged::expand("adds a column");
    if is_filled {
        judged = judged.warning("rewrites the whole table under a lock");
    }
    for option in &column.options {
        match &option.option {
            ColumnOption::NotNull => not_null = true,
            ColumnOption::Default(value) if is_null(value) => {}
            ColumnOption::Default(value) => {
                is_filled = true;
                // A constant is stored once; anything else is worked out for each row there is.
                if dialect == SqlDialect::Postgres && matches!(value, Expr::Function(_)) {
                    judged = judged.warning("a default that is not constant rewrites the whole table under a lock");
                }
            }
            ColumnOption::Generated { .. } | ColumnOption::Identity(_) => {
                is_filled = true;
                judged = judged.warning("may rewrite the whole table under a lock");
            }
            ColumnOption::PrimaryKey(_) => return Judged::contract("the serving release does not fill a primary key"),
            ColumnOption::Unique(_) => judged = judged.warning("builds a unique index under a lock"),
            ColumnOption::Check(_) => return Judged::contract("the serving release may write what the check forbids"),
            ColumnOption::ForeignKey(_) => judged = judged.warning("locks the table it refers to for a moment"),
            ColumnOption::Null
            | ColumnOption::Comment(_)
            | ColumnOption::Collation(_)
            | ColumnOption::CharacterSet(_)
            | ColumnOption::OnUpdate(_)
            | ColumnOption::Invisible => {}
            _ => return Judged::unknown("a column with a rule that is not known"),
        }
    }
    let is_unique = column.options.iter().any(|option| matches!(option.option, ColumnOption::Unique(_)));
    match (not_null, is_filled) {
        (true, false) => Judged::contract("the serving release does not fill a column that must not be NULL"),
        (_, true) if is_unique => Judged::contract("every row the serving release writes would get the same value, which must be unique"),
        _ => judged,
    }
}

fn is_null(value: &Expr) -> bool {
    matches!(value, Expr::Value(value) if value.value == Value::Null)
}

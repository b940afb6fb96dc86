//! Migration files, read: what each does to the release that still serves, which are pending, and how far back one can go afterwards.
//!
//! Everything is a function over file texts. Only what is understood counts as harmless: a statement that cannot be parsed, calls what
//! is not known, or does something no rule names is `unknown`, and that counts as `contract`. Nothing a file says about itself is
//! believed; comments are not read. The command that runs the migrations must stop at the first error, as all runners do and `psql`
//! does with `ON_ERROR_STOP`: what follows a failed `CREATE TABLE` is read as if it had succeeded.
//!
//! To teach it a statement: an arm in [`statement`], or in [`alter`] when it alters a table, and a row in `tests.rs`.

mod alter;
mod calls;
mod pending;
mod returning;
mod statement;
#[cfg(test)]
mod tests;

pub use pending::{Pending, by_number, has_down, is_down, pending};
pub use returning::{BackupState, Return, ReturnKind, return_after};

use crate::model::{
    migration::{Migration, MigrationClass, MigrationStatement, SqlDialect},
    text::visible_line,
};
use sqlparser::{
    dialect::{Dialect, MySqlDialect, PostgreSqlDialect, SQLiteDialect},
    parser::Parser,
    tokenizer::{Token, TokenWithSpan, Tokenizer, Whitespace},
};
use statement::{Judged, Reading};

/// No larger file is read.
pub const MAX_BYTES: usize = 4 << 20;
/// How much of a statement is shown.
const HEAD: usize = 100;

/// Reads one file.
pub fn read(dialect: SqlDialect, name: &str, text: &str) -> Migration {
    let statements = match dialect {
        SqlDialect::Any => worst_reading(text),
        dialect => read_as(dialect, text),
    };
    // Of equally bad ones the first is named.
    let worst = statements.iter().rev().max_by_key(|statement| statement.class);
    let (class, reason) = match worst {
        Some(worst) => (worst.class, worst.reason.clone()),
        None => (MigrationClass::Unknown, "the file holds no statement; what it should do is not known".to_owned()),
    };
    Migration {
        name: name.to_owned(),
        class,
        reason,
        loses_data: statements.iter().any(|statement| statement.loses_data),
        warnings: statements
            .iter()
            .flat_map(|found| found.warnings.iter().map(|warning| format!("line {}: {warning}", found.line)))
            .collect(),
        statements,
    }
}

/// Reads the text as every dialect, and returns the worst reading: the same bytes may be a comment here and a statement there.
fn worst_reading(text: &str) -> Vec<MigrationStatement> {
    let worst = |statements: &[MigrationStatement]| statements.iter().map(|statement| statement.class).max();
    let readings = [SqlDialect::Postgres, SqlDialect::Sqlite, SqlDialect::Mysql].map(|dialect| (dialect, read_as(dialect, text)));
    let [first, ..] = &readings;
    let agreed = readings.iter().all(|(_, reading)| worst(reading) == worst(&first.1));
    let (dialect, mut found) = readings.into_iter().max_by_key(|(_, reading)| worst(reading)).expect("three dialects were read");
    if !agreed {
        for statement in found.iter_mut().filter(|statement| statement.class.is_contract()) {
            statement.reason.push_str(&format!(" (read as {dialect}; say which database it is for)"));
        }
    }
    found
}

fn read_as(dialect: SqlDialect, text: &str) -> Vec<MigrationStatement> {
    if text.len() > MAX_BYTES {
        return vec![unread(1, text, format!("the file is larger than {} MiB and was not read", MAX_BYTES >> 20))];
    }
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let spoken: &dyn Dialect = match dialect {
        SqlDialect::Sqlite => &SQLiteDialect {},
        SqlDialect::Mysql => &MySqlDialect {},
        SqlDialect::Postgres | SqlDialect::Any => &PostgreSqlDialect {},
    };
    let tokens = match Tokenizer::new(spoken, text).tokenize_with_location() {
        Ok(tokens) => tokens,
        Err(err) => return vec![unread(err.location.line.max(1), text, format!("not readable as {dialect}: {}", err.message))],
    };
    // MariaDB runs these; the parser takes them for comments.
    let hidden =
        |token: &&TokenWithSpan| matches!(&token.token, Token::Whitespace(Whitespace::MultiLineComment(text)) if text.starts_with("M!"));
    let mut found = Vec::new();
    if dialect == SqlDialect::Mysql
        && let Some(token) = tokens.iter().find(hidden)
    {
        found.push(unread(token.span.start.line, "/*M! … */", "a comment that MariaDB runs".to_owned()));
    }
    let (mut parser, mut reading) = (Parser::new(spoken).with_tokens_with_locations(tokens.clone()), Reading::new(dialect));
    loop {
        while parser.consume_token(&Token::SemiColon) {}
        if parser.peek_token_ref().token == Token::EOF {
            return found;
        }
        let line = parser.peek_token_ref().span.start.line;
        let from = parser.index();
        let parsed = parser.parse_statement();
        let judged = match parsed {
            _ if dialect == SqlDialect::Sqlite && is_switch(&tokens[from.min(tokens.len())..]) => Judged::nothing(),
            Ok(statement) if matches!(parser.peek_token_ref().token, Token::SemiColon | Token::EOF) => reading.judge(&statement),
            Ok(_) => Judged::unknown(format!("there is more before the `;` than {dialect} was understood to say")),
            Err(err) => Judged::unknown(format!("not understood as {dialect}: {}", visible_line(&err.to_string(), 160))),
        };
        // Whatever went wrong, the next statement starts after the next `;` that stands in no string and no comment.
        while !matches!(parser.peek_token_ref().token, Token::SemiColon | Token::EOF) {
            parser.next_token();
        }
        let source = tokens[from.min(tokens.len())..parser.index().min(tokens.len())].iter().map(|token| &token.token);
        let source: String = source.skip_while(|token| matches!(token, Token::Whitespace(_))).map(ToString::to_string).collect();
        found.push(judged.at(line, visible_line(source.trim(), HEAD)));
    }
}

/// Tells whether a statement is `PRAGMA foreign_keys = ON` or like it, which the parser knows with a number only.
fn is_switch(tokens: &[TokenWithSpan]) -> bool {
    let spoken = tokens.iter().map(|token| &token.token).filter(|token| !matches!(token, Token::Whitespace(_)));
    let words: Vec<&Token> = spoken.take_while(|token| !matches!(token, Token::SemiColon | Token::EOF)).take(5).collect();
    let [Token::Word(pragma), Token::Word(name), Token::Eq, Token::Word(value)] = words.as_slice() else { return false };
    let is = |word: &str, known: &[&str]| known.iter().any(|known| word.eq_ignore_ascii_case(known));
    is(&pragma.value, &["PRAGMA"])
        && is(&name.value, &statement::HARMLESS_PRAGMAS)
        && is(&value.value, &["ON", "OFF", "TRUE", "FALSE", "YES", "NO"])
}

fn unread(line: u64, text: &str, reason: String) -> MigrationStatement {
    Judged::unknown(reason).at(line, visible_line(text.trim(), HEAD))
}

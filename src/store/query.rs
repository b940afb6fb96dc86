//! How a query is asked: values go in and come out as the model's own types. All SQL passes here, so U+0000 is refused in one place.

use super::{
    connections::On,
    error::{Result, StoreError},
};
use crate::model::*;
use anyhow::{Context, anyhow};
use futures_util::future::BoxFuture;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use sqlx::{Any, AssertSqlSafe, Row as _, any::AnyRow};
use std::borrow::Cow;

/// A query with its values.
pub(super) struct Sql {
    text: Cow<'static, str>,
    values: Vec<Bound>,
}

/// A value on its way into the database.
pub(super) enum Bound {
    Text(Option<String>),
    Number(Option<i64>),
    Bytes(Vec<u8>),
}

/// What can be bound.
pub(super) trait Bind {
    fn bound(self) -> Bound;
    /// What stands for an absent value: PostgreSQL wants to know its type.
    fn absent() -> Bound;
}

/// What a column can be read as.
pub(super) trait Column: Sized {
    fn read(row: &AnyRow, name: &str) -> Result<Self>;
}

/// Starts a query.
pub(super) fn sql(text: &'static str) -> Sql {
    Sql { text: text.into(), values: Vec::new() }
}

/// Starts a query with so many rows of so many values each where its text says `{rows}`; they are bound one row after the other.
pub(super) fn sql_of_rows(text: &'static str, rows: usize, columns: usize) -> Sql {
    let row =
        |row: usize| format!("({})", (1..=columns).map(|column| format!("${}", row * columns + column)).collect::<Vec<_>>().join(", "));
    let rows = (0..rows).map(row).collect::<Vec<_>>().join(", ");
    Sql { text: text.replace("{rows}", &rows).into(), values: Vec::new() }
}

impl Sql {
    /// Binds the next `$n`.
    pub(super) fn bind(mut self, value: impl Bind) -> Self {
        self.values.push(value.bound());
        self
    }

    /// Runs it, and returns how many rows it changed.
    ///
    /// Boxed, as the other two are: what waits for an answer would be a part of every call that asks something.
    pub(super) fn run<'a>(self, on: impl Into<On<'a>>) -> BoxFuture<'a, Result<u64>> {
        let on = on.into();
        Box::pin(async move {
            let (query, mut on) = (self.prepared()?, on.hold().await?);
            let done = query.execute(on.connection()).await?;
            on.answered();
            Ok(done.rows_affected())
        })
    }

    /// Returns the one row there may be.
    pub(super) fn one<'a>(self, on: impl Into<On<'a>>) -> BoxFuture<'a, Result<Option<AnyRow>>> {
        let on = on.into();
        Box::pin(async move {
            let (query, mut on) = (self.prepared()?, on.hold().await?);
            let row = query.fetch_optional(on.connection()).await?;
            on.answered();
            Ok(row)
        })
    }

    /// Returns all rows.
    pub(super) fn all<'a>(self, on: impl Into<On<'a>>) -> BoxFuture<'a, Result<Vec<AnyRow>>> {
        let on = on.into();
        Box::pin(async move {
            let (query, mut on) = (self.prepared()?, on.hold().await?);
            let rows = query.fetch_all(on.connection()).await?;
            on.answered();
            Ok(rows)
        })
    }

    /// Returns the first column of the one row there may be; a NULL reads as no row.
    pub(super) async fn value<T: Column>(self, on: impl Into<On<'_>>, name: &str) -> Result<Option<T>> {
        match self.one(on).await? {
            Some(row) => row.read(name),
            None => Ok(None),
        }
    }

    fn prepared(self) -> Result<sqlx::query::Query<'static, Any, sqlx::any::AnyArguments>> {
        let mut query = match self.text {
            Cow::Borrowed(text) => sqlx::query(text),
            // Ours as well, with the numbers of its placeholders.
            Cow::Owned(text) => sqlx::query(AssertSqlSafe(text)),
        };
        for value in self.values {
            query = match value {
                Bound::Text(Some(text)) if text.contains('\0') => return Err(anyhow!("a text with U+0000 reached the database").into()),
                Bound::Text(text) => query.bind(text),
                Bound::Number(number) => query.bind(number),
                Bound::Bytes(bytes) => query.bind(bytes),
            };
        }
        Ok(query)
    }
}

/// Reading columns of a row by name.
pub(super) trait Read {
    fn read<T: Column>(&self, name: &str) -> Result<T>;

    /// Reads a JSON column.
    fn json<T: DeserializeOwned>(&self, name: &str) -> Result<T> {
        let text: String = self.read(name)?;
        Ok(serde_json::from_str(&text).with_context(|| format!("reading the JSON in column `{name}`"))?)
    }

    /// Reads the word of a plain enum.
    fn word<T: DeserializeOwned>(&self, name: &str) -> Result<T> {
        let text: String = self.read(name)?;
        Ok(serde_json::from_value(Value::String(text)).with_context(|| format!("reading the word in column `{name}`"))?)
    }
}

impl Read for AnyRow {
    fn read<T: Column>(&self, name: &str) -> Result<T> {
        T::read(self, name)
    }
}

/// Returns the word serde writes for a plain enum.
pub(super) fn word(value: &impl Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(Value::String(word)) => word,
        _ => unreachable!("a plain enum is written as a word"),
    }
}

/// Returns a value as JSON text.
pub(super) fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("our own types have a JSON form")
}

/// Returns `,a,b,`: a list of states to be searched with `LIKE '%,' || state || ',%'`, since Any knows no arrays.
pub(super) fn one_of<'a>(words: impl IntoIterator<Item = &'a str>) -> String {
    words.into_iter().fold(String::from(","), |list, word| list + word + ",")
}

macro_rules! bind_text {
    ($($kind:ty => |$value:ident| $text:expr;)*) => {$(
        impl Bind for $kind {
            fn bound(self) -> Bound {
                let $value = self;
                Bound::Text(Some($text))
            }
            fn absent() -> Bound {
                Bound::Text(None)
            }
        }
    )*};
}

macro_rules! bind_number {
    ($($kind:ty => |$value:ident| $number:expr;)*) => {$(
        impl Bind for $kind {
            fn bound(self) -> Bound {
                let $value = self;
                Bound::Number(Some($number))
            }
            fn absent() -> Bound {
                Bound::Number(None)
            }
        }
    )*};
}

bind_text! {
    &str => |text| text.to_owned();
    String => |text| text;
    &String => |text| text.clone();
    &Value => |value| value.to_string();
    DirectiveState => |state| state.as_str().to_owned();
    PlanState => |state| state.as_str().to_owned();
    DeploymentState => |state| state.as_str().to_owned();
    StepState => |state| state.as_str().to_owned();
}

// A number beyond i64 stands for "more than there is".
bind_number! {
    i64 => |number| number;
    u64 => |number| i64::try_from(number).unwrap_or(i64::MAX);
    u32 => |number| number.into();
    i32 => |number| number.into();
    usize => |number| i64::try_from(number).unwrap_or(i64::MAX);
    bool => |flag| flag.into();
    Timestamp => |at| at.0;
    Epoch => |epoch| epoch.0;
}

impl Bind for &[u8] {
    fn bound(self) -> Bound {
        Bound::Bytes(self.to_vec())
    }
    fn absent() -> Bound {
        Bound::Text(None)
    }
}

impl<T: Bind> Bind for Option<T> {
    fn bound(self) -> Bound {
        self.map_or_else(T::absent, T::bound)
    }
    fn absent() -> Bound {
        T::absent()
    }
}

macro_rules! text_newtypes {
    ($($kind:ident)*) => {$(
        impl Bind for &$kind {
            fn bound(self) -> Bound {
                Bound::Text(Some(self.0.clone()))
            }
            fn absent() -> Bound {
                Bound::Text(None)
            }
        }
        impl Column for $kind {
            fn read(row: &AnyRow, name: &str) -> Result<Self> {
                Ok($kind(String::read(row, name)?))
            }
        }
    )*};
}

text_newtypes! { Sha256 DirectiveId PlanId DeploymentId RunbookId ServiceName EnvironmentName ApproverName GateName StepId EvidenceId }

macro_rules! columns {
    ($($kind:ty => $raw:ty, |$value:ident| $read:expr;)*) => {$(
        impl Column for $kind {
            fn read(row: &AnyRow, name: &str) -> Result<Self> {
                let $value = row.try_get::<$raw, _>(name)?;
                Ok($read)
            }
        }
    )*};
}

columns! {
    String => String, |text| text;
    i64 => i64, |number| number;
    u64 => i64, |number| number.max(0) as u64;
    u32 => i64, |number| u32::try_from(number.max(0)).unwrap_or(u32::MAX);
    Vec<u8> => Vec<u8>, |bytes| bytes;
    Timestamp => i64, |at| Timestamp(at);
    Epoch => i64, |epoch| Epoch(epoch);
    Value => String, |text| serde_json::from_str(&text).map_err(|error| StoreError::Other(error.into()))?;
    DirectiveState => String, |text| DirectiveState::parse(&text);
    PlanState => String, |text| PlanState::parse(&text);
    DeploymentState => String, |text| DeploymentState::parse(&text);
    StepState => String, |text| StepState::parse(&text);
}

impl<T: Column> Column for Option<T> {
    fn read(row: &AnyRow, name: &str) -> Result<Self> {
        use sqlx::ValueRef;
        match row.try_get_raw(name)?.is_null() {
            true => Ok(None),
            false => T::read(row, name).map(Some),
        }
    }
}

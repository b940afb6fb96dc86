//! An operation with its types erased, as the edges see it.

use super::{Context, Effect, NextAction, Operation, Reply, Toolset, arguments};
use crate::{error::Error, manifest::Manifest};
use futures_util::future::BoxFuture;
use schemars::{JsonSchema, generate::SchemaSettings};
use serde::Serialize;
use serde_json::{Map, Value};
use std::sync::Arc;

const GUIDANCE_BYTES: usize = 1024;

/// An operation with its types erased.
#[derive(Clone)]
pub struct Entry {
    /// `verb_noun`.
    pub name: &'static str,
    /// The set it belongs to.
    pub toolset: Toolset,
    /// What it may do to the world.
    pub effect: Effect,
    /// Its description and its docs.
    pub manual: Manifest,
    /// JSON schema of the arguments.
    pub input_schema: Value,
    /// Adds its arguments to a CLI command.
    pub command: fn(clap::Command) -> clap::Command,
    /// Reads the arguments from a parsed command line.
    pub params: fn(&clap::ArgMatches) -> Result<Value, Error>,
    /// Calls it.
    pub call: fn(Arc<Context>, Value) -> BoxFuture<'static, Result<Value, Error>>,
}

impl Entry {
    /// Erases the types of an operation.
    pub fn of<O: Operation>() -> Entry {
        Entry {
            name: O::NAME,
            toolset: O::TOOLSET,
            effect: O::EFFECT,
            manual: Manifest::parse(O::MANUAL),
            input_schema: schema_of::<O::Params>(),
            command: <O::Params as clap::Args>::augment_args,
            params: |matches| {
                let params =
                    <O::Params as clap::FromArgMatches>::from_arg_matches(matches).map_err(|err| Error::invalid(err.to_string()))?;
                Ok(arguments::without_nulls(serde_json::to_value(params).map_err(Error::internal)?))
            },
            call: |ctx, params| {
                Box::pin(async move {
                    let params = arguments::read::<O::Params>(params)?;
                    let reply = O::run(&ctx, params).await?;
                    serde_json::to_value(settled(reply)).map_err(Error::internal)
                })
            },
        }
    }

    /// Returns the names of the required arguments.
    pub fn required(&self) -> Vec<&str> {
        self.input_schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect()
    }

    /// Returns the name as the command line writes it.
    pub fn kebab(&self) -> String {
        self.name.replace('_', "-")
    }
}

/// Holds the envelope's promises: exactly one recommended action, short guidance.
fn settled<T: Serialize>(mut reply: Reply<T>) -> Reply<T> {
    settle(&mut reply.next_actions);
    if reply.guidance.len() > GUIDANCE_BYTES {
        let end = (0..=GUIDANCE_BYTES - 3).rev().find(|&end| reply.guidance.is_char_boundary(end)).unwrap_or(0);
        reply.guidance.truncate(end);
        reply.guidance.push('…');
    }
    reply
}

/// Leaves exactly one recommended action: the first that is marked, else the first.
pub(super) fn settle(actions: &mut [NextAction]) {
    let chosen = actions.iter().position(|action| action.recommended).unwrap_or(0);
    for (index, action) in actions.iter_mut().enumerate() {
        action.recommended = index == chosen;
    }
}

fn schema_of<P: JsonSchema>() -> Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| {
        settings.inline_subschemas = true;
        settings.meta_schema = None;
    });
    let mut schema = settings.into_generator().into_root_schema_for::<P>().to_value();
    // The type's own doc comment says nothing the tool's description does not.
    schema.as_object_mut().map(|schema| schema.remove("description"));
    plain(&mut schema);
    schema
}

/// Makes a schema short and portable: no titles, no integer formats, no `null` beside a type, unit enums as `enum`.
fn plain(schema: &mut Value) {
    match schema {
        Value::Array(items) => items.iter_mut().for_each(plain),
        Value::Object(object) => {
            plain_object(object);
            for (key, value) in object.iter_mut() {
                match (key.as_str(), value) {
                    // Names of arguments are not keywords.
                    ("properties", Value::Object(properties)) => properties.values_mut().for_each(plain),
                    (_, value) => plain(value),
                }
            }
        }
        _ => {}
    }
}

fn plain_object(object: &mut Map<String, Value>) {
    object.remove("title");
    object.remove("$schema");
    if object.get("default") == Some(&Value::Null) {
        object.remove("default");
    }
    if object.get("format").and_then(Value::as_str).is_some_and(|format| format.starts_with("uint") || format.starts_with("int")) {
        object.remove("format");
    }
    if let Some(Value::Array(types)) = object.get_mut("type") {
        types.retain(|name| name != "null");
        if let [only] = types.as_slice() {
            let only = only.clone();
            object.insert("type".into(), only);
        }
    }
    if let Some(Value::Array(values)) = object.get_mut("enum") {
        values.retain(|value| !value.is_null());
    }
    for keyword in ["anyOf", "oneOf"] {
        let Some(Value::Array(mut branches)) = object.remove(keyword) else { continue };
        branches.retain(|branch| branch["type"] != "null");
        let constants: Vec<Value> = branches.iter().flat_map(constants_of).collect();
        if let [Value::Object(only)] = branches.as_slice() {
            for (key, value) in only.clone() {
                object.entry(key).or_insert(value);
            }
            // What came in may hold the same keywords.
            return plain_object(object);
        } else if branches.iter().all(|branch| !constants_of(branch).is_empty()) {
            object.insert("type".into(), "string".into());
            object.insert("enum".into(), constants.into());
        } else {
            object.insert(keyword.into(), branches.into());
        }
    }
}

fn constants_of(branch: &Value) -> Vec<Value> {
    match (&branch["const"], &branch["enum"]) {
        (Value::String(constant), _) => vec![constant.clone().into()],
        (_, Value::Array(values)) => values.clone(),
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Serialize, Deserialize, JsonSchema)]
    #[serde(rename_all = "snake_case")]
    enum Until {
        /// Anything new.
        Change,
        /// Nothing left to do.
        Settled,
    }

    /// Not shown.
    #[derive(Serialize, Deserialize, JsonSchema)]
    #[serde(deny_unknown_fields)]
    struct Params {
        /// Which one.
        deployment: crate::model::DeploymentId,
        wait_seconds: Option<u32>,
        /// Until when.
        until: Option<Until>,
        title: Option<String>,
        tags: Option<Vec<String>>,
    }

    #[test]
    fn schemas_are_short_and_portable() {
        let schema = serde_json::to_string(&schema_of::<Params>()).unwrap();
        assert_eq!(
            schema,
            r#"{"additionalProperties":false,"properties":{"deployment":{"description":"Which one.","type":"string"},"tags":{"items":{"type":"string"},"type":"array"},"title":{"type":"string"},"until":{"description":"Until when.","enum":["change","settled"],"type":"string"},"wait_seconds":{"minimum":0,"type":"integer"}},"required":["deployment"],"type":"object"}"#
        );
    }

    #[test]
    fn exactly_one_action_is_recommended() {
        let mut actions = vec![NextAction::of(crate::model::Who::Agent, "a"), NextAction::of(crate::model::Who::Agent, "b").recommended()];
        settle(&mut actions);
        assert_eq!(actions.iter().map(|action| action.recommended).collect::<Vec<_>>(), [false, true]);
        actions[0].recommended = true;
        settle(&mut actions);
        assert_eq!(actions.iter().map(|action| action.recommended).collect::<Vec<_>>(), [true, false]);
    }
}

//! The description of the interface: OpenAPI 3.1, whose schemas are JSON Schema 2020-12, generated from the types.
//!
//! `GET /v1/openapi.json` returns it, and docs/openapi.json is a copy (`cargo xtask docs`).

use super::{
    FOLLOW, JSON_LINES,
    operations::{
        Misfit, Object, Operation, Operations, SCHEMAS, alternatives, named, take_schemas,
    },
    problem::Problem,
};
use crate::admin::{
    Response,
    looking::FollowLine,
    request::{Act, DONE, Needs, Request, Scope},
};
use schemars::generate::SchemaSettings;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// What the description says first.
const ABOUT: &str = "Every verb of Posta's operator is an operation here: `posta account add` is `POST /v1/account-add`, \
    with the fields as a JSON object. An operation that only reads and needs no field also answers GET. On the control \
    socket the operator may do everything; over HTTPS a token is needed, which `posta token add` makes. Errors are \
    problem details (RFC 9457) with a stable `code`. Long lists come in pages: where a response has `next`, the same \
    request with `after` set to it returns the next page.";

/// Returns the description.
pub(super) fn description(operations: &Operations) -> Value {
    let answers = Answers::new(&operations.schemas);
    let mut paths = Object::new();
    for operation in operations.all() {
        paths.insert(format!("/v1/{}", operation.name), path(operation, operations, &answers));
    }
    paths.insert(FOLLOW.to_owned(), follow());
    let mut schemas = operations.schemas.clone();
    schemas.extend(answers.schemas);
    let problem = json!({
        "description": "The operation was not carried out.",
        "content": { "application/problem+json": { "schema": reference("Problem") } },
    });
    let mut description = json!({
        "openapi": "3.1.0",
        "info": { "title": "Posta", "version": env!("CARGO_PKG_VERSION"), "description": ABOUT },
        "security": [{ "token": [] }],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "responses": { "Problem": problem },
            "securitySchemes": { "token": { "type": "http", "scheme": "bearer" } },
        },
    });
    tidy(&mut description);
    description
}

/// The schemas of responses, by the names of the responses.
struct Answers {
    by_name: BTreeMap<String, Value>,
    schemas: Object,
}

impl Answers {
    /// `taken` are the schemas of requests. Where a type that both have differs, since fields with defaults need not be
    /// given but are always returned, the response's has another name.
    fn new(taken: &Object) -> Self {
        let settings = SchemaSettings::draft2020_12().with(|settings| {
            settings.definitions_path = SCHEMAS.into();
        });
        let mut generator = settings.for_serialize().into_generator();
        generator.subschema_for::<Problem>();
        generator.subschema_for::<FollowLine>();
        let mut schema = generator.into_root_schema_for::<Response>();
        let own = take_schemas(&mut schema);
        let differs = |(name, of): (&String, &Value)| taken.get(name).is_some_and(|it| it != of);
        let renamed: Vec<_> =
            own.iter().filter(|it| differs(*it)).map(|(name, _)| name.clone()).collect();
        let mut by_name = BTreeMap::new();
        for alternative in alternatives(schema.as_value()) {
            for (name, _) in named(alternative) {
                let mut schema = alternative.clone();
                rename(&mut schema, &renamed);
                by_name.insert(name.to_owned(), schema);
            }
        }
        let mut schemas = Object::new();
        for (name, mut schema) in own {
            rename(&mut schema, &renamed);
            schemas.insert(new_name(&name, &renamed), schema);
        }
        Self { by_name, schemas }
    }

    /// Returns the responses to an operation.
    fn to(&self, request: &Request) -> Object {
        let mut responses = Object::new();
        let with_content: Vec<_> =
            request.answers().iter().filter_map(|name| self.by_name.get(*name)).collect();
        let with_content: Vec<_> =
            with_content.into_iter().filter(|schema| schema.get("const").is_none()).collect();
        if request.answers().contains(&DONE) {
            responses.insert("204".to_owned(), json!({ "description": "It was done." }));
        }
        let schema = match &with_content[..] {
            [] => None,
            [one] => Some((*one).clone()),
            several => Some(json!({ "oneOf": several })),
        };
        if let Some(schema) = schema {
            let content = json!({ "application/json": { "schema": schema } });
            let response = json!({ "description": "It was done.", "content": content });
            responses.insert("200".to_owned(), response);
        }
        responses.insert("default".to_owned(), json!({ "$ref": "#/components/responses/Problem" }));
        responses
    }
}

fn reference(name: &str) -> Value {
    json!({ "$ref": format!("#{SCHEMAS}/{name}") })
}

fn new_name(name: &str, renamed: &[String]) -> String {
    if renamed.iter().any(|it| it == name) { format!("{name}Returned") } else { name.to_owned() }
}

/// Changes references to schemas that have another name.
fn rename(schema: &mut Value, renamed: &[String]) {
    match schema {
        Value::Object(object) => {
            for (key, value) in object {
                match value.as_str().and_then(|path| path.rsplit('/').next()) {
                    Some(name) if key == "$ref" => {
                        *value = json!(format!("#{SCHEMAS}/{}", new_name(name, renamed)));
                    }
                    _ => rename(value, renamed),
                }
            }
        }
        Value::Array(values) => values.iter_mut().for_each(|value| rename(value, renamed)),
        _ => {}
    }
}

fn path(operation: &Operation, operations: &Operations, answers: &Answers) -> Value {
    let example = operation.example(&operations.schemas);
    let (responses, rights, is_read) = match &example {
        Ok(request) => {
            let needs = request.needs();
            let is_read = needs.act != Act::Change;
            (answers.to(request), rights(&needs), is_read)
        }
        // A test finds that.
        Err(Misfit(_)) => (Object::new(), "", false),
    };
    let (summary, more) = match operation.documentation.split_once(". ") {
        Some((summary, more)) => (summary.to_owned(), format!("{more} ")),
        None => (operation.documentation.trim_end_matches('.').to_owned(), String::new()),
    };
    let common = json!({
        "operationId": operation.name,
        "tags": [operation.group.split('-').next()],
        "summary": summary,
        "description": format!("{more}{rights}"),
        "responses": responses,
    });
    let mut post = common.clone();
    let body = json!({
        "type": "object",
        "properties": operation.fields,
        "required": operation.required,
        "additionalProperties": false,
    });
    post["requestBody"] = json!({
        "required": !operation.required.is_empty(),
        "content": { "application/json": { "schema": body } },
    });
    let mut path = json!({ "post": post });
    if is_read && operation.required.is_empty() {
        let mut get = common;
        get["operationId"] = json!(format!("get-{}", operation.name));
        path["get"] = get;
    }
    path
}

/// Returns what is served beside the operations: the history as it is written.
fn follow() -> Value {
    let about = "The response goes on until the client closes the connection or the server stops: a line of JSON for each \
        event, and for events that the client was too slow to read their number. Empty lines show that the server is \
        still there. Over HTTPS, a client that reads nothing for a minute is let go. ";
    let named = json!({
        "description": "What the events concern, as for `trace`; default: everything.",
        "type": ["string", "null"],
    });
    let body = json!({
        "type": "object",
        "properties": { "named": named },
        "additionalProperties": false,
    });
    let lines = json!({
        "description": "Events, as they are written.",
        "content": { JSON_LINES: { "schema": reference("FollowLine") } },
    });
    let needs = Needs { act: Act::Look, scope: Scope::Server };
    json!({ "post": {
        "operationId": "follow",
        "tags": ["trace"],
        "summary": "Follows the history of messages",
        "description": format!("{about}{}", rights(&needs)),
        "requestBody": { "required": false, "content": { "application/json": { "schema": body } } },
        "responses": {
            "200": lines,
            "default": { "$ref": "#/components/responses/Problem" },
        },
    } })
}

/// Returns what a token needs for a request, in words.
const fn rights(needs: &Needs) -> &'static str {
    match (&needs.scope, needs.act) {
        (Scope::Machine, _) => "Only on the control socket.",
        (Scope::Server, Act::Look) => "Needs a token for all domains.",
        (Scope::Server, Act::ReadMail | Act::Change) => {
            "Needs a token for all domains that is not read-only."
        }
        (Scope::Names(_), Act::Look) => "Needs a token for the domain.",
        (Scope::Names(_), Act::ReadMail | Act::Change) => {
            "Needs a token for the domain that is not read-only."
        }
        (Scope::List, _) => "A token for certain domains sees only their part.",
    }
}

/// Removes what is only for readers of the source: the brackets of links in documentation, and line breaks.
fn tidy(value: &mut Value) {
    match value {
        Value::Object(object) => {
            for (key, value) in object {
                match value {
                    Value::String(text) if key == "description" || key == "summary" => {
                        *text = plain(text);
                    }
                    value => tidy(value),
                }
            }
        }
        Value::Array(values) => values.iter_mut().for_each(tidy),
        _ => {}
    }
}

/// Returns a documentation without the brackets and targets of its links.
fn plain(text: &str) -> String {
    let mut plain = String::new();
    let mut rest = text;
    while let Some((before, link)) = rest.split_once("[`") {
        let Some((name, after)) = link.split_once("`]") else { break };
        plain.push_str(before);
        plain.push_str(&format!("`{name}`"));
        let target = after.strip_prefix('(').and_then(|after| after.split_once(')'));
        rest = target.map_or(after, |(_, after)| after);
    }
    plain.push_str(rest);
    plain.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Returns the description as the document has it.
#[must_use]
pub fn document() -> String {
    format!("{:#}\n", description(&Operations::new()))
}

/// Returns the names of all operations, such as `account-add`.
#[must_use]
pub fn names() -> Vec<String> {
    Operations::new().all().iter().map(|operation| operation.name.clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Finds every reference in a value.
    fn references<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
        match value {
            Value::Object(object) => {
                found.extend(object.get("$ref").and_then(Value::as_str));
                object.values().for_each(|value| references(value, found));
            }
            Value::Array(values) => values.iter().for_each(|value| references(value, found)),
            _ => {}
        }
    }

    #[test]
    fn every_reference_leads_somewhere_and_every_operation_says_what_it_returns() {
        let description = description(&Operations::new());
        let mut found = Vec::new();
        references(&description, &mut found);
        assert!(found.len() > 100, "{}", found.len());
        for reference in found {
            let path = reference.strip_prefix('#').unwrap();
            assert!(description.pointer(path).is_some(), "{reference} leads nowhere");
        }
        let text = description.to_string();
        assert!(!text.contains("[`"), "links of the source are not removed");
        for (path, of_path) in description["paths"].as_object().unwrap() {
            let responses = of_path["post"]["responses"].as_object().unwrap();
            let is_there = |status| responses.contains_key(status);
            assert!(is_there("200") || is_there("204"), "{path} says nothing of success");
            assert!(is_there("default"), "{path} says nothing of errors");
        }
        let listed = &description["paths"]["/v1/account-list"];
        let lines = "/content/application~1json/schema/properties/accounts/properties/lines";
        let lines = listed["get"]["responses"]["200"].pointer(lines);
        assert_eq!(lines.unwrap()["items"]["$ref"], "#/components/schemas/AccountLine");
        assert!(description["paths"]["/v1/account-add"].get("get").is_none());
    }

    #[test]
    fn the_document_is_what_the_types_say() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/openapi.json");
        let stands = std::fs::read_to_string(path).unwrap();
        assert!(stands == document(), "docs/openapi.json is out of date: run `cargo xtask docs`");
    }
}

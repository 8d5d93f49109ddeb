//! The operations of the interface, derived from the JSON schema of [`Request`]: each variant is an operation, and of a
//! variant with a field `request` each action of that. So a request has one definition, and the interface, its
//! description and the control socket's client cannot differ.

use crate::admin::Request;
use schemars::{Schema, generate::SchemaSettings};
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;

/// A JSON object.
pub(super) type Object = Map<String, Value>;

/// Where schemas that others refer to are in the description.
pub(super) const SCHEMAS: &str = "/components/schemas";

/// The field of a request that names its variant.
const TAG: &str = "do";

/// The field of a request that holds the action of a group.
const ACTION: &str = "request";

/// An operation.
#[derive(Debug, Clone)]
pub(super) struct Operation {
    /// The name, such as `mail-list`.
    pub(super) name: String,
    /// The name of the variant of [`Request`], such as `mail`.
    pub(super) group: String,
    /// The documentation of the request or the action.
    pub(super) documentation: String,
    /// The schemas of the fields.
    pub(super) fields: Object,
    /// The names of the fields that must be given.
    pub(super) required: BTreeSet<String>,
    action: Option<Action>,
}

/// The action of a group.
#[derive(Debug, Clone)]
struct Action {
    /// The names of the variants that lead to it: several, where an action is a group of actions itself.
    path: Vec<String>,
    content: Content,
}

/// What an action holds.
#[derive(Debug, Clone)]
enum Content {
    /// Nothing.
    Nothing,
    /// Fields of these names.
    Fields(BTreeSet<String>),
    /// A value, which is the operation's field `value`.
    Value,
}

/// The field of an operation whose action holds a value without a name.
const VALUE: &str = "value";

/// All operations, and the schemas that their fields refer to.
pub(super) struct Operations {
    all: Vec<Operation>,
    pub(super) schemas: Object,
}

/// The error of a body that does not fit the operation, in words.
#[derive(Debug)]
pub(super) struct Misfit(pub(super) String);

impl Operations {
    pub(super) fn new() -> Self {
        let settings = SchemaSettings::draft2020_12().with(|settings| {
            settings.definitions_path = SCHEMAS.into();
        });
        let mut schema = settings.into_generator().into_root_schema_for::<Request>();
        let schemas = take_schemas(&mut schema);
        let variants = alternatives(schema.as_value()).to_vec();
        let mut all = Vec::new();
        for variant in variants {
            operations(&variant, &schemas, &mut all);
        }
        Self { all, schemas }
    }

    /// Returns all operations, in the order of the requests.
    pub(super) fn all(&self) -> &[Operation] {
        &self.all
    }

    pub(super) fn named(&self, name: &str) -> Option<&Operation> {
        self.all.iter().find(|operation| operation.name == name)
    }
}

/// Takes the schemas that others refer to out of a schema.
pub(super) fn take_schemas(schema: &mut Schema) -> Object {
    let mut components = schema.remove("components").unwrap_or_default();
    match components.get_mut("schemas").map(Value::take) {
        Some(Value::Object(schemas)) => schemas,
        _ => Object::new(),
    }
}

/// Returns the alternatives of an enum's schema.
pub(super) fn alternatives(schema: &Value) -> &[Value] {
    schema.get("oneOf").and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// Returns the schema that a reference leads to, or the schema itself.
fn followed<'a>(schema: &'a Value, schemas: &'a Object) -> &'a Value {
    let name = schema.get("$ref").and_then(Value::as_str).and_then(|path| path.rsplit('/').next());
    name.and_then(|name| schemas.get(name)).unwrap_or(schema)
}

/// Returns the documentation in a schema.
fn documentation(schema: &Value) -> String {
    schema.get("description").and_then(Value::as_str).unwrap_or_default().to_owned()
}

/// Returns the fields of an object's schema, including those of a struct that it refers to, and the names of those that
/// must be given.
fn fields(schema: &Value, schemas: &Object) -> (Object, BTreeSet<String>) {
    let (mut fields, mut required) = (Object::new(), BTreeSet::new());
    for schema in [schema, followed(schema, schemas)] {
        let own = schema.get("properties").and_then(Value::as_object);
        fields.extend(own.into_iter().flatten().map(|(name, of)| (name.clone(), of.clone())));
        let names = schema.get("required").and_then(Value::as_array);
        let names = names.into_iter().flatten().filter_map(Value::as_str);
        required.extend(names.map(str::to_owned));
    }
    (fields, required)
}

/// Adds the operations of a variant.
fn operations(variant: &Value, schemas: &Object, all: &mut Vec<Operation>) {
    let (mut of_variant, mut required) = fields(variant, schemas);
    let tag = of_variant.remove(TAG);
    let Some(group) = tag.as_ref().and_then(|tag| tag.get("const")).and_then(Value::as_str) else {
        return;
    };
    required.remove(TAG);
    let actions = of_variant.get(ACTION).map(|actions| followed(actions, schemas));
    let Some(actions) = actions.map(|actions| alternatives(actions).to_vec()) else {
        all.push(Operation {
            name: group.to_owned(),
            group: group.to_owned(),
            documentation: documentation(variant),
            fields: of_variant,
            required,
            action: None,
        });
        return;
    };
    of_variant.remove(ACTION);
    required.remove(ACTION);
    let common = Operation {
        name: group.to_owned(),
        group: group.to_owned(),
        documentation: String::new(),
        fields: of_variant,
        required,
        action: None,
    };
    for action in actions {
        actions_of(&action, &[], &common, schemas, all);
    }
}

/// Adds the operations of an action, which has what all of its group have.
fn actions_of(
    action: &Value,
    above: &[String],
    common: &Operation,
    schemas: &Object,
    all: &mut Vec<Operation>,
) {
    for (name, inner) in named(action) {
        let path = [above, &[name.to_owned()]].concat();
        let inner = inner.map(|inner| followed(inner, schemas));
        let deeper = inner.map(alternatives).unwrap_or_default();
        for action in deeper {
            actions_of(action, &path, common, schemas, all);
        }
        if !deeper.is_empty() {
            continue;
        }
        let mut operation = common.clone();
        operation.name = format!("{}-{}", common.group, path.join("-"));
        operation.documentation = documentation(action);
        let content = match inner {
            None => Content::Nothing,
            Some(inner) if inner.get("type").is_none_or(|kind| kind == "object") => {
                let (own, required) = fields(inner, schemas);
                let names = own.keys().cloned().collect();
                operation.fields.extend(own);
                operation.required.extend(required);
                Content::Fields(names)
            }
            Some(inner) => {
                operation.fields.insert(VALUE.to_owned(), inner.clone());
                operation.required.insert(VALUE.to_owned());
                Content::Value
            }
        };
        operation.action = Some(Action { path, content });
        all.push(operation);
    }
}

/// Returns the names in an alternative of an enum that is not tagged, each with the schema of its content, if it has
/// any: `"list"`, or `{"read": {…}}`.
pub(super) fn named(alternative: &Value) -> Vec<(&str, Option<&Value>)> {
    if let Some(name) = alternative.get("const").and_then(Value::as_str) {
        return vec![(name, None)];
    }
    if let Some(names) = alternative.get("enum").and_then(Value::as_array) {
        return names.iter().filter_map(Value::as_str).map(|name| (name, None)).collect();
    }
    let with_content = alternative.get("properties").and_then(Value::as_object);
    with_content.into_iter().flatten().map(|(name, inner)| (name.as_str(), Some(inner))).collect()
}

impl Operation {
    /// Returns the request with these fields.
    pub(super) fn request(&self, body: Object) -> Result<Request, Misfit> {
        if let Some(name) = body.keys().find(|name| !self.fields.contains_key(*name)) {
            let known: Vec<_> = self.fields.keys().map(String::as_str).collect();
            return Err(Misfit(match &known[..] {
                [] => format!("{name:?} is no field of {}, which has none", self.name),
                known => format!("{name:?} is no field of {}: {}", self.name, known.join(", ")),
            }));
        }
        if let Some(name) = self.required.iter().find(|name| !body.contains_key(*name)) {
            return Err(Misfit(format!("{} needs the field {name:?}", self.name)));
        }
        let mut request = body;
        if let Some(action) = &self.action {
            let action = action.holding(&mut request);
            request.insert(ACTION.to_owned(), action);
        }
        request.insert(TAG.to_owned(), json!(self.group));
        serde_json::from_value(request.into()).map_err(|error| Misfit(error.to_string()))
    }

    /// Returns an example of the request: with the fields that must be given, and the simplest value of each.
    pub(super) fn example(&self, schemas: &Object) -> Result<Request, Misfit> {
        let value = |name: &String| {
            let field = self.fields.get(name).map(|schema| simplest(schema, schemas));
            (name.clone(), field.unwrap_or_default())
        };
        self.request(self.required.iter().map(value).collect())
    }
}

impl Action {
    /// Returns the action as JSON, with what it takes out of the fields of its operation.
    fn holding(&self, fields: &mut Object) -> Value {
        let mut names = self.path.iter().rev();
        let last = names.next().map(String::as_str).unwrap_or_default();
        let action = match &self.content {
            Content::Nothing => json!(last),
            Content::Value => json!({ last: fields.remove(VALUE) }),
            Content::Fields(own) => {
                let own = own.iter().filter_map(|name| fields.remove_entry(name));
                json!({ last: own.collect::<Object>() })
            }
        };
        names.fold(action, |action, name| json!({ name: action }))
    }

    /// Returns the fields that an action of a request holds, if it is this one.
    fn held(&self, action: &Value) -> Option<Object> {
        let (last, above) = self.path.split_last()?;
        let mut action = action;
        for name in above {
            action = action.get(name)?;
        }
        match &self.content {
            Content::Nothing => (action.as_str()? == last).then(Object::new),
            Content::Value => {
                Some(Object::from_iter([(VALUE.to_owned(), action.get(last)?.clone())]))
            }
            Content::Fields(_) => action.get(last)?.as_object().cloned(),
        }
    }
}

/// Returns the simplest value that fits a schema.
fn simplest(schema: &Value, schemas: &Object) -> Value {
    let schema = followed(schema, schemas);
    if let Some(value) = schema.get("const") {
        return value.clone();
    }
    for name in ["examples", "enum"] {
        if let Some(first) = schema.get(name).and_then(|values| values.get(0)) {
            return first.clone();
        }
    }
    for name in ["oneOf", "anyOf"] {
        if let Some(first) = schema.get(name).and_then(|schemas| schemas.get(0)) {
            return simplest(first, schemas);
        }
    }
    if schema.get("format").is_some_and(|format| format == "date-time") {
        return json!("2026-03-14T09:26:53Z");
    }
    match schema.get("type").and_then(Value::as_str) {
        Some("string") => json!("x"),
        Some("integer" | "number") => json!(0),
        Some("boolean") => json!(false),
        Some("array") => json!([]),
        Some("object") => {
            let (of_object, required) = fields(schema, schemas);
            let value = |name: String| {
                let field = of_object.get(&name).map(|schema| simplest(schema, schemas));
                (name, field.unwrap_or_default())
            };
            required.into_iter().map(value).collect::<Object>().into()
        }
        _ => Value::Null,
    }
}

/// Returns the name of a request's operation, and its fields.
pub(super) fn name_and_fields(request: &Request) -> Result<(String, Object), serde_json::Error> {
    let Value::Object(mut fields) = serde_json::to_value(request)? else {
        return Ok(Default::default());
    };
    let group = fields.remove(TAG).unwrap_or_default();
    let group = group.as_str().unwrap_or_default();
    let name = match fields.remove(ACTION) {
        None => group.to_owned(),
        Some(action) => {
            let (name, held) = named_action(group, action);
            fields.extend(held);
            name
        }
    };
    Ok((name, fields))
}

/// Returns the name of the operation with an action of a group, and the action's own fields. The types have to be asked
/// only where an action may be a group itself, which spares commands that send many requests most of the work.
fn named_action(group: &str, action: Value) -> (String, Object) {
    if let Some(name) = action.as_str() {
        return (format!("{group}-{name}"), Object::new());
    }
    if let Some((name, Value::Object(held))) = action.as_object().and_then(|it| it.iter().next()) {
        let is_plain = held.len() != 1 || !held.values().any(Value::is_object);
        if is_plain {
            return (format!("{group}-{name}"), held.clone());
        }
    }
    let operations = Operations::new();
    let of_group = operations.all().iter().filter(|operation| operation.group == group);
    let found = of_group.filter_map(|operation| {
        Some((operation.name.clone(), operation.action.as_ref()?.held(&action)?))
    });
    found.into_iter().next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_operation_has_a_request_that_leads_back_to_it() {
        let operations = Operations::new();
        assert!(operations.all().len() > 50, "{}", operations.all().len());
        let mut names = BTreeSet::new();
        for operation in operations.all() {
            let name = &operation.name;
            assert!(names.insert(name.clone()), "{name} is there twice");
            assert!(!operation.documentation.is_empty(), "{name} is not documented");
            let example = operation.example(&operations.schemas);
            let example = example.unwrap_or_else(|Misfit(why)| panic!("{name}: {why}"));
            let (back, fields) = name_and_fields(&example).unwrap();
            assert_eq!(back, *name);
            assert!(operation.request(fields).is_ok(), "{name}");
            assert!(!example.answers().is_empty(), "{name}");
        }
    }

    #[test]
    fn fields_of_a_group_and_of_its_action_come_together() {
        let operations = Operations::new();
        let body = |value: Value| value.as_object().unwrap().clone();
        let moved = operations.named("mail-move").unwrap();
        let fields =
            json!({"address": "a@x.test", "folder": "Junk", "uids": [1, 2], "to": "INBOX"});
        let (name, back) = name_and_fields(&moved.request(body(fields.clone())).unwrap()).unwrap();
        assert_eq!((name.as_str(), Value::Object(back)), ("mail-move", fields));
        for (name, fields, why) in [
            ("mail-move", json!({"address": "a@x.test"}), "needs the field \"to\""),
            ("mail-list", json!({"address": "a", "do": "trace"}), "\"do\" is no field"),
            ("mail-list", json!({"address": "a", "request": {}}), "\"request\" is no field"),
            ("mail-list", json!({"address": 1}), "invalid type"),
            ("domain-list", json!({"all": true}), "which has none"),
            ("domain-keys-list", json!({"domain": "x.test", "selector": "a"}), "no field"),
        ] {
            let refused = operations.named(name).unwrap().request(body(fields));
            let Err(Misfit(words)) = refused else { panic!("{name} {why}") };
            assert!(words.contains(why), "{words} is not: {why}");
        }
        assert!(operations.named("mail").is_none());
    }
}

//! Every operation of the operator's interface, with values that no program of good will sends: texts of a hundred
//! thousand octets, with NUL and line ends, the largest numbers, lists of thousands. A mistake of a panel, or whoever has its
//! token, must not stop the server, damage the store, or fill the disk.

use posta_tests::{Place, send, smtp, stdout};
use serde_json::{Map, Value, json};
use std::{
    io::{Read as _, Write as _},
    os::unix::net::UnixStream,
    time::Duration,
};

const ANA: &str = "ana@x.test";

/// An account that no request names.
const BOB: &str = "bob@x.test";

/// Texts that were not thought of.
fn texts() -> Vec<String> {
    vec![
        "x".repeat(100_000),
        format!("{}@x.test", "x".repeat(70_000)),
        "../../../../etc/passwd\0\r\n\u{202e}\u{1b}[2J".to_owned(),
        String::new(),
    ]
}

/// What stands in the fields of a request.
#[derive(Clone, Copy)]
struct Values<'v> {
    text: &'v str,
    number: u64,
    /// The entries of each list.
    entries: usize,
    /// Whether the account and the domain exist, so that the other fields are looked at.
    is_known: bool,
    /// Which of several forms a value has.
    form: usize,
}

impl Values<'_> {
    /// Returns a value that fits a schema.
    fn of(&self, name: &str, schema: &Value, schemas: &Value, depth: usize) -> Value {
        let schema = resolved(schema, schemas);
        let one_of = ["oneOf", "anyOf"].iter().find_map(|name| schema[*name].as_array());
        if let Some(forms) = one_of {
            return self.of(name, &forms[self.form % forms.len()], schemas, depth);
        }
        if !schema["const"].is_null() {
            return schema["const"].clone();
        }
        if let Some(words) = schema["enum"].as_array() {
            return words[self.form % words.len()].clone();
        }
        if depth > 8 {
            return Value::Null;
        }
        let kind = match &schema["type"] {
            Value::Array(kinds) => kinds[0].as_str().unwrap_or_default(),
            kind => kind.as_str().unwrap_or_default(),
        };
        match kind {
            "string" if self.is_known && name == "address" => json!(ANA),
            "string" if self.is_known && name == "domain" => json!("x.test"),
            "string" if schema["format"] == "date-time" => json!("9999-12-30T22:00:00Z"),
            "string" if schema["contentEncoding"] == "base64" => json!("AAAA"),
            "string" => json!(self.text),
            "integer" => json!(self.number.min(match schema["format"].as_str() {
                Some("uint8") => u8::MAX.into(),
                Some("uint16") => u16::MAX.into(),
                Some("uint32") => u32::MAX.into(),
                Some("int64") => i64::MAX as u64,
                _ => u64::MAX,
            })),
            "boolean" => json!(self.form.is_multiple_of(2)),
            "array" => {
                let entry = self.of("", &schema["items"], schemas, depth + 1);
                let entries = self.entries * usize::from(depth < 2);
                Value::Array(vec![entry; entries.max(1)])
            }
            "object" => self.object(schema, schemas, depth),
            _ => Value::Null,
        }
    }

    fn object(&self, schema: &Value, schemas: &Value, depth: usize) -> Value {
        let mut object = Map::new();
        for (name, field) in schema["properties"].as_object().into_iter().flatten() {
            object.insert(name.clone(), self.of(name, field, schemas, depth + 1));
        }
        object.into()
    }
}

fn resolved<'s>(schema: &'s Value, schemas: &'s Value) -> &'s Value {
    let name = schema["$ref"].as_str().and_then(|path| path.rsplit('/').next());
    name.map_or(schema, |name| &schemas[name])
}

/// Posts a body to the control socket. Returns the status and the response's body.
fn post(place: &Place, path: &str, body: &str) -> (u16, String) {
    let socket = place.directory.path().join("data/control.sock");
    let mut stream = UnixStream::connect(socket).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: posta\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).unwrap();
    // The server may refuse a body before it has come whole.
    let _ = stream.write_all(body.as_bytes());
    let mut said = String::new();
    stream.read_to_string(&mut said).unwrap_or_else(|error| panic!("{path}: {error}, {said}"));
    let status = said.split(' ').nth(1).and_then(|status| status.parse().ok());
    let (_, body) = said.split_once("\r\n\r\n").unwrap_or_default();
    // A connection that breaks off without an answer has status 0.
    (status.unwrap_or(0), body.to_owned())
}

#[test]
fn no_value_breaks_the_server_or_the_store() {
    let mut place = Place::new(&[("smtp", "none"), ("pop3", "none")]);
    place.add_account(ANA);
    place.add_account(BOB);
    place.start();
    send(&mut smtp(place.address("smtp")), ANA, "Subject: 1\r\n\r\nx\r\n");
    let document: Value = serde_json::from_str(include_str!("../../../docs/openapi.json")).unwrap();
    let schemas = &document["components"]["schemas"];
    let operations = document["paths"].as_object().unwrap();
    assert!(operations.len() > 80);
    let (mut tried, mut wrong) = (0, Vec::new());
    for (text, number, form) in texts()
        .iter()
        .zip([u64::MAX, 0, i64::MAX as u64, 1])
        .enumerate()
        .map(|(form, (text, number))| (text, number, form))
    {
        for is_known in [false, true] {
            // Many short entries, or a few long ones: a body has a limit.
            let entries = if text.len() > 1_000 { 3 } else { 2_000 };
            let values = Values { text, number, entries, is_known, form };
            for (path, operation) in operations {
                let operation = &operation["post"]["requestBody"]["content"]["application/json"];
                // What would end the account, and what asks DNS.
                let others = ["remove", "rename", "disable", "/v1/check"];
                let is_other = others.iter().any(|other| path.contains(other));
                // What follows the history ends when the client goes, not before.
                if operation.is_null() || path == "/v1/follow" || (is_known && is_other) {
                    continue;
                }
                let body = values.object(resolved(&operation["schema"], schemas), schemas, 0);
                let (status, said) = post(&place, path, &body.to_string());
                let shown: String = said.chars().take(300).collect();
                let fields: String = body.to_string().chars().take(300).collect();
                // What a server elsewhere does not answer is not its fault, nor that there is no such snapshot.
                let is_told = (200..500).contains(&status) || matches!(status, 502 | 503);
                if !is_told && !shown.contains("backup") {
                    wrong.push(format!("{path} {fields}: {status} {shown}"));
                }
                tried += 1;
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(!place.log().iter().any(|line| line.contains("panicked")));
    assert!(tried > 500, "{tried}");
    assert!(place.resident() < 400 << 20, "{}", place.resident());
    // What was accepted can be read again, by this server and by the next one.
    for _ in 0..2 {
        let (status, said) = post(&place, "/v1/account-list", "{}");
        assert!(status == 200 && said.contains(BOB), "{said}");
        let mut session = smtp(place.address("smtp"));
        let reply = send(&mut session, BOB, "Subject: 2\r\n\r\nx\r\n");
        assert!(reply.starts_with("250"), "{reply}");
        assert_eq!(place.stop(), Some(0));
        let checked = stdout(&place.posta(&["store", "check"], ""));
        assert!(!checked.contains("damaged"), "{checked}");
        place.start();
    }
}

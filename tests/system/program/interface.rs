//! The operator's interface over HTTP: on the control socket, and over HTTPS with tokens. `curl` is the client.

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use posta_tests::{DnsRecords, PASSWORD, Place, program, skipped, stdout};
use serde_json::{Value, json};
use std::{
    fs,
    io::{BufRead as _, BufReader},
    process::{Command, Stdio},
    thread,
};

const DOCUMENT: &str = include_str!("../../../docs/http.md");

/// A response: the status, and the body as JSON, or as text.
struct Answer {
    status: u16,
    body: Value,
}

/// Sends a request to the server over HTTPS, with a token and a body, each if there is one.
fn ask(place: &Place, path: &str, token: Option<&str>, body: Option<&str>) -> Answer {
    let (_, port) = place.address("https").rsplit_once(':').unwrap();
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--show-error", "--insecure", "--max-time", "60"]);
    curl.args(["--write-out", "\n%{http_code}", "--connect-to"]);
    curl.arg(format!("mail.x.test:443:127.0.0.1:{port}")).arg(format!("https://mail.x.test{path}"));
    if let Some(token) = token {
        curl.args(["--header", &format!("Authorization: Bearer {token}")]);
    }
    if let Some(body) = body {
        curl.args(["--data-binary", body]);
    }
    let said = stdout(&curl.output().unwrap());
    let (body, status) = said.rsplit_once('\n').unwrap();
    let body = serde_json::from_str(body).unwrap_or_else(|_| json!(body));
    Answer { status: status.parse().unwrap(), body }
}

fn has_curl(check: &str) -> bool {
    let is_there = Command::new("curl").arg("--version").output().is_ok();
    if !is_there {
        skipped(check, "curl is not installed");
    }
    is_there
}

fn token(place: &Place, arguments: &[&str]) -> String {
    let added = stdout(&place.posta(&[&["token", "add"], arguments].concat(), ""));
    added.trim().to_owned()
}

#[test]
fn a_token_opens_what_its_rights_say() {
    if !has_curl("a_token_opens_what_its_rights_say") {
        return;
    }
    let mut place = Place::new(&[("https", "implicit"), ("smtp", "none")]);
    place.start();
    for address in ["ana@x.test", "bob@y.test"] {
        place.add_account(address);
    }
    let code = |answer: &Answer| answer.body["code"].as_str().unwrap_or_default().to_owned();
    for path in ["/v1/account-list", "/v1/openapi.json", "/v1/no-such-thing"] {
        let answer = ask(&place, path, None, None);
        assert_eq!((answer.status, &*code(&answer)), (401, "token-needed"), "{path}");
        let answer = ask(&place, path, Some("posta_wrong"), None);
        assert_eq!((answer.status, &*code(&answer)), (401, "token-refused"), "{path}");
    }
    place.logged("login failed client=127.0.0.1");
    assert_eq!(ask(&place, "/", None, None).status, 404);
    let all = token(&place, &["all"]);
    let read = token(&place, &["read", "--read-only"]);
    let of_x = token(&place, &["x", "--domain", "x.test", "--until", "1d"]);
    let quota = |address: &str| json!({ "address": address, "quota": 1_000 }).to_string();
    for (token, address, status) in [
        (&all, "bob@y.test", 204),
        (&read, "bob@y.test", 403),
        (&of_x, "ana@x.test", 204),
        (&of_x, "bob@y.test", 403),
        (&of_x, "eva@x.test", 404),
    ] {
        let answer = ask(&place, "/v1/account-quota", Some(token), Some(&quota(address)));
        assert_eq!(answer.status, status, "{address}: {}", answer.body);
    }
    place.logged(
        "operator request token=x client=127.0.0.1 operation=account-quota outcome=forbidden",
    );
    let lines = |token| {
        let listed = ask(&place, "/v1/account-list", Some(token), None).body;
        listed["accounts"]["lines"].as_array().unwrap().len()
    };
    assert_eq!((lines(&all), lines(&read), lines(&of_x)), (2, 2, 1));
    let described = ask(&place, "/v1/openapi.json", Some(&read), None).body;
    assert!(described["paths"]["/v1/account-quota"]["post"].is_object());
    for (path, body, status, expected) in [
        ("/v1/token-list", None, 404, "no-such-operation"),
        ("/v1/tokens-list", None, 403, "forbidden"),
        ("/v1/account-quota", None, 405, "wrong-method"),
        ("/v1/account-quota", Some("[]"), 400, "invalid-request"),
        ("/v1/account-quota", Some("{\"quota\": 1}"), 400, "invalid-request"),
        ("/v1/account-list", Some("{\"all\": true}"), 400, "invalid-request"),
    ] {
        let answer = ask(&place, path, Some(&all), body);
        assert_eq!((answer.status, &*code(&answer)), (status, expected), "{path} {body:?}");
    }
    let large = format!("@{}", place.directory.path().join("large").display());
    fs::write(&large[1..], vec![b' '; 1024 * 1024 + 1]).unwrap();
    assert_eq!(ask(&place, "/v1/account-list", Some(&all), Some(&large)).status, 413);
    let listed = stdout(&place.posta(&["token", "list", "--json"], ""));
    let listed: Value = serde_json::from_str(&listed).unwrap();
    assert_eq!(listed[2]["domains"], json!(["x.test"]));
    assert!(listed[2]["used"].is_string() && listed[2]["until"].is_string(), "{listed}");
    assert!(!listed.to_string().contains("hash"), "{listed}");
    stdout(&place.posta(&["token", "remove", "x"], ""));
    assert_eq!(ask(&place, "/v1/account-list", Some(&of_x), None).status, 401);
    assert_eq!(ask(&place, "/readyz", None, None).body, json!("ready\n"));
    assert_eq!(place.stop(), Some(0));
}

/// A program with a token follows the history, and one in a network that the configuration names reads the metrics
/// without.
#[test]
fn the_history_is_followed_and_metrics_are_read() {
    if !has_curl("the_history_is_followed_and_metrics_are_read") {
        return;
    }
    let mut place = Place::new(&[("https", "implicit"), ("smtp", "none")]);
    place.start();
    place.add_account("ana@x.test");
    assert_eq!(ask(&place, "/metrics", None, None).status, 401);
    place.configure("[metrics]\nnetworks = [\"127.0.0.1\"]\n");
    stdout(&place.posta(&["reload"], ""));
    let metrics = ask(&place, "/metrics", None, None);
    assert_eq!(metrics.status, 200, "{}", metrics.body);
    assert!(metrics.body.to_string().contains("posta_sessions{protocol="), "{}", metrics.body);
    for (path, body) in
        [("/metrics", Some("{}")), ("/v1/look-status", None), ("/v1/follow", Some("{}"))]
    {
        assert_eq!(ask(&place, path, None, body).status, 401, "{path} needs a token");
    }
    let read = token(&place, &["read", "--read-only"]);
    let of_x = token(&place, &["x", "--domain", "x.test"]);
    for (token, body, status) in
        [(&of_x, "{}", 403), (&read, "{\"all\": 1}", 400), (&read, "[]", 400)]
    {
        assert_eq!(ask(&place, "/v1/follow", Some(token), Some(body)).status, status, "{body}");
    }
    let (_, port) = place.address("https").rsplit_once(':').unwrap();
    let mut reader = Command::new("curl")
        .args(["--silent", "--insecure", "--no-buffer", "--max-time", "60"])
        .args(["--connect-to", &format!("mail.x.test:443:127.0.0.1:{port}")])
        .args(["--header", &format!("Authorization: Bearer {read}")])
        .args(["--data", "{\"named\": \"ana@x.test\"}", "https://mail.x.test/v1/follow"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(reader.stdout.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "", "the first sign that the server is there");
    let mut wire = posta_tests::smtp(place.address("smtp"));
    for line in ["MAIL FROM:<bob@y.test>", "RCPT TO:<ana@x.test>", "DATA"] {
        wire.say(line);
    }
    assert!(wire.say("Subject: s\r\n\r\nbody\r\n.").starts_with("250 "));
    let line = lines.find(|line| line.as_ref().is_ok_and(|line| !line.is_empty()));
    let line: Value = serde_json::from_str(&line.unwrap().unwrap()).unwrap();
    assert_eq!(line["event"]["to"], json!(["ana@x.test"]), "{line}");
    place.logged("operator request token=read client=127.0.0.1 operation=follow outcome=done");
    assert_eq!(place.stop(), Some(0));
    assert!(lines.all(|line| line.is_ok_and(|line| line.is_empty())), "it ends with the server");
    reader.wait().unwrap();
}

/// A message is checked over HTTPS as by `posta check message`.
#[test]
fn a_message_is_checked() {
    if !has_curl("a_message_is_checked") {
        return;
    }
    let mut place = Place::new(&[("https", "implicit")]);
    let names = DnsRecords::default().txt("y.test", "v=spf1 ip4:192.0.2.1 -all").serve();
    place.configure(&names.configuration());
    place.start();
    let read = token(&place, &["read", "--read-only"]);
    let message = BASE64.encode("Received: from c.y.test ([192.0.2.7])\nFrom: s@y.test\n\nbody\n");
    let check = |address: Value| {
        let arrival = json!({ "address": address, "sender": "s@y.test" });
        let body = json!({ "message": message, "arrival": arrival }).to_string();
        let checked = ask(&place, "/v1/check-message", Some(&read), Some(&body)).body;
        let checked = checked["message-checked"].clone();
        let checks = checked["checks"].as_array().unwrap().clone();
        // The greeting is checked as well.
        let of_sender = |check: &&Value| check["about"][0][0] == "smtp.mailfrom";
        let spf = checks.iter().find(of_sender).unwrap().clone();
        (spf["result"].clone(), checked["arrival"]["address"].clone())
    };
    assert_eq!(check(json!("192.0.2.1")), (json!("pass"), json!("192.0.2.1")));
    // What is not given is read from the fields.
    assert_eq!(check(Value::Null), (json!("fail"), json!("192.0.2.7")));
    assert_eq!(place.stop(), Some(0));
}

/// Guessing tokens locks a client out, and then even a right one is not looked at. Health is told all the same.
#[test]
fn who_guesses_tokens_is_locked_out() {
    if !has_curl("who_guesses_tokens_is_locked_out") {
        return;
    }
    let mut place = Place::new(&[("https", "implicit")]);
    place.configure("[log]\n");
    let config = fs::read_to_string(place.config()).unwrap();
    let config = config.replace("[limits]\n", "[limits]\nfailed-logins = 1\n");
    fs::write(place.config(), config).unwrap();
    place.start();
    stdout(&place.posta(&["domain", "add", "x.test"], ""));
    let right = token(&place, &["right"]);
    assert_eq!(ask(&place, "/v1/domain-list", Some(&right), None).status, 200);
    // This machine may fail ten times as often as others.
    thread::scope(|scope| {
        for _ in 0..10 {
            scope.spawn(|| ask(&place, "/v1/domain-list", Some("posta_guess"), None));
        }
    });
    let refused = ask(&place, "/v1/domain-list", Some(&right), None);
    assert_eq!((refused.status, &refused.body["code"]), (429, &json!("locked-out")));
    assert_eq!(ask(&place, "/healthz", None, None).body, json!("ok\n"));
    stdout(&place.posta(&["lockout", "lift", "127.0.0.1"], ""));
    assert_eq!(ask(&place, "/v1/domain-list", Some(&right), None).status, 200);
    assert_eq!(place.stop(), Some(0));
}

/// Returns the examples of the document, each with the JSON that it is followed by, if it is.
fn examples() -> Vec<(&'static str, Option<Value>)> {
    let mut examples = Vec::new();
    let mut rest = DOCUMENT;
    while let Some((_, block)) = rest.split_once("```sh\n") {
        let (example, after) = block.split_once("```\n").unwrap();
        rest = after;
        let result = after.strip_prefix("\n```json\n");
        let result = result.map(|result| result.split_once("```\n").unwrap().0);
        examples.push((example, result.map(|result| serde_json::from_str(result).unwrap())));
    }
    examples
}

#[test]
fn the_examples_of_the_document_are_run() {
    if !has_curl("the_examples_of_the_document_are_run") {
        return;
    }
    let mut place = Place::named("mail.example.org", &[("https", "implicit"), ("smtp", "none")]);
    place.start();
    let home = place.directory.path().to_owned();
    let (_, port) = place.address("https").rsplit_once(':').unwrap();
    let curlrc = format!("insecure\nconnect-to = \"mail.example.org:443:127.0.0.1:{port}\"\n");
    fs::write(home.join(".curlrc"), curlrc).unwrap();
    let path = program().parent().unwrap().display().to_string();
    let data = home.join("data").display().to_string();
    let examples = examples();
    assert!(examples.len() >= 5, "{}", examples.len());
    for (example, expected) in examples {
        let example = example.replace("/var/lib/posta", &data);
        let ran = Command::new("sh")
            .args(["-e", "-c", &format!("PATH=\"{path}:$PATH\"\n{example}")])
            .env("CURL_HOME", &home)
            .env("HOME", &home)
            .env("POSTA_CONFIG", place.config())
            .output()
            .unwrap();
        let said = stdout(&ran);
        if let Some(expected) = expected {
            let json = said.find('{').map_or("", |begin| &said[begin..]);
            let found: Value = serde_json::from_str(json).unwrap_or_else(|_| panic!("{said}"));
            assert_eq!(found, expected, "{example}");
        }
    }
    let list = stdout(&place.posta(&["account", "list"], PASSWORD));
    assert!(list.contains("ana@example.org"), "{list}");
    assert_eq!(place.stop(), Some(0));
}

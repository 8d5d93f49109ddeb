//! Logging in with a token: the tokens that are accepted, and the duration of the login.

use super::*;
use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use posta_server::login::oauth::{Accepted, OAuthSettings};
use serde_json::{Value, json};

const NOW: i64 = 1_074_188_330;

/// Returns the identity server's answer for a token that opens ana's mailbox.
fn good() -> Value {
    json!({
        "active": true,
        "token_type": "Bearer",
        "aud": ["https://mail.x.test", "account"],
        "client_id": "thunderbird",
        "scope": "openid mail",
        "email": "Ana@x.test",
        "email_verified": true,
        "username": "ana",
        "nbf": NOW,
        "exp": NOW + 300,
    })
}

/// Returns that answer with some members replaced; null removes one.
fn with(changes: Value) -> Value {
    let mut answer = good();
    for (name, value) in changes.as_object().unwrap() {
        match value {
            Value::Null => answer.as_object_mut().unwrap().remove(name),
            value => answer.as_object_mut().unwrap().insert(name.clone(), value.clone()),
        };
    }
    answer
}

fn settings() -> OAuthSettings {
    OAuthSettings {
        introspection: "http://127.0.0.1:8080/introspect".parse().unwrap(),
        client: None,
        accepted: Accepted {
            audience: Some("https://mail.x.test".to_owned()),
            clients: vec!["thunderbird".to_owned(), "k9".to_owned()],
            scope: vec!["mail".to_owned()],
            claim: "email".to_owned(),
        },
    }
}

/// Starts a server whose identity server gives this answer for every token.
async fn system_that_hears(answer: &Value, oauth: OAuthSettings) -> (System, Arc<SimulatedClock>) {
    let clock = Arc::new(SimulatedClock::new(Timestamp::from_second(NOW).unwrap(), 7));
    let store = store();
    let change = |settings: &mut Settings| settings.oauth = Some(oauth);
    let system = system_on(store, clock.clone(), change).await;
    let mut listener = system.net.bind(&"127.0.0.1:8080".parse().unwrap()).await.unwrap();
    let body = answer.to_string();
    let said = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            read_until(&mut stream, "token_type_hint=access_token").await;
            stream.write_all(said.as_bytes()).await.unwrap();
        }
    });
    (system, clock)
}

const ANSWERS: &str = "\r\n";

/// Logs in. Returns the open session if the login succeeded.
async fn log_in(system: &System, port: u16, name: &str) -> Option<Box<dyn Stream>> {
    let message = BASE64.encode(format!("n,a={name},\x01auth=Bearer t0k\x01\x01"));
    let mut stream = system.connect(port).await;
    read_until(&mut stream, ANSWERS).await;
    if port == 587 {
        stream.write_all(b"HELO c\r\nEHLO c\r\n").await.unwrap();
        read_until(&mut stream, "250 AUTH").await;
        read_until(&mut stream, ANSWERS).await;
    }
    stream.write_all(format!("AUTH OAUTHBEARER {message}\r\n").as_bytes()).await.unwrap();
    let said = read_until(&mut stream, ANSWERS).await;
    (said.starts_with("235 ") || said.starts_with("+OK ")).then_some(stream)
}

/// Returns whether a token with this answer opens ana's mailbox.
async fn opens(answer: &Value, oauth: OAuthSettings) -> bool {
    let (system, _) = Box::pin(system_that_hears(answer, oauth)).await;
    let opened = log_in(&system, 587, "ana@x.test").await.is_some();
    assert_eq!(log_in(&system, 110, "ana@x.test").await.is_some(), opened);
    system.server.stop().await;
    opened
}

#[tokio::test]
async fn only_a_token_for_this_server_opens_a_mailbox() {
    assert!(opens(&good(), settings()).await);
    let mut opened = Vec::new();
    for changes in [
        json!({ "active": false }),
        json!({ "active": "true" }),
        // Issued for another service.
        json!({ "aud": "https://shop.x.test" }),
        json!({ "aud": ["https://shop.x.test", "account"] }),
        json!({ "aud": "https://mail.x.test.evil.test" }),
        json!({ "aud": null }),
        // Issued to another program.
        json!({ "client_id": "shop" }),
        json!({ "client_id": null }),
        // Issued for something other than mail.
        json!({ "scope": "openid mailing" }),
        json!({ "scope": null }),
        // Anyone can claim any address.
        json!({ "email_verified": false }),
        json!({ "email_verified": "false" }),
        json!({ "email_verified": 0 }),
        // This is not an address, even though only one account has that name.
        json!({ "email": "ana" }),
        json!({ "email": null }),
        json!({ "email": ["ana@x.test"] }),
        // The token has expired.
        json!({ "exp": NOW }),
        json!({ "exp": "never" }),
        json!({ "nbf": NOW + 3_600 }),
        json!({ "nbf": "soon" }),
        // This is not a bearer token: its holder must also prove possession of a key (RFC 9449 §7.2, RFC
        // 8705 §3).
        json!({ "token_type": "DPoP" }),
        json!({ "cnf": { "jkt": "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I" } }),
    ] {
        if opens(&with(changes.clone()), settings()).await {
            opened.push(changes);
        }
    }
    assert!(opened.is_empty(), "{opened:#?}");
    for changes in [
        json!({ "aud": "https://mail.x.test" }),
        json!({ "email_verified": null, "token_type": null, "nbf": null, "exp": null }),
        json!({ "email_verified": "true", "exp": NOW as f64 + 0.5 }),
        json!({ "scope": "mail" }),
    ] {
        assert!(opens(&with(changes.clone()), settings()).await, "{changes}");
    }
}

/// Operations begun while the token was valid may end. None begins after that, and no marked message is
/// removed.
#[tokio::test]
async fn a_session_ends_with_its_token() {
    let (system, clock) = system_that_hears(&good(), settings()).await;
    let mut submission = log_in(&system, 587, "ana@x.test").await.unwrap();
    let mut reading = log_in(&system, 110, "ana@x.test").await.unwrap();
    let mail = "MAIL FROM:<ana@x.test>\r\nRCPT TO:<ana@x.test>\r\nDATA\r\n";
    submission.write_all(mail.as_bytes()).await.unwrap();
    read_until(&mut submission, "354 ").await;
    read_until(&mut submission, ANSWERS).await;
    reading.write_all(b"NOOP\r\n").await.unwrap();
    assert!(read_until(&mut reading, ANSWERS).await.starts_with("+OK"));
    clock.set(Timestamp::from_second(NOW + 300).unwrap());
    submission.write_all(b"From: ana@x.test\r\n\r\nb\r\n.\r\n").await.unwrap();
    let said = read_until(&mut submission, ANSWERS).await;
    assert!(said.contains("kept as"), "{said}");
    submission.write_all(b"MAIL FROM:<ana@x.test>\r\n").await.unwrap();
    let said = read_until(&mut submission, ANSWERS).await;
    assert!(said.starts_with("421 4.7.0 The token has expired"), "{said}");
    reading.write_all(b"STAT\r\n").await.unwrap();
    let said = read_until(&mut reading, ANSWERS).await;
    assert!(said.starts_with("-ERR [AUTH] the token has expired"), "{said}");
    system.server.stop().await;
}

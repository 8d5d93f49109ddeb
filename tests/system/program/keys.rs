//! The keys that sign a domain's mail, as an operator sees them.

use posta_tests::{Place, stdout};
use std::{fs, thread::sleep, time::Duration};

fn problem(output: &std::process::Output) -> String {
    assert!(!output.status.success(), "{output:?}");
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn keys(place: &Place, domain: &str) -> Vec<serde_json::Value> {
    let listed = stdout(&place.posta(&["domain", "keys", "list", domain, "--json"], ""));
    serde_json::from_str::<serde_json::Value>(&listed).unwrap().as_array().unwrap().clone()
}

fn states(place: &Place, domain: &str) -> Vec<String> {
    let keys = keys(place, domain).into_iter();
    keys.map(|key| format!("{} {}", key["algorithm"], key["state"]).replace('"', "")).collect()
}

const WAITING: [&str; 2] = ["ed25519-sha256 waiting", "rsa-sha256 waiting"];

#[test]
fn a_domain_has_keys_from_the_start() {
    let place = Place::new(&[("smtp", "none")]);
    let added = stdout(&place.posta(&["domain", "add", "y.test"], ""));
    assert!(added.contains("`posta domain dns y.test`"), "{added}");
    assert_eq!(states(&place, "y.test"), WAITING);
    let listed = stdout(&place.posta(&["domain", "keys", "list", "y.test"], ""));
    let keys = keys(&place, "y.test");
    for key in &keys {
        let (selector, record) =
            (key["selector"].as_str().unwrap(), key["record"].as_str().unwrap());
        assert!(
            listed.contains(&format!("{selector}._domainkey.y.test. 3600 IN TXT ")),
            "{listed}"
        );
        // Strings of zone files have 255 octets at most.
        let text = listed.replace("\" \"", "");
        assert!(text.contains(&format!("\"{record}\"")), "{listed}");
        let is_short = |string: &str| string.len() <= 255;
        assert!(listed.split('"').all(|string| is_short(string) || string.contains('\n')));
    }
    assert!(listed.contains("publish this record"), "{listed}");
    let zone = stdout(&place.posta(&["domain", "dns", "y.test"], "")).replace("\" \"", "");
    for key in &keys {
        assert!(zone.contains(key["record"].as_str().unwrap()), "{zone}");
    }
    // Nothing that a command shows is a private key.
    assert!(keys.iter().all(|key| key.as_object().unwrap().len() == 7), "{keys:?}");
    let unknown = problem(&place.posta(&["domain", "keys", "list", "z.test"], ""));
    assert!(unknown.contains("z.test is no local domain: did you mean y.test?"), "{unknown}");
    stdout(&place.posta(&["domain", "remove", "y.test"], ""));
    assert!(
        problem(&place.posta(&["domain", "keys", "list", "y.test"], ""))
            .contains("no local domain")
    );
}

/// A store from before there were keys, and a domain that an account made local.
#[test]
fn a_running_server_makes_the_keys_that_are_missing() {
    let mut place = Place::new(&[("smtp", "none")]);
    stdout(&place.posta(&["account", "add", "ana@x.test", "--password-stdin"], "a long password"));
    assert!(states(&place, "x.test").is_empty());
    let listed = stdout(&place.posta(&["domain", "keys", "list", "x.test"], ""));
    assert!(listed.contains("the running server makes the first ones"), "{listed}");
    place.start();
    until(|| states(&place, "x.test") == WAITING);
    stdout(&place.posta(&["account", "add", "eva@y.test", "--password-stdin"], "a long password"));
    until(|| states(&place, "y.test") == WAITING);
    let before = keys(&place, "x.test");
    place.kill();
    place.start();
    sleep(Duration::from_secs(3));
    assert_eq!(keys(&place, "x.test"), before, "once");
}

#[test]
fn keys_are_rotated_and_retired_by_hand() {
    let place = Place::new(&[("smtp", "none")]);
    stdout(&place.posta(&["domain", "add", "y.test"], ""));
    let wait = problem(&place.posta(&["domain", "keys", "rotate", "y.test"], ""));
    assert!(wait.contains("wait until DNS has their records"), "{wait}");
    let first = keys(&place, "y.test");
    for key in &first {
        let selector = key["selector"].as_str().unwrap();
        let said = stdout(&place.posta(&["domain", "keys", "retire", "y.test", selector], ""));
        assert!(said.contains("the key is deleted"), "{said}");
    }
    let said = stdout(&place.posta(&["domain", "keys", "rotate", "y.test"], ""));
    assert!(said.contains("b-ed25519 (ed25519-sha256): waiting"), "{said}");
    assert_eq!(states(&place, "y.test"), WAITING);
    let unknown = place.posta(&["domain", "keys", "retire", "y.test", "20000101a-rsa"], "");
    assert!(problem(&unknown).contains("y.test has no key 20000101a-rsa"));
}

/// Without its key file a server makes no other one by itself: the right one may be put back.
#[test]
fn a_missing_key_file_is_waited_for() {
    let mut place = Place::new(&[("smtp", "none")]);
    stdout(&place.posta(&["domain", "add", "y.test"], ""));
    let file = place.directory.path().join("data/store.keys");
    fs::remove_file(&file).unwrap();
    let added = problem(&place.posta(&["domain", "add", "z.test"], ""));
    let words = "z.test is a local domain now, but its mail is not signed: the key file";
    assert!(added.contains(words) && added.contains("put it back"), "{added}");
    place.start();
    until(|| place.log().iter().any(|line| line.contains("cannot be looked after")));
    assert!(!file.exists());
    // The operator knows that it is lost.
    let selector = keys(&place, "y.test")[0]["selector"].as_str().unwrap().to_owned();
    stdout(&place.posta(&["domain", "keys", "retire", "y.test", &selector], ""));
    let other = keys(&place, "y.test")[0]["selector"].as_str().unwrap().to_owned();
    stdout(&place.posta(&["domain", "keys", "retire", "y.test", &other], ""));
    stdout(&place.posta(&["domain", "keys", "rotate", "y.test"], ""));
    assert!(file.exists());
    assert_eq!(states(&place, "y.test"), WAITING);
}

fn until(is_so: impl Fn() -> bool) {
    for _ in 0..200 {
        if is_so() {
            return;
        }
        sleep(Duration::from_millis(100));
    }
    panic!("it does not happen");
}

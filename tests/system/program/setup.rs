//! `posta setup`: from nothing to a server, and again without harm; and `posta certificate` where nothing is set up.

use posta_tests::{Place, Wire, posta, stdout};
use std::{fs, path::Path};

/// Runs setup for trying out, in a directory.
fn set_up(place: &Path, more: &[&str], input: &str) -> std::process::Output {
    let (config, data) = (place.join("posta.toml"), place.join("data"));
    let (config, data) = (config.to_str().unwrap(), data.to_str().unwrap());
    let arguments = ["setup", "x.test", "--try", "--config", config, "--data", data];
    posta(&[&arguments[..], more].concat(), input)
}

#[test]
fn setup_makes_everything_and_then_only_what_is_missing() {
    let directory = tempfile::tempdir().unwrap();
    // What the Debian package has put there is no configuration of the operator's.
    let packaged = include_str!("../../../packaging/posta.toml");
    fs::write(directory.path().join("posta.toml"), packaged).unwrap();
    let told = stdout(&set_up(directory.path(), &["--yes", "--account", "ana"], ""));
    for words in [
        "made   configuration",
        "made   domain         x.test",
        "made   account        ana@x.test",
        "x.test. 3600 IN MX 10 mail.x.test.",
        "_domainkey.x.test. 3600 IN TXT",
        "this server is for this machine alone",
        "posta serve --config ",
    ] {
        assert!(told.contains(words), "{words}: {told}");
    }
    let (_, password) = told.rsplit_once("shown only now:  ").unwrap();
    let config = directory.path().join("posta.toml");
    let written = fs::read_to_string(&config).unwrap();
    assert!(written.contains("hostname = \"mail.x.test\"\n"), "{written}");
    assert_eq!(written.matches("[[listen]]").count(), 5, "{written}");
    assert!(!written.contains("[acme]"), "nobody reaches this machine");

    // The operator's own changes stay.
    let changed = written.replace("127.0.0.1:2", "127.0.0.1:0#2").replace("#2", "");
    let ports = ["525", "465", "587", "995", "110"];
    let changed = ports.iter().fold(changed, |text, port| text.replace(&format!(":0{port}"), ":0"));
    fs::write(&config, &changed).unwrap();
    let again = stdout(&set_up(
        directory.path(),
        &["--yes", "--account", "ana@x.test", "--hostname", "mx.x.test"],
        "",
    ));
    for words in [
        "there  configuration",
        "there  domain         x.test",
        "there  account        ana@x.test",
        "it says hostname = \"mail.x.test\", not mx.x.test, and is not changed",
    ] {
        assert!(again.contains(words), "{words}: {again}");
    }
    assert!(!again.contains("shown only now") && !again.contains("it says data"), "{again}");
    let elsewhere = directory.path().join("elsewhere");
    let (shown, other) = (config.to_str().unwrap(), elsewhere.to_str().unwrap());
    let setup = ["setup", "x.test", "--try", "--yes", "--account", "ana", "--config", shown];
    let told = stdout(&posta(&[&setup[..], &["--data", other]].concat(), ""));
    let words = format!("/data\", not {other}, and is not changed");
    assert!(told.contains("it says data = \"") && told.contains(&words), "{told}");
    assert!(told.contains("there  account        ana@x.test") && !elsewhere.exists(), "{told}");
    assert_eq!(fs::read_to_string(&config).unwrap(), changed);

    // A second domain joins the first; its account's password is given.
    let (shown, data) = (config.to_str().unwrap(), directory.path().join("data"));
    let other = ["setup", "y.test", "--try", "--yes", "--config", shown, "--data"];
    let other = [&other[..], &[data.to_str().unwrap(), "--password-stdin"]].concat();
    let told = stdout(&posta(&other, "parola\n"));
    assert!(told.contains("made   account        postmaster@y.test"), "{told}");
    assert!(!told.contains("shown only now"), "{told}");

    logs_in(&config, password.trim());
}

/// The server that was set up starts, and the password that was shown opens the account.
fn logs_in(config: &Path, password: &str) {
    let mut place = Place::new(&[]);
    fs::copy(config, place.config()).unwrap();
    place.start();
    let pop3s = place.all("pop3")[0].to_owned();
    let fetch =
        ["fetch", "--server", &pop3s, "--user", "ana@x.test", "--tls", "implicit", "--stdout"];
    let fetched =
        posta(&[&fetch[..], &["--any-certificate", "--password-stdin"]].concat(), password);
    assert!(fetched.status.success(), "{}", String::from_utf8_lossy(&fetched.stderr));
}

#[test]
fn wrong_answers_are_told_with_their_cure() {
    let directory = tempfile::tempdir().unwrap();
    let refused = |more: &[&str], words: &str| {
        let ran = set_up(directory.path(), more, "");
        let said = String::from_utf8_lossy(&ran.stderr).into_owned();
        assert!(!ran.status.success() && said.contains(words), "{more:?}: {said}");
        assert!(!directory.path().join("posta.toml").exists(), "nothing was set up");
    };
    refused(&[], "give --yes to take the defaults");
    refused(&["--yes", "--account", "a b"], "is no address for an account");
    refused(&["--yes", "--acme"], "cannot be used with");
    refused(&["--yes", "--hostname", "a_b!"], "--hostname");
}

#[test]
fn certificates_need_an_authority_and_a_way_to_prove_names() {
    let mut place = Place::new(&[("pop3", "implicit")]);
    place.add_account("ana@x.test");
    let none = stdout(&place.posta(&["certificate", "list"], ""));
    assert!(none.contains("[acme] with enabled = true"), "{none}");
    assert_eq!(stdout(&place.posta(&["certificate", "list", "--json"], "")).trim(), "[]");
    let refused = place.posta(&["certificate", "renew"], "");
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(said.contains("renewed by the running server"), "{said}");
    place.configure("[acme]\nenabled = true\n");
    let wrong = place.posta(&["config", "check"], "");
    let said = String::from_utf8_lossy(&wrong.stderr).into_owned();
    assert!(said.contains("protocol = \"http\""), "{said}");
    // An authority that is not reached keeps nobody from their mail.
    let listen = "[[listen]]\nprotocol = \"http\"\naddress = \"127.0.0.1:0\"\n";
    place.configure(&format!("directory = \"https://127.0.0.1:9/\"\n{listen}"));
    place.start();
    let mut web = Wire::connect(place.address("http"));
    web.write("GET /.well-known/acme-challenge/x HTTP/1.1\r\nHost: x.test\r\n\r\n");
    assert_eq!(web.line(), "HTTP/1.1 404 Not Found");
    place.logged("no certificate was issued");
    // The self-signed one goes, so nobody should publish its key.
    assert!(place.directory.path().join("data/self-signed.cert.pem").exists());
    let records = stdout(&place.posta(&["domain", "dns", "x.test"], ""));
    assert!(!records.contains(" TLSA "), "{records}");
}

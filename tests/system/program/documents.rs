//! The statements of the documents: the configuration in README.md starts unchanged, and programs find
//! the fields listed in docs/cli.md.

use posta_tests::{PASSWORD, Place, send, smtp, stdout};
use std::{collections::BTreeSet, fs};

const README: &str = include_str!("../../../README.md");
const CLI: &str = include_str!("../../../docs/cli.md");

/// Only the directory and the ports differ, since those of the text may be in use.
#[test]
fn the_configuration_of_the_readme_starts_as_it_stands() {
    let mut place = Place::new(&[]);
    let (_, shown) = README.split_once("```toml\n").unwrap();
    let shown = shown.split_once("```").unwrap().0;
    let data = place.directory.path().join("data");
    let mut config = shown.replace("/var/lib/posta", data.to_str().unwrap());
    for port in ["25", "465", "587", "995"] {
        let address = format!("\"[::]:{port}\"");
        assert!(config.contains(&address), "{port}");
        config = config.replace(&address, "\"127.0.0.1:0\"");
    }
    fs::write(place.config(), config).unwrap();
    place.start();
    assert!(
        posta_tests::Wire::connect(place.address("smtp"))
            .line()
            .starts_with("220 mail.example.org ")
    );
    assert_eq!(place.stop(), Some(0));
}

/// Returns the fields listed in a section, and those that may be absent.
pub(super) fn documented(section: &str) -> (BTreeSet<String>, BTreeSet<String>) {
    let (_, text) = CLI.split_once(&format!("### `posta {section} --json`\n")).unwrap();
    let text = text.split("\n### ").next().unwrap();
    let first = |line: &str| line.split(" | ").next().unwrap().trim_start_matches("| ").to_owned();
    let cells = text.lines().filter(|line| line.starts_with('|')).skip(2).map(first);
    let (optional, always): (BTreeSet<_>, _) = cells.partition(|cell| cell.starts_with('*'));
    let names = |cells: BTreeSet<String>| {
        cells.iter().map(|cell| cell.trim_matches(['*', '`']).to_owned()).collect()
    };
    (names(always), names(optional))
}

#[test]
fn the_fields_of_json_are_those_of_the_document() {
    let mut place = Place::new(&[("smtp", "none"), ("pop3", "none")]);
    // With this smarthost, a message waits in the queue.
    let nowhere = "[relay]\nsmarthost = \"127.0.0.1:1\"\n";
    fs::write(place.config(), fs::read_to_string(place.config()).unwrap() + nowhere).unwrap();
    place.start();
    place.add_account("ana@x.test");
    let done = |arguments: &[&str]| stdout(&place.posta(arguments, PASSWORD));
    done(&["alias", "add", "info@x.test", "ana@x.test"]);
    done(&["domain", "alias", "y.test", "x.test"]);
    done(&[
        "collect",
        "add",
        "ana@x.test",
        "--server",
        "127.0.0.1:1",
        "--user",
        "a",
        "--password-stdin",
        "--no-check",
    ]);
    done(&["alias", "add", "away@x.test", "ana@elsewhere.test"]);
    assert!(
        send(&mut smtp(place.address("smtp")), "away@x.test", "A: b\r\n\r\n").starts_with("250")
    );
    for section in [
        "account list",
        "alias list",
        "domain list",
        "queue list",
        "queue summary",
        "collect list",
        "config show",
        "domain dns DOMAIN",
    ] {
        let command = section.replace("DOMAIN", "x.test");
        let words: Vec<_> = command.split(' ').chain(["--json"]).collect();
        let list: serde_json::Value = serde_json::from_str(&done(&words)).unwrap();
        let list = list.as_array().unwrap();
        assert!(!list.is_empty(), "{section}");
        let (always, optional) = documented(section);
        for object in list {
            let names: BTreeSet<_> = object.as_object().unwrap().keys().cloned().collect();
            assert!(always.is_subset(&names), "{section}: {names:?}");
            let others: Vec<_> =
                names.difference(&always).filter(|name| !optional.contains(*name)).collect();
            assert!(others.is_empty(), "{section}: {others:?} are not documented");
        }
    }
    assert_eq!(done(&["lockout", "list", "--json"]).trim(), "[]");
}

#[test]
fn exit_codes_are_those_of_the_document() {
    for (arguments, code) in [
        (&["explain", "452"][..], 0),
        (&["explain", "9.9.9"], 1),
        (&["explain"], 2),
        (&["nosuch"], 2),
    ] {
        assert_eq!(posta_tests::posta(arguments, "").status.code(), Some(code), "{arguments:?}");
        assert!(CLI.contains(&format!("| {code} | ")));
    }
}

//! Every verb of the command line is an operation over HTTP, or docs/http.md says why it is none.

use serde_json::Value;
use std::collections::BTreeSet;

const DOCUMENT: &str = include_str!("../../../docs/http.md");

const DESCRIPTION: &str = include_str!("../../../docs/openapi.json");

/// The operations of verbs that are not called as their operations are.
const CALLED: &[(&str, &[&str])] = &[
    ("account app-password add", &["personal-app-passwords-add"]),
    ("account app-password list", &["personal-app-passwords-list"]),
    ("account app-password remove", &["personal-app-passwords-remove"]),
    ("account enable", &["account-disable"]),
    ("account send-only", &["personal-send-only"]),
    ("away off", &["personal-away-off"]),
    ("away set", &["personal-away-set"]),
    ("away show", &["personal-away-show"]),
    ("backup", &["backup-begin", "backup-rows", "backup-pieces", "backup-end", "backup-made"]),
    ("certificate list", &["certificates-list"]),
    ("certificate new-account-key", &["certificates-new-account-key"]),
    ("certificate renew", &["certificates-renew"]),
    ("collect add", &["source-add"]),
    ("collect list", &["source-list"]),
    ("collect remove", &["source-remove"]),
    ("collect run", &["source-run"]),
    ("export maildir", &["transfer-list", "transfer-read"]),
    ("export mbox", &["transfer-list", "transfer-read"]),
    ("forward off", &["personal-forward-off"]),
    ("forward set", &["personal-forward-set"]),
    ("forward show", &["personal-forward-show"]),
    ("import aliases", &["alias-set"]),
    ("import maildir", &["transfer-known", "transfer-take"]),
    ("import mbox", &["transfer-known", "transfer-take"]),
    ("import pop3", &["take-over"]),
    ("import users", &["transfer-account"]),
    ("mail show", &["mail-read"]),
    ("passwd", &["personal-password"]),
    ("quarantine show", &["quarantine-read"]),
    ("queue hold", &["queue-change"]),
    ("queue release", &["queue-change"]),
    ("queue remove", &["queue-change"]),
    ("queue retry", &["queue-change"]),
    ("queue show", &["queue-list"]),
    ("reload", &["config-reload"]),
    ("reports dmarc", &["reports"]),
    ("reports tls", &["reports"]),
    ("restore", &["restore-id", "restore-absent", "restore-account", "restore-message"]),
    ("sender allow", &["senders-put"]),
    ("sender block", &["senders-put"]),
    ("sender list", &["senders-list"]),
    ("sender remove", &["senders-remove"]),
    ("stats", &["look-statistics"]),
    ("status", &["look-status"]),
    ("token add", &["tokens-add"]),
    ("token list", &["tokens-list"]),
    ("token remove", &["tokens-remove"]),
    ("top", &["look-figures"]),
];

/// Returns the verbs of the command line: what does something itself, such as `account add`.
fn verbs() -> BTreeSet<String> {
    let command = posta::command_line();
    let mut open: Vec<_> =
        command.get_subcommands().map(|verb| (verb.get_name().to_owned(), verb)).collect();
    let mut verbs = BTreeSet::new();
    while let Some((name, verb)) = open.pop() {
        for below in verb.get_subcommands().filter(|below| below.get_name() != "help") {
            open.push((format!("{name} {}", below.get_name()), below));
        }
        if !verb.is_subcommand_required_set() && !verb.is_hide_set() {
            verbs.insert(name);
        }
    }
    verbs
}

#[test]
fn every_verb_is_an_operation_or_has_a_reason() {
    let description: Value = serde_json::from_str(DESCRIPTION).unwrap();
    let paths = description["paths"].as_object().unwrap();
    let is_operation = |name: &str| paths.contains_key(&format!("/v1/{name}"));
    assert!(is_operation("follow"), "`posta trace --follow`");
    let row = |line: &'static str| line.strip_prefix("| `posta ")?.split_once("` | ");
    let reasons: Vec<_> = DOCUMENT.lines().filter_map(row).collect();
    let verbs = verbs();
    assert!(verbs.len() > 90, "{}", verbs.len());
    for verb in &verbs {
        let called =
            CALLED.iter().find(|(name, _)| name == verb).map(|(_, operations)| *operations);
        let reason = reasons.iter().find(|(name, _)| name == verb).map(|(_, why)| *why);
        let named = verb.replace(' ', "-");
        match (called, reason) {
            (None, None) => assert!(
                is_operation(&named),
                "`posta {verb}` is no operation over HTTP: make it one, or say in docs/http.md why it is none"
            ),
            (Some(operations), None) => {
                assert!(!is_operation(&named), "{verb} needs no entry in the table of this test");
                for operation in operations {
                    assert!(is_operation(operation), "{verb}: there is no operation {operation}");
                }
            }
            (None, Some(why)) => {
                assert!(
                    !is_operation(&named),
                    "{verb} is an operation, and docs/http.md denies it"
                );
                assert!(
                    why.trim_end_matches([' ', '|']).len() > 10,
                    "{verb}: {why:?} is no reason"
                );
            }
            (Some(_), Some(_)) => {
                panic!("{verb} has operations, and docs/http.md says it has none")
            }
        }
    }
    for (verb, _) in CALLED {
        assert!(verbs.contains(*verb), "there is no verb {verb}");
    }
    for (verb, _) in &reasons {
        assert!(verbs.contains(*verb), "docs/http.md names {verb}, which is no verb");
    }
}

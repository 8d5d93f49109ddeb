//! `posta openapi`, which the list of commands does not show: programmers find it in docs/http.md.

use crate::output::say;
use anyhow::Result;
use clap::Args;
use posta_server::admin::http::openapi;

/// Print the description of the HTTP interface (OpenAPI 3.1) as JSON.
///
/// A running server returns the same at /v1/openapi.json.
///
/// Example: posta openapi
#[derive(Args)]
pub(crate) struct Arguments {}

pub(crate) fn run() -> Result<()> {
    say!("{}", openapi::document().trim_end());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::openapi;
    use crate::Cli;
    use clap::{Command, CommandFactory};
    use std::collections::BTreeSet;

    /// The verbs whose operations have other names, or that share one.
    const RENAMED: &[(&str, &str)] = &[
        ("account enable", "account-disable"),
        ("mail show", "mail-read"),
        ("quarantine show", "quarantine-read"),
        ("queue show", "queue-list"),
        ("queue retry", "queue-change"),
        ("queue hold", "queue-change"),
        ("queue release", "queue-change"),
        ("queue remove", "queue-change"),
        ("sender allow", "senders-put"),
        ("sender block", "senders-put"),
        ("sender remove", "senders-remove"),
        ("sender list", "senders-list"),
        ("collect add", "source-add"),
        ("collect list", "source-list"),
        ("collect run", "source-run"),
        ("collect remove", "source-remove"),
        ("fetch", "take-over"),
        ("reports dmarc", "reports"),
        ("reports tls", "reports"),
        ("reload", "config-reload"),
        ("status", "look-status"),
        ("top", "look-figures"),
        ("stats", "look-statistics"),
        ("passwd", "personal-password"),
        ("account send-only", "personal-send-only"),
        ("account app-password add", "personal-app-passwords-add"),
        ("account app-password list", "personal-app-passwords-list"),
        ("account app-password remove", "personal-app-passwords-remove"),
        ("away set", "personal-away-set"),
        ("away show", "personal-away-show"),
        ("away off", "personal-away-off"),
        ("forward set", "personal-forward-set"),
        ("forward show", "personal-forward-show"),
        ("forward off", "personal-forward-off"),
        ("certificate list", "certificates-list"),
        ("certificate renew", "certificates-renew"),
        ("certificate new-account-key", "certificates-new-account-key"),
        ("import maildir", "transfer-take"),
        ("import mbox", "transfer-take"),
        ("import pop3", "take-over"),
        ("import users", "transfer-account"),
        ("import aliases", "alias-set"),
        ("export maildir", "transfer-read"),
        ("export mbox", "transfer-read"),
        ("backup", "backup-begin"),
        ("restore", "restore-message"),
        ("token add", "tokens-add"),
        ("token list", "tokens-list"),
        ("token remove", "tokens-remove"),
    ];

    /// The verbs that no server carries out, and why.
    const WITHOUT: &[(&str, &str)] = &[
        ("demo", "it runs a server of its own"),
        ("serve", "it is the server"),
        ("setup", "it writes the configuration that the server starts with"),
        ("openapi", "GET /v1/openapi.json"),
        ("explain", "it looks codes up in the program, and asks nobody"),
        ("send", "it is a client of any SMTP server"),
        ("talk", "it is a dialogue at a terminal with any server"),
        ("bench smtp", "it is a client that measures any server"),
        ("bench pop3", "it is a client that measures any server"),
        ("store copy", "it reads a store that no server has open, and makes another of it"),
        ("store check", "it reads the files of a store that no server has open"),
        ("store repair", "it mends the files of a store that no server has open"),
        ("sendmail", "it puts mail into the spool of its machine, from which the server takes it"),
    ];

    fn verbs(command: &Command, path: &str, found: &mut BTreeSet<String>) {
        let mut subcommands = command.get_subcommands().peekable();
        // A command with subcommands that can do without them, as `check`, is a verb itself.
        if !path.is_empty()
            && (subcommands.peek().is_none() || !command.is_subcommand_required_set())
        {
            found.insert(path.to_owned());
        }
        for subcommand in subcommands {
            verbs(subcommand, format!("{path} {}", subcommand.get_name()).trim(), found);
        }
    }

    #[test]
    fn every_verb_of_the_operator_is_an_operation() {
        let operations: BTreeSet<_> = openapi::names().into_iter().collect();
        let mut found = BTreeSet::new();
        verbs(&Cli::command(), "", &mut found);
        assert!(found.len() > 60, "{found:?}");
        let mut wrong = Vec::new();
        for verb in &found {
            let renamed = RENAMED.iter().find(|(of, _)| of == verb).map(|(_, name)| *name);
            let has_none = WITHOUT.iter().any(|(of, _)| of == verb);
            let name = renamed.map_or_else(|| verb.replace(' ', "-"), str::to_owned);
            if operations.contains(&name) == has_none {
                wrong.push(format!("`posta {verb}` has no operation {name:?}"));
            }
        }
        for (verb, _) in RENAMED.iter().chain(WITHOUT) {
            if !found.contains(*verb) {
                wrong.push(format!("there is no `posta {verb}`"));
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }
}

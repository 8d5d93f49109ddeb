//! The form of `--help`: for each command its purpose, its options with a line or two each, and an example, all on
//! one screen.
//!
//! The first paragraph of a command's doc comment is its purpose; the rest and the example come last.

use clap::{Arg, ArgAction, Command};

/// Examples of the commands whose doc comments have none.
const EXAMPLES: &[(&str, &str)] = &[
    ("", "posta serve --config /etc/posta/posta.toml"),
    ("demo", "posta demo --once"),
    ("serve", "posta serve --config /etc/posta/posta.toml"),
    ("config", "posta config check"),
    ("config show", "posta config show --json"),
    ("config check", "posta config check --config /etc/posta/posta.toml"),
    ("account", "posta account add ana@example.test"),
    ("account add", "posta account add ana@example.test"),
    ("account list", "posta account list --json"),
    ("account password", "posta account password ana@example.test"),
    ("account quota", "posta account quota ana@example.test 1GiB"),
    ("account disable", "posta account disable ana@example.test"),
    ("account enable", "posta account enable ana@example.test"),
    ("alias", "posta alias add info@example.test ana@example.test bob@example.test"),
    ("alias list", "posta alias list --json"),
    ("domain", "posta domain add example.test"),
    ("domain add", "posta domain add example.test"),
    ("domain list", "posta domain list --json"),
    ("domain dns", "posta domain dns example.test"),
    ("domain keys", "posta domain keys list example.test"),
    ("domain keys list", "posta domain keys list example.test --json"),
    ("domain keys rotate", "posta domain keys rotate example.test"),
    ("domain remove", "posta domain remove example.test"),
    ("mail", "posta mail list ana@example.test"),
    ("mail list", "posta mail list ana@example.test --folder Junk --json"),
    ("mail show", "posta mail show ana@example.test 17"),
    ("mail move", "posta mail move ana@example.test --folder Junk INBOX 3 4"),
    ("mail flag", "posta mail flag ana@example.test 17 --set seen --clear flagged"),
    ("mail delete", "posta mail delete ana@example.test 17"),
    ("folder", "posta folder list ana@example.test"),
    ("folder list", "posta folder list ana@example.test --json"),
    ("folder add", "posta folder add ana@example.test Archive --role archive"),
    ("folder rename", "posta folder rename ana@example.test Work Office"),
    ("folder remove", "posta folder remove ana@example.test Office"),
    ("sender", "posta sender allow sue@example.net --account ana@example.test"),
    ("sender allow", "posta sender allow sue@example.net --account ana@example.test"),
    ("sender block", "posta sender block .example.net --domain example.test"),
    ("sender remove", "posta sender remove sue@example.net --account ana@example.test"),
    ("sender list", "posta sender list --account ana@example.test --json"),
    ("collect", "posta collect add ana@example.test --server pop.example.net:995 --user ana"),
    ("collect list", "posta collect list --json"),
    ("collect run", "posta collect run 1"),
    ("collect remove", "posta collect remove 1"),
    ("lockout", "posta lockout list"),
    ("lockout list", "posta lockout list --json"),
    ("lockout lift", "posta lockout lift 192.0.2.1"),
    ("queue", "posta queue list"),
    ("queue list", "posta queue list --domain example.org"),
    ("queue show", "posta queue show --sender ana@example.test"),
    ("queue summary", "posta queue summary"),
    ("queue retry", "posta queue retry --domain example.org"),
    ("queue hold", "posta queue hold --sender news@example.test"),
    ("queue release", "posta queue release --all"),
    ("queue remove", "posta queue remove --older 3d --domain example.org"),
    ("quarantine", "posta quarantine list"),
    ("quarantine list", "posta quarantine list --json"),
    ("quarantine show", "posta quarantine show 01kc7hzv8r5k2mtnq4xw"),
    ("quarantine release", "posta quarantine release 01kc7hzv8r5k2mtnq4xw"),
    ("quarantine drop", "posta quarantine drop 01kc7hzv8r5k2mtnq4xw"),
    ("reports", "posta reports dmarc example.test"),
    ("reports dmarc", "posta reports dmarc example.test --since 7d --svg dmarc.svg"),
    ("reports tls", "posta reports tls example.test --since 7d"),
    ("trace", "posta trace ana@example.test --since 2h"),
    ("explain", "posta explain 4.2.2"),
    (
        "send",
        "posta send --from ana@example.test --to bob@example.test --subject Hello --body \"It works\"",
    ),
    ("fetch", "posta fetch --server pop.example.net:995 --user ana --maildir ~/Maildir"),
    ("talk", "posta talk smtp mail.example.net:25"),
    ("bench", "posta bench smtp 127.0.0.1:2525 --to ana@example.test --messages 1000"),
    ("bench smtp", "posta bench smtp 127.0.0.1:2525 --to ana@example.test --messages 1000"),
    ("bench pop3", "posta bench pop3 127.0.0.1:2110 --user ana --mode retr"),
];

/// Applies this form to a command and its subcommands.
pub(crate) fn shaped(command: Command) -> Command {
    let help = Arg::new("help")
        .short('h')
        .long("help")
        .action(ArgAction::HelpShort)
        .help("Print this")
        .display_order(903);
    shape(command.disable_help_flag(true).arg(help.global(true)), "")
}

fn shape(mut command: Command, path: &str) -> Command {
    let told = command.get_long_about().map(ToString::to_string).unwrap_or_default();
    let mut rest = told.split_once("\n\n").map(|(_, rest)| rest.to_owned()).unwrap_or_default();
    if let Some((_, example)) = EXAMPLES.iter().find(|(of, _)| *of == path) {
        rest = format!("{rest}\n\nExample: {example}");
    }
    if !rest.is_empty() {
        command = command.after_help(rest.trim().to_owned());
    }
    // What every command has comes last.
    for (order, name) in [(900, "config"), (901, "data"), (902, "log")] {
        if command.get_arguments().any(|arg| arg.get_id() == name) {
            command = command.mut_arg(name, |arg| arg.display_order(order));
        }
    }
    let names: Vec<_> = command.get_subcommands().map(|sub| sub.get_name().to_owned()).collect();
    names.into_iter().fold(command, |command, name| {
        let path = format!("{path} {name}").trim_start().to_owned();
        command.mut_subcommand(name, |sub| shape(sub, &path))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Cli;
    use clap::CommandFactory;

    /// The lines of the smallest terminal.
    const SCREEN: usize = 40;

    fn walk(command: &mut Command, path: &str, wrong: &mut Vec<String>) {
        let help = command.render_help().to_string();
        let lines = help.lines().count();
        if lines > SCREEN {
            wrong.push(format!("{path}: {lines} lines"));
        }
        if help.matches("Example: posta ").count() != 1 {
            wrong.push(format!("{path}: not one example"));
        }
        for sub in command.get_subcommands_mut().filter(|sub| sub.get_name() != "help") {
            let path = format!("{path} {}", sub.get_name());
            walk(sub, &path, wrong);
        }
    }

    #[test]
    fn every_help_fits_a_screen_and_has_an_example() {
        let mut command = shaped(Cli::command().term_width(100));
        command.build();
        let mut wrong = Vec::new();
        walk(&mut command, "posta", &mut wrong);
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }

    /// Every example parses as a command.
    #[test]
    fn examples_can_be_given() {
        for (_, example) in EXAMPLES {
            let words = example.replace("\"It works\"", "Works");
            let parsed = shaped(Cli::command()).try_get_matches_from(words.split(' '));
            assert!(parsed.is_ok(), "{example}: {}", parsed.unwrap_err());
        }
    }
}

//! The form of `--help`: for each command its purpose, its options with a line or two each, and an example, all on
//! one screen.
//!
//! The first paragraph of a command's doc comment is its purpose; the rest and the example come last.

use clap::{Arg, ArgAction, Command};

/// Examples of the commands whose doc comments have none.
const EXAMPLES: &[(&str, &str)] = &[
    ("", "posta serve --config /etc/posta/posta.toml"),
    ("demo", "posta demo --once"),
    ("top", "posta top --once"),
    ("stats", "posta stats --since 24h --svg mail.svg"),
    ("status", "posta status --json"),
    ("serve", "posta serve --config /etc/posta/posta.toml"),
    ("token", "posta token add panel --domain example.test"),
    ("token list", "posta token list --json"),
    ("token remove", "posta token remove panel"),
    ("config", "posta config check"),
    ("config show", "posta config show --json"),
    ("config check", "posta config check --config /etc/posta/posta.toml"),
    ("account", "posta account add ana@example.test"),
    ("account add", "posta account add ana@example.test"),
    ("account list", "posta account list --json"),
    ("account password", "posta account password ana@example.test"),
    ("account app-password", "posta account app-password add ana@example.test phone"),
    ("account app-password add", "posta account app-password add ana@example.test phone"),
    ("account app-password list", "posta account app-password list ana@example.test --json"),
    ("account app-password remove", "posta account app-password remove ana@example.test phone"),
    ("passwd", "posta passwd ana@example.test"),
    ("away", "posta away set ana@example.test --until 2027-01-06 --file note.txt"),
    ("away show", "posta away show ana@example.test"),
    ("away off", "posta away off ana@example.test"),
    ("forward", "posta forward set ana@example.test bob@example.test"),
    ("forward show", "posta forward show ana@example.test"),
    ("forward off", "posta forward off ana@example.test"),
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
    ("certificate", "posta certificate list"),
    ("certificate list", "posta certificate list --json"),
    ("certificate renew", "posta certificate renew mail.example.test"),
    ("certificate new-account-key", "posta certificate new-account-key"),
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
    ("export", "posta export maildir /var/vmail --all"),
    ("import", "posta import maildir ana@example.test /home/ana/Maildir"),
    ("cluster", "posta cluster status"),
    ("cluster status", "posta cluster status --json"),
    ("cluster drain", "posta cluster drain mx1.example.test"),
    ("cluster resume", "posta cluster resume mx1.example.test"),
    ("cluster remove", "posta cluster remove mx1.example.test"),
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
    ("backup", "posta backup /mnt/backup --keep 30"),
    ("store", "posta store check"),
    ("store check", "posta store check --json"),
    ("store repair", "posta store repair"),
    ("store copy", "posta store copy --to postgresql://posta@db.example.org/posta"),
    ("restore", "posta restore /mnt/backup --account ana@example.test"),
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
    let command = shape(command.disable_help_flag(true).arg(help.global(true)), "");
    let template = format!(
        "{{about-with-newline}}\n{{usage-heading}} {{usage}}\n\n\
         Commands, of which `posta COMMAND --help` tells more:\n{}\n\
         Options:\n{{options}}{{after-help}}",
        groups(&command)
    );
    command.help_template(template)
}

/// The commands by what they are for. There are too many for a line each.
const GROUPS: [(&str, &[&str]); 5] = [
    (
        "Set up and run",
        &["setup", "serve", "reload", "config", "certificate", "token", "check", "demo"],
    ),
    (
        "Look and act",
        &[
            "status",
            "top",
            "stats",
            "trace",
            "queue",
            "quarantine",
            "reports",
            "lockout",
            "cluster",
            "explain",
        ],
    ),
    ("People", &["domain", "account", "passwd", "alias", "forward", "away", "sender"]),
    ("Mail", &["mail", "folder", "collect", "import", "export", "backup", "restore", "store"]),
    ("As a client", &["send", "sendmail", "fetch", "talk", "bench"]),
];

/// The widest line of commands.
const GROUP: usize = 76;

/// Returns the lines that name the commands; the last group has those that are in no other.
fn groups(command: &Command) -> String {
    let shown = command.get_subcommands().filter(|command| !command.is_hide_set());
    let names: Vec<_> = shown.map(Command::get_name).collect();
    let grouped = |name: &&str| GROUPS.iter().any(|(_, group)| group.contains(name));
    let others: Vec<_> = names.iter().copied().filter(|name| !grouped(name)).collect();
    let groups = GROUPS.iter().map(|(title, group)| (*title, group.to_vec()));
    let mut text = String::new();
    for (title, group) in groups.chain([("More", others)]) {
        let mut line = format!("  {title:16}");
        let present: Vec<_> = group.into_iter().filter(|name| names.contains(name)).collect();
        for (at, name) in present.iter().enumerate() {
            if line.len() + name.len() > GROUP {
                text.push_str(line.trim_end());
                line = format!("\n{:18}", "");
            }
            line.push_str(name);
            line.push_str(if at + 1 < present.len() { ", " } else { "" });
        }
        if !present.is_empty() {
            text.push_str(line.trim_end());
            text.push('\n');
        }
    }
    text
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

    /// The first screen names every command, once.
    #[test]
    fn every_command_is_in_a_group() {
        let command = shaped(Cli::command());
        let text = groups(&command);
        let named: Vec<_> =
            text.split_ascii_whitespace().map(|it| it.trim_end_matches(',')).collect();
        let shown = command.get_subcommands().filter(|command| !command.is_hide_set());
        for name in shown.map(Command::get_name) {
            assert_eq!(named.iter().filter(|word| **word == name).count(), 1, "{name}: {text}");
        }
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

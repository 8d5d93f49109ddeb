//! What is written on the command line, and what keeps any command from its work.

use super::Code;

pub(super) const CODES: &[Code] = &[
    Code("account-needed", "The command needs an account.", "Name it: ana@example.org."),
    Code(
        "answers-ended",
        "The answers ended before setup was finished.",
        "Run it again on a terminal, or give the answers as options; it goes on from there.",
    ),
    Code(
        "confirmation-needed",
        "The command asks before it removes anything, and there is no terminal to ask on.",
        "Say --yes.",
    ),
    Code(
        "failed",
        "The command failed for a reason without a code of its own.",
        "The message tells the cause.",
    ),
    Code("file-not-found", "A file does not exist.", "Look at the path."),
    Code("file-too-large", "A file is larger than the command reads.", "Give it a smaller one."),
    Code(
        "input-taken",
        "Standard input cannot hold the password and the message.",
        "Make the message with --subject, --body or --attach.",
    ),
    Code(
        "interval-too-short",
        "A source may be visited once a minute at most.",
        "Give --every a longer time.",
    ),
    Code("invalid-address", "That is no address.", "Addresses have the form local-part@domain."),
    Code("invalid-domain", "That is no domain.", "Domains have the form example.org."),
    Code(
        "invalid-keep",
        "That is no rule for what stays on the server.",
        "It is all, none, or a time such as 7d.",
    ),
    Code(
        "invalid-map",
        "The pattern for the mailboxes names no account.",
        "Write %n or %u in it, as '/var/vmail/%d/%n/Maildir'.",
    ),
    Code(
        "invalid-name",
        "The name has characters that names cannot have.",
        "Use visible characters only.",
    ),
    Code(
        "invalid-script",
        "The script cannot be read.",
        "Lines begin with C: or S:, as in `posta talk smtp`'s own example.",
    ),
    Code(
        "invalid-sender",
        "That is neither an address nor a domain to send as.",
        "Name an address, @example.org, or any.",
    ),
    Code("invalid-size", "That is no size.", "Write a number and a unit: 50MiB."),
    Code(
        "invalid-time",
        "That is neither a time nor a span.",
        "Write 2026-11-24T08:00:00Z, or 2h.",
    ),
    Code("invalid-value", "A value on the command line is wrong.", "--help shows what it may be."),
    Code("message-unusable", "The message has no recipients.", "Name them, or mend its fields."),
    Code("missing-argument", "The command line lacks something.", "--help shows how to write it."),
    Code("no-accounts", "The file names no account.", "Add an [[account]] table for each."),
    Code("no-address", "A recipient is no address.", "Write ana@example.org, or a user's name."),
    Code("no-member", "An alias needs a member.", "Name at least one."),
    Code(
        "no-selection",
        "The command needs to know what to act on.",
        "Name ids, or --domain, --sender, --older, or --all.",
    ),
    Code(
        "no-target",
        "The command needs to know where mail goes.",
        "Name one of maildir, mbox, lmtp and account.",
    ),
    Code("not-a-file", "The path leads to no file.", "Name a file."),
    Code("not-confirmed", "The question was not answered with yes.", "Nothing was changed."),
    Code("nothing-changed", "The change found nothing to change.", "Look at what is there first."),
    Code(
        "permission-denied",
        "The user who runs the command may not do that.",
        "Run it as the server's user or as root.",
    ),
    Code("recipient-needed", "The command needs a recipient.", "Name one with --to."),
    Code(
        "system-error",
        "The operating system refused something.",
        "The message has the system's own words.",
    ),
    Code("terminal-needed", "The command draws on a terminal.", "--once prints one frame."),
    Code("time-is-past", "The time has passed.", "Name one in the future."),
    Code(
        "unknown-code",
        "That is no code.",
        "Try 452, 4.2.2, or the word in brackets behind an error.",
    ),
    Code("unknown-command", "There is no such command.", "`posta --help` lists all."),
    Code("unknown-option", "The command has no such option.", "--help lists all."),
    Code("user-needed", "The command needs a user's name.", "Name it with --user."),
];

//! Messages, folders, the queue and the history; mail that is moved, fetched, collected and handed over.

use super::Code;

pub(super) const CODES: &[Code] = &[
    Code(
        "export-incomplete",
        "Not everything was written.",
        "The lines before name what is missing; run the command again, which writes only that.",
    ),
    Code(
        "fetch-incomplete",
        "Some messages could not be fetched.",
        "They are still on the server; the lines before name each and why.",
    ),
    Code("folder-exists", "There is a folder with that name.", "Choose another name."),
    Code(
        "folder-is-fixed",
        "Every account has this folder.",
        "It can be neither renamed nor removed.",
    ),
    Code("folder-not-empty", "The folder has messages.", "Move or delete them first."),
    Code(
        "import-failed",
        "Not everything could be imported.",
        "The message names what was left out; run the command again, which imports only what is missing.",
    ),
    Code(
        "import-incomplete",
        "Not everything came in.",
        "The lines before name what was left; run the command again, which takes only what is missing.",
    ),
    Code(
        "login-elsewhere-failed",
        "The other server refused the login, or could not be reached.",
        "Try the same with `posta talk pop3`.",
    ),
    Code(
        "mail-refused",
        "The mailbox does not have that, or did not take it.",
        "The error tells why.",
    ),
    Code(
        "message-too-long",
        "A message is longer than the server said.",
        "It stays there; raise limits.message-size if it is wanted.",
    ),
    Code(
        "no-mailbox",
        "No account has a mailbox at that place.",
        "Directories are looked for by the addresses that `posta account list` shows.",
    ),
    Code(
        "no-spool",
        "This machine takes no mail from programs.",
        "The error tells why; set `spool`.",
    ),
    Code("no-such-folder", "There is no such folder.", "`posta folder list` shows all."),
    Code("no-such-source", "There is no such source.", "`posta collect list` shows all."),
    Code(
        "no-unique-ids",
        "The other server cannot tell messages apart.",
        "Fetch all, or have fetched messages deleted there.",
    ),
    Code(
        "not-stored",
        "A message could not be stored where it was to go.",
        "The error tells why; the message is still on the server.",
    ),
    Code(
        "nothing-found",
        "The history has nothing of that.",
        "History is kept for 30 days; look for an address or a message id.",
    ),
    Code(
        "nothing-in-quarantine",
        "No such message is there.",
        "`posta quarantine list` names them.",
    ),
    Code("nothing-in-queue", "Nothing in the queue matches.", "`posta queue list` shows all."),
    Code(
        "own-mailbox",
        "A mailbox of this server cannot be collected by itself.",
        "Use an alias or a forward.",
    ),
    Code("source-busy", "The source is being visited right now.", "Wait for the visit to end."),
    Code("spool-failed", "The message could not be kept.", "Try again; look for a full disk."),
    Code("too-many-folders", "The account has as many folders as it may.", "Remove one first."),
    Code("too-many-keywords", "The message has as many keywords as it may.", "Remove one first."),
    Code(
        "visit-failed",
        "The other mailbox could not be collected.",
        "Messages that were collected are here; the next visit goes on.",
    ),
];

//! The data directory, the store and its backups.

use super::Code;

pub(super) const CODES: &[Code] = &[
    Code(
        "backup-damaged",
        "The backup is not as it was written.",
        "The lines before name what is damaged; older snapshots may be whole.",
    ),
    Code(
        "backup-incomplete",
        "Some messages could not be read when the backup was made.",
        "`posta store check` names them; the rest is in the backup.",
    ),
    Code(
        "backup-key-needed",
        "The backup is encrypted.",
        "Name the file of the private key with --identity.",
    ),
    Code(
        "backup-refused",
        "The server could not make the backup, or bring it back.",
        "The message tells why.",
    ),
    Code(
        "backup-unusable",
        "The directory cannot be used for backups, or the backup in it cannot be used.",
        "The message tells why; `posta backup DIR --verify` reads everything back.",
    ),
    Code("copy-differs", "The source changed during the copy.", "Stop its servers; run it again."),
    Code(
        "data-directory",
        "The data directory cannot be used.",
        "It must belong to the server's user, who alone may look into it.",
    ),
    Code(
        "disk-full",
        "The disk is full.",
        "Make room: `df -h` shows where. Removing mail works meanwhile.",
    ),
    Code(
        "embedded-store-only",
        "The command works on the files of the embedded store, and [store] names PostgreSQL.",
        "The message names what does it there; docs/cluster.md tells more under Backups.",
    ),
    Code("key-file-exists", "There is another key file.", "Move it away, then restore again."),
    Code("no-snapshot", "The directory has no snapshot yet.", "`posta backup DIR` makes one."),
    Code(
        "no-store",
        "There is no store in the data directory.",
        "`posta account add` or `posta serve` makes one; --config or --data says where another one is.",
    ),
    Code(
        "not-a-store",
        "The data directory is not one.",
        "Name a directory of Posta's own, or a new one.",
    ),
    Code(
        "not-in-backup",
        "The backup does not have that.",
        "`posta backup DIR --list` shows the snapshots; another one may have it.",
    ),
    Code("object-store", "The object store cannot be used.", "The message tells why."),
    Code(
        "sealed",
        "A secret cannot be read.",
        "Look at the key file: it must be the one that the store was used with.",
    ),
    Code(
        "server-runs",
        "A server uses the data directory.",
        "Stop it first, or bring back one account with --account.",
    ),
    Code(
        "store-damaged",
        "The store has a damaged record.",
        "`posta store check` names what is damaged.",
    ),
    Code(
        "store-exists",
        "There is a store already, or the database is not empty.",
        "Name an empty directory or database, or bring back one account with --account.",
    ),
    Code(
        "store-failed",
        "The store could not do it.",
        "The log tells more; a restart opens the store anew.",
    ),
    Code(
        "store-in-use",
        "Another process has the store open.",
        "Stop it, or use the commands that go through the running server.",
    ),
    Code("store-incomplete", "A copy into it was broken off.", "The same copy again finishes it."),
    Code(
        "store-too-new",
        "The store was written by a newer program.",
        "Use the newer posta again, or restore a backup made before the upgrade.",
    ),
    Code(
        "too-many-backups",
        "Several backups run at the same time already.",
        "Wait for one to end; one that was killed is given up after a while.",
    ),
];

//! The metrics that a server exports: the name, kind, labels and meaning of each. The export and docs/metrics.md follow
//! from these definitions. `cargo xtask docs` compiles this file by itself, so it imports nothing.
//!
//! Names follow Prometheus' conventions: base units, `_total` for what only grows.

/// The kind of a metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A number that only grows, until a restart.
    Counter,
    /// A number that goes up and down.
    Gauge,
    /// The distribution of observed values.
    Histogram,
    /// The number and the sum of observed values.
    Summary,
}

impl Kind {
    /// Returns the word of the text format.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
            Self::Summary => "summary",
        }
    }
}

/// A metric.
#[derive(Debug)]
pub struct Definition {
    /// The name.
    pub name: &'static str,
    /// The kind.
    pub kind: Kind,
    /// The labels, each with its values in words.
    pub labels: &'static [(&'static str, &'static str)],
    /// The meaning.
    pub help: &'static str,
}

/// Defines the metrics, and the list of all.
macro_rules! metrics {
    ($($constant:ident: $kind:ident $name:literal {$($label:literal: $values:literal),*} $help:literal)*) => {
        $(
            #[doc = $help]
            pub const $constant: Definition = Definition {
                name: $name,
                kind: Kind::$kind,
                labels: &[$(($label, $values)),*],
                help: $help,
            };
        )*

        /// All metrics, in the order of the export.
        pub const ALL: &[&Definition] = &[$(&$constant),*];
    };
}

metrics! {
    BUILD: Gauge "posta_build_info" {"version": "the program's version"}
        "Always 1."
    STARTED: Gauge "posta_start_time_seconds" {}
        "The time when the server started, in seconds since 1970."
    SESSIONS: Gauge "posta_sessions" {"protocol": "smtp, submission, lmtp, pop3, https, http"}
        "The open sessions."
    SESSIONS_BEGUN: Counter "posta_sessions_total" {"protocol": "smtp, submission, lmtp, pop3, https, http"}
        "The sessions that began."
    SESSIONS_CROWDED: Counter "posta_sessions_turned_away_total" {}
        "The connections that were turned away because there were too many sessions."
    LOGINS: Counter "posta_logins_total" {"result": "ok; failed: a wrong name, password or token; locked: refused without a look, during a lock-out"}
        "The attempts to log in."
    LOCKOUTS: Gauge "posta_lockouts" {}
        "The lock-outs in force, of networks and of names (`posta lockout list`)."
    ACCEPTED: Counter "posta_messages_accepted_total" {"protocol": "smtp, submission, lmtp; collected: from a mailbox elsewhere"}
        "The messages that were accepted."
    ACCEPTED_BYTES: Counter "posta_messages_accepted_bytes_total" {"protocol": "smtp, submission, lmtp"}
        "The octets of these messages, except for collected ones."
    DELIVERED: Counter "posta_deliveries_total" {"folder": "inbox, junk"}
        "The copies of arriving messages that were put into mailboxes."
    QUEUED: Counter "posta_queued_total" {}
        "The items that arriving messages put into the queue: one for each message and destination."
    REFUSALS: Counter "posta_refusals_total" {"reason": "the subject of the status code (RFC 3463 §3): address, mailbox, system, network, protocol, content, policy, other", "permanent": "true, false"}
        "The refusals of commands and messages by this server. Wrong passwords are counted as logins."
    CHECKS: Counter "posta_checks_total" {"method": "spf, dkim, dmarc, arc", "result": "as in RFC 8601: pass, fail, softfail, neutral, policy, none, temperror, permerror"}
        "The results of checking where messages of strangers came from. Of several signatures, one that passes counts."
    ACCEPT_SECONDS: Histogram "posta_accept_seconds" {}
        "The time from the end of a message's data to its acceptance, with all checks and filters."
    QUEUE_SECONDS: Histogram "posta_queue_wait_seconds" {}
        "The time from the acceptance of a message until another server accepted it, for each delivery."
    ATTEMPT_SECONDS: Histogram "posta_attempt_seconds" {}
        "The duration of attempts to send."
    SENT: Counter "posta_recipients_total" {"outcome": "delivered, deferred, failed"}
        "The results of attempts to send, for each recipient."
    DESTINATION_SENT: Counter "posta_destination_recipients_total" {"destination": "a domain; other: all that are not among the fifty busiest", "outcome": "delivered, deferred, failed"}
        "The same, by destination. A domain that leaves the fifty busiest is added to other, and begins at 0 when it comes back."
    DESTINATION_SECONDS: Summary "posta_destination_attempt_seconds" {"destination": "as above"}
        "The duration of attempts to send, by destination."
    QUEUE_ITEMS: Gauge "posta_queue_items" {"state": "waiting, leased (being sent), held, quarantined", "age": "5m, 1h, 1d: younger than this, and older than the one before; older"}
        "The items in the queue, by state and age. Counted at most every ten seconds."
    QUEUE_OLDEST: Gauge "posta_queue_oldest_seconds" {"state": "waiting, leased, held, quarantined"}
        "The age of the oldest item in this state; 0 if there is none."
    RETRIEVED: Counter "posta_maildrop_messages_retrieved_total" {}
        "The messages that POP3 clients retrieved completely."
    REMOVED: Counter "posta_maildrop_messages_removed_total" {}
        "The messages that POP3 clients removed."
    SYNC_SECONDS: Histogram "posta_store_sync_seconds" {}
        "The duration of the store's syncs."
    GROUP_REQUESTS: Histogram "posta_store_group_requests" {}
        "The number of requests that were committed together."
    OBJECT_REQUESTS: Counter "posta_object_store_requests_total" {"result": "put, got, removed, listed, failed"}
        "The requests to the object store, by their result; of those that failed, each attempt."
    OBJECT_SECONDS: Histogram "posta_object_store_seconds" {}
        "The time that each answer of the object store took."
    OBJECTS_AWAY: Gauge "posta_object_store_away" {}
        "1 while the object store cannot be used."
    OBJECTS_MISSING: Gauge "posta_object_store_missing" {}
        "The objects that messages need and that the last look through the bucket did not find."
    CERTIFICATES: Gauge "posta_certificate_expiry_timestamp_seconds" {"certificate": "the file, or the name that it was issued for"}
        "The time when a certificate of the server expires, in seconds since 1970."
    DISK_FREE: Gauge "posta_disk_free_bytes" {}
        "The room on the disk of the data directory."
    DISK_SIZE: Gauge "posta_disk_size_bytes" {}
        "The size of the disk of the data directory."
    SOURCES: Gauge "posta_sources" {"state": "ok, failing"}
        "The mailboxes elsewhere that are collected, by the result of the last visit."
    BACKUP: Gauge "posta_last_backup_timestamp_seconds" {}
        "The time of the last backup, in seconds since 1970; 0 if there was none."
}

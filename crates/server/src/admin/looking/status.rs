//! The state of the server on one screen, with warnings about what needs attention.

use crate::{
    admin::{Admin, AdminError, Response, backup::LAST_BACKUP, looking::survey::QueueSurvey},
    login::lockout::Lockout,
};
use posta_mail::Timestamp;
use posta_store::{ObjectFigures, StoreError};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{path::PathBuf, time::Duration};

/// The maximal number of failing sources, and of lock-outs, that are listed.
const LISTED: usize = 10;

/// The maximal number of characters of a source's problem.
const PROBLEM: usize = 200;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// The time before a certificate's expiry at which a warning begins.
const EXPIRY: Duration = Duration::from_secs(14 * 24 * 60 * 60);

/// The age of an item in the queue from which a warning says so: usual schedules have sent a report of the delay by then.
const OLD_ITEM: Duration = Duration::from_secs(4 * 60 * 60);

/// The age of the last backup from which a warning says so.
const OLD_BACKUP: Duration = Duration::from_secs(8 * 24 * 60 * 60);

/// The free room below which a warning says so: octets, and the part of the disk.
const LITTLE_ROOM: u64 = 1024 * 1024 * 1024;
const LITTLE_PART: u64 = 20;

/// The state of the server and the store.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct ServerStatus {
    /// What needs attention, in words, the most urgent first.
    pub warnings: Vec<String>,
    /// Whether a server runs. If none does, the fields about sessions, listeners, certificates and lock-outs are empty.
    pub running: bool,
    /// The program's version.
    pub version: String,
    /// The server's name.
    pub hostname: Option<String>,
    /// The time of this status.
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub time: Timestamp,
    /// The time when the server started.
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    pub started: Option<Timestamp>,
    /// The listeners.
    pub listeners: Vec<ListenerLine>,
    /// The number of open sessions, by protocol.
    pub sessions: Vec<(String, u64)>,
    /// The queue.
    pub queue: QueueSurvey,
    /// The mailboxes elsewhere that are collected.
    pub sources: SourcesSummary,
    /// The server's certificates.
    pub certificates: Vec<CertificateLine>,
    /// The lock-outs in force.
    pub lockouts: Lockedout,
    /// The disk of the data directory.
    pub disk: Option<Disk>,
    /// The last backup.
    pub backup: Option<BackupLine>,
}

/// A listener.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct ListenerLine {
    /// `smtp`, `submission`, `lmtp`, `pop3` or `https`.
    pub protocol: String,
    /// The address.
    pub address: String,
}

/// The mailboxes elsewhere that are collected.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct SourcesSummary {
    /// Their number.
    pub count: usize,
    /// The number of those whose last visit had a problem.
    pub failing: usize,
    /// The first of those.
    pub problems: Vec<FailingSource>,
}

/// A source whose last visit had a problem.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct FailingSource {
    /// The source's id.
    pub id: String,
    /// The account whose mailbox the mail goes to.
    pub address: String,
    /// The server.
    pub server: String,
    /// The problem.
    pub problem: String,
}

/// A certificate of the server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct CertificateLine {
    /// The file.
    pub file: PathBuf,
    /// The time when the certificate expires.
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub expires: Timestamp,
}

/// The lock-outs in force.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Lockedout {
    /// Their number.
    pub count: usize,
    /// The first of them.
    pub first: Vec<Lockout>,
}

/// The room on a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Disk {
    /// The free octets.
    pub free: u64,
    /// All octets.
    pub size: u64,
}

/// A backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BackupLine {
    /// The time.
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub at: Timestamp,
    /// The directory.
    pub to: String,
}

impl Admin {
    pub(super) async fn status(&self) -> Result<ServerStatus, AdminError> {
        let time = self.clock.now();
        let mut lockouts = self.lockouts();
        let lockouts = Lockedout {
            count: lockouts.len(),
            first: {
                lockouts.truncate(LISTED);
                lockouts
            },
        };
        let mut status = ServerStatus {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            time,
            queue: self.surveys.survey(&*self.store, &*self.clock).await?,
            sources: self.sources_summary().await?,
            lockouts,
            disk: self.disk(),
            backup: self.last_backup().await?,
            ..ServerStatus::default()
        };
        if let Some(running) = &self.running {
            status.running = true;
            status.hostname = Some(running.hostname.to_string());
            status.started = Some(running.started);
            status.listeners = running.listeners.clone();
            status.sessions = running.metrics.figures().sessions;
            status.certificates = self.certificates();
        }
        status.warnings = self.cluster_warnings().await?;
        status.warnings.extend(warnings(&status));
        status.warnings.extend(of_objects(self.store.figures().objects.as_ref()));
        Ok(status)
    }

    pub(super) fn certificates(&self) -> Vec<CertificateLine> {
        let tls = self.running.as_ref().and_then(|running| running.tls.as_ref());
        let expiries = tls.map(|tls| tls.expiries()).unwrap_or_default();
        expiries.into_iter().map(|(file, expires)| CertificateLine { file, expires }).collect()
    }

    pub(super) async fn sources_summary(&self) -> Result<SourcesSummary, AdminError> {
        let Response::Sources(lines) = self.sources().await? else {
            return Ok(SourcesSummary::default());
        };
        let mut summary = SourcesSummary { count: lines.len(), ..SourcesSummary::default() };
        for line in lines {
            let Some(problem) = line.last.and_then(|visit| visit.problem) else { continue };
            summary.failing += 1;
            if summary.problems.len() < LISTED {
                let problem = problem.chars().take(PROBLEM).collect();
                let (id, server) = (line.id.to_string(), line.server);
                summary.problems.push(FailingSource { id, address: line.address, server, problem });
            }
        }
        Ok(summary)
    }

    /// Returns the room on the disk of the data directory; none if the store is not on a disk.
    pub(super) fn disk(&self) -> Option<Disk> {
        let disk = rustix::fs::statvfs(self.data.as_deref()?).ok()?;
        let octets = |blocks: u64| blocks.saturating_mul(disk.f_frsize);
        Some(Disk { free: octets(disk.f_bavail), size: octets(disk.f_blocks) })
    }

    /// Returns the last backup; none if there was none, or its record is not understood.
    pub(super) async fn last_backup(&self) -> Result<Option<BackupLine>, StoreError> {
        let (kind, name) = LAST_BACKUP;
        let record = self.store.kept_one(kind, name).await?;
        Ok(record.and_then(|record| serde_json::from_slice(&record).ok()))
    }
}

/// Returns what needs attention, with the cure.
fn warnings(status: &ServerStatus) -> Vec<String> {
    let mut warnings = Vec::new();
    if !status.running {
        warnings.push("no server runs here: `posta serve` starts it".to_owned());
    }
    if let Some(Disk { free, size }) = status.disk
        && (free < LITTLE_ROOM || free < size / LITTLE_PART)
    {
        let free = free / (1024 * 1024);
        warnings
            .push(format!("the disk has {free} MiB left: make room, or mail is refused for now"));
    }
    for CertificateLine { file, expires } in &status.certificates {
        let file = file.display();
        if *expires <= status.time {
            warnings.push(format!("the certificate {file} expired on {expires:.0}: renew it"));
        } else if *expires < status.time + EXPIRY {
            warnings.push(format!("the certificate {file} expires on {expires:.0}: renew it"));
        }
    }
    for line in &status.queue.states {
        let is_old = line.oldest.is_some_and(|oldest| oldest + OLD_ITEM < status.time);
        match (line.state.as_str(), line.items) {
            ("waiting", items) if is_old => warnings.push(format!(
                "some of the {items} messages that wait in the queue are hours old: `posta queue summary` says \
                 for where, `posta queue show` why"
            )),
            ("quarantined", 1..) => warnings.push(format!(
                "messages in quarantine: {} (`posta quarantine list`)",
                line.items
            )),
            _ => {}
        }
    }
    if status.sources.failing > 0 {
        let SourcesSummary { count, failing, .. } = status.sources;
        warnings.push(format!(
            "mail is not collected from {failing} of {count} sources: `posta collect list` says why"
        ));
    }
    if status.lockouts.count > 0 {
        let count = status.lockouts.count;
        warnings.push(format!(
            "lock-outs in force: {count} (`posta lockout list`, `posta lockout lift WHO`)"
        ));
    }
    if let Some(BackupLine { at, .. }) = &status.backup
        && at.saturating_add(OLD_BACKUP).is_ok_and(|then| then < status.time)
    {
        let days = status.time.duration_since(*at).as_secs() / DAY.as_secs() as i64;
        warnings.push(format!("the last backup is {days} days old: `posta backup DIR`"));
    }
    warnings
}

/// Returns what is wrong with the object store: one that is away keeps large messages waiting, and nothing else.
fn of_objects(objects: Option<&ObjectFigures>) -> Vec<String> {
    let Some(objects) = objects else { return Vec::new() };
    let away = objects.away.as_ref();
    let away = away.map(|why| format!("large messages wait, and cannot be read: {why}"));
    let missing = (objects.missing > 0).then(|| {
        format!(
            "objects missing from the bucket: {} (the log names the messages; bring them back from a copy of the bucket)",
            objects.missing
        )
    });
    away.into_iter().chain(missing).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::looking::survey::QueueStateLine;

    #[test]
    fn what_needs_attention_is_told_with_its_cure() {
        let time: Timestamp = "2027-01-15T12:00:00Z".parse().unwrap();
        let days = |days: u32| DAY * days;
        let certificate = |expires| CertificateLine { file: "c.pem".into(), expires };
        let line = |state: &str, items, oldest| QueueStateLine {
            state: state.to_owned(),
            items,
            oldest: Some(oldest),
            ..QueueStateLine::default()
        };
        let fine = ServerStatus {
            running: true,
            time,
            certificates: vec![certificate(time + days(15))],
            queue: QueueSurvey { time, states: vec![line("waiting", 3, time - days(0))] },
            disk: Some(Disk { free: 2 * LITTLE_ROOM, size: 4 * LITTLE_ROOM }),
            backup: Some(BackupLine { at: time - days(7), to: "/backup".into() }),
            ..ServerStatus::default()
        };
        assert_eq!(warnings(&fine), Vec::<String>::new());
        let bad = ServerStatus {
            running: false,
            certificates: vec![certificate(time), certificate(time + days(13))],
            queue: QueueSurvey {
                time,
                states: vec![line("waiting", 3, time - days(1)), line("quarantined", 1, time)],
            },
            disk: Some(Disk { free: LITTLE_ROOM * 2, size: 41 * LITTLE_ROOM }),
            sources: SourcesSummary { count: 3, failing: 1, problems: Vec::new() },
            lockouts: Lockedout { count: 2, first: Vec::new() },
            backup: Some(BackupLine { at: time - days(9), to: "/backup".into() }),
            ..fine
        };
        let told = warnings(&bad);
        for (warning, words) in told.iter().zip([
            "no server runs here",
            "the disk has 2048 MiB left",
            "the certificate c.pem expired on 2027-01-15T12:00:00Z",
            "the certificate c.pem expires on 2027-01-28T12:00:00Z",
            "some of the 3 messages",
            "messages in quarantine: 1 ",
            "from 1 of 3 sources",
            "lock-outs in force: 2 ",
            "the last backup is 9 days old",
        ]) {
            assert!(warning.contains(words), "{words}: {warning}");
        }
        assert_eq!(told.len(), 9);
        let at = Timestamp::MAX;
        let ahead = ServerStatus { backup: Some(BackupLine { at, to: "/backup".into() }), ..bad };
        assert_eq!(warnings(&ahead).len(), 8, "a clock may be wrong");
    }

    #[test]
    fn an_object_store_that_is_away_is_a_warning() {
        assert_eq!(of_objects(None), Vec::<String>::new());
        let mut objects = ObjectFigures::default();
        assert_eq!(of_objects(Some(&objects)), Vec::<String>::new());
        objects.away = Some("no answer".to_owned());
        objects.missing = 2;
        let told = of_objects(Some(&objects));
        assert!(told[0].contains("large messages wait, and cannot be read: no answer"), "{told:?}");
        assert!(told[1].starts_with("objects missing from the bucket: 2 "), "{told:?}");
    }
}

//! Warnings to the postmaster about certificates that cannot be renewed (ACME): by mail, once a day at most, while
//! there is still time to mend what is wrong.

use super::Reporter;
use crate::{
    deliver::report,
    sign::certificates::{self, CertificateState, IssuedLine},
};
use posta_mail::{Address, Timestamp};
use posta_mime::certificate_notice::CertificateNotice;
use posta_store::StoreError;
use std::time::Duration;
use tokio::{sync::watch, time::sleep};

/// The interval at which the certificates are looked at.
const EVERY: Duration = Duration::from_secs(60 * 60);

/// The shortest time between two messages.
const BETWEEN: Duration = Duration::from_secs(24 * 60 * 60);

/// The duty of warning: of the nodes of a cluster, one does.
const DUTY: &str = "certificate-warnings";

/// The kind and the name of the record that says when the last message was sent.
const LAST: (&str, &str) = ("certificate-notice", "last");

/// The maximal number of certificates that a message names.
const NAMED: usize = 50;

/// Writes to the postmaster.
pub(crate) struct CertificateWarnings(pub(crate) Reporter);

impl CertificateWarnings {
    /// Looks at the certificates from time to time, until the server stops.
    pub(crate) async fn run(self, mut stopping: watch::Receiver<bool>) {
        loop {
            tokio::select! {
                // At first too: the server's own attempts come before.
                () = sleep(EVERY) => {}
                _ = stopping.wait_for(|&stopping| stopping) => return,
            }
            if let Err(error) = self.look().await {
                tracing::error!(%error, "the postmaster could not be warned of certificates");
            }
        }
    }

    /// Sends a message if something is wrong and none was sent for a day.
    async fn look(&self) -> Result<(), StoreError> {
        let reporter = &self.0;
        if !reporter.store.take_duty(DUTY).await? {
            return Ok(());
        }
        let now = reporter.clock.now();
        let lines = certificates::list(&*reporter.store, now).await?;
        let problems: Vec<_> = lines.iter().filter_map(problem).take(NAMED).collect();
        if problems.is_empty() || self.is_recent(now).await? {
            return Ok(());
        }
        let from = reporter.postmaster(reporter.hostname.as_str()).await?;
        let Ok(to) = from.parse::<Address>() else { return Ok(()) };
        let resolved = reporter.directory.destination(&to).await?;
        if resolved.is_nothing() {
            return Ok(());
        }
        let id = reporter.clock.mail_id();
        let notice = CertificateNotice {
            hostname: &reporter.hostname,
            time: now,
            message_id: &format!("{id}@{}", reporter.hostname),
            from: &from,
            to: &to,
            problems: &problems,
        };
        let content = notice.write();
        let head = reporter.sign(&content, &resolved, now).await;
        let message = report::Report { id, time: now, head, content, to: &to, require_tls: false };
        reporter.store.accept(report::report(message, &resolved)).await?;
        tracing::warn!(%to, %id, certificates = problems.len(), "the postmaster was warned of certificates");
        let (kind, name) = LAST;
        reporter.store.keep(kind, name, Some(now.to_string().into_bytes())).await
    }

    /// Returns whether the last message was sent less than a day ago.
    async fn is_recent(&self, now: Timestamp) -> Result<bool, StoreError> {
        let (kind, name) = LAST;
        let last = self.0.store.kept_one(kind, name).await?;
        let last = last.and_then(|last| String::from_utf8(last).ok()?.parse::<Timestamp>().ok());
        Ok(last.is_some_and(|last| now < last + BETWEEN))
    }
}

/// Returns what is wrong with a certificate, in words; `None` if nothing is.
fn problem(line: &IssuedLine) -> Option<String> {
    let IssuedLine { name, state, not_after, problem, .. } = line;
    let day = not_after.map(|time| time.strftime("%Y-%m-%d").to_string()).unwrap_or_default();
    let what = match state {
        CertificateState::Missing | CertificateState::Valid => return None,
        CertificateState::Failing if day.is_empty() => "there is no certificate".to_owned(),
        CertificateState::Failing => format!("the certificate expires on {day}"),
        CertificateState::Expired => format!("the certificate expired on {day}"),
    };
    let why = problem.as_deref().unwrap_or("it was not tried");
    Some(format!("{name}: {what}. The last attempt failed: {why}."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_wrong_is_told() {
        let line = IssuedLine {
            name: "x.test".to_owned(),
            state: CertificateState::Failing,
            not_before: None,
            not_after: Some("2027-01-31T00:00:00Z".parse().unwrap()),
            days_left: Some(9),
            key_sha256: None,
            next_key_sha256: None,
            is_trusted: true,
            next: None,
            failures: 3,
            problem: Some("no route".to_owned()),
        };
        let told =
            "x.test: the certificate expires on 2027-01-31. The last attempt failed: no route.";
        assert_eq!(problem(&line).as_deref(), Some(told));
        assert_eq!(problem(&IssuedLine { state: CertificateState::Valid, ..line }), None);
    }
}

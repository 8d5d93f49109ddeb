//! A TLS report (RFC 8460 §4), read from JSON.

use super::{ReportError, name};
use posta_mail::Timestamp;
use serde::{Deserialize, Serialize};
use std::io::{BufReader, Read};

/// The maximal number of octets of a report. Its form is kept in memory for a moment; reports have a few kilobytes.
const TEXT: u64 = 1 << 20;

/// The maximal number of policies of a summary.
pub const POLICIES: usize = 16;

/// The maximal number of kinds of failures of a policy.
pub const FAILURES: usize = 32;

/// A summary of a TLS report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TlsReport {
    /// The name of the reporting organization.
    pub reporter: String,
    /// The report's id.
    pub id: String,
    /// The beginning of the period.
    pub begin: Timestamp,
    /// The end of the period.
    pub end: Timestamp,
    /// The policies, at most [`POLICIES`].
    pub policies: Vec<TlsPolicySummary>,
}

/// The sessions under one policy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TlsPolicySummary {
    /// The domain, in lower case.
    pub domain: String,
    /// The kind of policy: `tlsa`, `sts` or `no-policy-found`.
    pub kind: String,
    /// The number of sessions that succeeded.
    pub succeeded: u64,
    /// The number of sessions that failed.
    pub failed: u64,
    /// The reasons, at most [`FAILURES`].
    pub failures: Vec<TlsFailureCount>,
}

/// Failures of one kind with one server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TlsFailureCount {
    /// The result type (RFC 8460 §4.3), with the reason code if there is one.
    pub reason: String,
    /// The server's name; empty if that is not told.
    pub server: String,
    /// The number of sessions.
    pub count: u64,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Written {
    #[serde(default)]
    organization_name: Option<String>,
    date_range: Period,
    report_id: String,
    policies: Vec<WrittenPolicy>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Period {
    start_datetime: String,
    end_datetime: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct WrittenPolicy {
    policy: Policy,
    summary: Sums,
    #[serde(default)]
    failure_details: Vec<Failure>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Policy {
    policy_type: String,
    policy_domain: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Sums {
    total_successful_session_count: u64,
    total_failure_session_count: u64,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Failure {
    result_type: String,
    #[serde(default)]
    failure_reason_code: Option<String>,
    #[serde(default)]
    receiving_mx_hostname: Option<String>,
    failed_session_count: u64,
}

/// Reads a report.
pub(super) fn read(text: impl Read) -> Result<TlsReport, ReportError> {
    let mut text = BufReader::new(text.take(TEXT));
    let written: Result<Written, _> = serde_json::from_reader(&mut text);
    let written = written.map_err(|error| match error.io_error_kind() {
        Some(_) => ReportError::Archive("its data is damaged, or too large"),
        None => ReportError::Malformed("its members are not those of a TLS report"),
    })?;
    let time =
        |text: &str| text.parse().map_err(|_| ReportError::Malformed("its period cannot be read"));
    Ok(TlsReport {
        reporter: name(written.organization_name.as_deref().unwrap_or_default()),
        id: name(&written.report_id),
        begin: time(&written.date_range.start_datetime)?,
        end: time(&written.date_range.end_datetime)?,
        policies: written.policies.into_iter().take(POLICIES).map(summary).collect(),
    })
}

fn summary(written: WrittenPolicy) -> TlsPolicySummary {
    let WrittenPolicy { policy, summary, failure_details } = written;
    let mut failures: Vec<TlsFailureCount> = Vec::new();
    for failure in failure_details {
        let mut reason = name(&failure.result_type);
        if let Some(code) = failure.failure_reason_code.filter(|code| !code.is_empty()) {
            reason = name(&format!("{reason} ({})", name(&code)));
        }
        let server = name(failure.receiving_mx_hostname.as_deref().unwrap_or_default());
        let is_full = failures.len() >= FAILURES;
        let known = failures.iter_mut().find(|it| it.reason == reason && it.server == server);
        let count = failure.failed_session_count;
        match known {
            Some(known) => known.count = known.count.saturating_add(count),
            None if is_full => {}
            None => failures.push(TlsFailureCount { reason, server, count }),
        }
    }
    TlsPolicySummary {
        domain: name(policy.policy_domain.trim_end_matches('.')).to_lowercase(),
        kind: name(&policy.policy_type),
        succeeded: summary.total_successful_session_count,
        failed: summary.total_failure_session_count,
        failures,
    }
}

#[cfg(test)]
mod tests {
    use super::{super::NAME, *};

    /// The example of RFC 8460, Appendix B.
    const EXAMPLE: &str = r#"{
        "organization-name": "Company-X",
        "date-range": {
            "start-datetime": "2016-04-01T00:00:00Z",
            "end-datetime": "2016-04-01T23:59:59Z"
        },
        "contact-info": "sts-reporting@company-x.example",
        "report-id": "5065427c-23d3-47ca-b6e0-946ea0e8c4be",
        "policies": [{
            "policy": {
                "policy-type": "sts",
                "policy-string": ["version: STSv1", "mode: testing", "mx: *.mail.company-y.example"],
                "policy-domain": "Company-Y.example",
                "mx-host": ["*.mail.company-y.example"]
            },
            "summary": {
                "total-successful-session-count": 5326,
                "total-failure-session-count": 303
            },
            "failure-details": [{
                "result-type": "certificate-expired",
                "sending-mta-ip": "2001:db8:abcd:0012::1",
                "receiving-mx-hostname": "mx1.mail.company-y.example",
                "failed-session-count": 100
            }, {
                "result-type": "validation-failure",
                "sending-mta-ip": "198.51.100.62",
                "receiving-ip": "203.0.113.58",
                "receiving-mx-hostname": "mx-backup.mail.company-y.example",
                "failed-session-count": 3,
                "failure-reason-code": "X509_V_ERR_PROXY_PATH_LENGTH_EXCEEDED"
            }]
        }]
    }"#;

    #[test]
    fn the_example_of_the_rfc_is_read() {
        let report = read(EXAMPLE.as_bytes()).unwrap();
        assert_eq!(
            (report.reporter.as_str(), report.begin.to_string().as_str()),
            ("Company-X", "2016-04-01T00:00:00Z")
        );
        let [policy] = &report.policies[..] else { panic!("{report:?}") };
        assert_eq!((policy.domain.as_str(), policy.kind.as_str()), ("company-y.example", "sts"));
        assert_eq!((policy.succeeded, policy.failed), (5326, 303));
        let failures: Vec<_> =
            policy.failures.iter().map(|it| (it.reason.as_str(), it.count)).collect();
        assert_eq!(
            failures,
            [
                ("certificate-expired", 100),
                ("validation-failure (X509_V_ERR_PROXY_PATH_LENGTH_EXCEEDED)", 3)
            ]
        );
    }

    #[test]
    fn what_is_no_report_is_refused() {
        for text in [
            "",
            "{}",
            "[]",
            "{\"report-id\": 1}",
            &EXAMPLE[..600],
            &EXAMPLE.replace("2016-04-01T00", "x"),
            &EXAMPLE.replace("5326", "-1"),
            &format!("{}{}", "[".repeat(100_000), "]".repeat(100_000)),
            &format!("{{\"a\": \"{}\"}}", "a".repeat(TEXT as usize)),
        ] {
            assert!(read(text.as_bytes()).is_err(), "{}", &text[..text.len().min(40)]);
        }
    }

    #[test]
    fn summaries_are_short() {
        let detail = |n: usize| {
            format!(r#"{{"result-type": "{}{n}", "failed-session-count": 1}}"#, "x".repeat(3_000))
        };
        let details: Vec<_> = (0..100).map(detail).collect();
        let begin = EXAMPLE.find("\"failure-details\"").unwrap();
        let text =
            format!("{}\"failure-details\": [{}]}}]}}", &EXAMPLE[..begin], details.join(","));
        let report = read(text.as_bytes()).unwrap();
        // All reasons are cut to the same.
        assert_eq!(report.policies[0].failures.len(), 1);
        assert_eq!(report.policies[0].failures[0].count, 100);
        assert_eq!(report.policies[0].failures[0].reason.len(), NAME);
    }
}

//! The text of a DMARC report (RFC 9990 §3.1.1 and its Appendix A).
//!
//! Readers made for RFC 7489 understand it too, unless they insist on a document without a namespace: the elements
//! that both know have the same names and places.

use crate::deliver::feedback::{FeedbackRow, PolicyOverride, PublishedPolicy};
use posta_mail::{Timestamp, visible};

/// The namespace of reports (RFC 9990 §3.1.1.1).
const NAMESPACE: &str = "urn:ietf:params:xml:ns:dmarc-2.0";

/// What a report tells besides its rows.
#[derive(Debug, Clone, Copy)]
pub(super) struct ReportFacts<'a> {
    /// The name of the reporting server.
    pub(super) hostname: &'a str,
    /// The address at which a person answers questions.
    pub(super) contact: &'a str,
    /// The report's id.
    pub(super) id: &'a str,
    /// The first second that the report is about.
    pub(super) begin: Timestamp,
    /// The last second.
    pub(super) end: Timestamp,
    /// The policy.
    pub(super) policy: &'a PublishedPolicy,
    /// The number of messages that no row stands for.
    pub(super) unlisted: u64,
}

/// A row of a report.
#[derive(Debug, Clone, Copy)]
pub(super) struct ReportedRow<'a> {
    /// What the messages have in common.
    pub(super) row: &'a FeedbackRow,
    /// Their number.
    pub(super) count: u64,
    /// Whether a signature is aligned.
    pub(super) dkim: bool,
    /// Whether the domain that SPF authenticated is aligned.
    pub(super) spf: bool,
}

/// Writes a report, element by element.
pub(super) struct ReportWriter {
    text: String,
    open: Vec<&'static str>,
}

impl ReportWriter {
    /// Begins a report.
    pub(super) fn new(facts: ReportFacts<'_>) -> Self {
        let text = format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<feedback xmlns=\"{NAMESPACE}\">\n"
        );
        let mut writer = Self { text, open: vec!["feedback"] };
        let ReportFacts { hostname, contact, id, begin, end, policy, unlisted } = facts;
        writer.element("version", "1.0");
        writer.begin("report_metadata");
        writer.element("org_name", hostname);
        writer.element("email", contact);
        writer.element("report_id", id);
        writer.begin("date_range");
        writer.element("begin", &begin.as_second().to_string());
        writer.element("end", &end.as_second().to_string());
        writer.end();
        if unlisted > 0 {
            let words = format!("{unlisted} more messages are not listed: they differ too much");
            writer.element("error", &words);
        }
        writer.element("generator", concat!("Posta ", env!("CARGO_PKG_VERSION")));
        writer.end();
        writer.policy(policy);
        writer
    }

    fn policy(&mut self, policy: &PublishedPolicy) {
        let mode = |is_strict| if is_strict { "s" } else { "r" };
        self.begin("policy_published");
        self.element("domain", &policy.domain);
        self.element("discovery_method", "treewalk");
        self.element("adkim", mode(policy.strict_dkim));
        self.element("aspf", mode(policy.strict_spf));
        self.element("p", &policy.policy);
        self.element("sp", &policy.subdomains);
        self.element("np", &policy.nonexistent);
        self.element("testing", if policy.is_tested { "y" } else { "n" });
        self.end();
    }

    /// Adds a row.
    pub(super) fn row(&mut self, reported: ReportedRow<'_>) {
        let ReportedRow { row, count, dkim, spf } = reported;
        let result = |is_aligned| if is_aligned { "pass" } else { "fail" };
        self.begin("record");
        self.begin("row");
        self.element("source_ip", &row.source.to_string());
        self.element("count", &count.to_string());
        self.begin("policy_evaluated");
        self.element("disposition", row.disposition.as_str());
        self.element("dkim", result(dkim));
        self.element("spf", result(spf));
        if let Some(PolicyOverride { kind, comment }) = &row.overridden {
            self.begin("reason");
            self.element("type", kind.as_str());
            if !comment.is_empty() {
                self.element("comment", comment);
            }
            self.end();
        }
        self.end();
        self.end();
        self.begin("identifiers");
        self.element("header_from", &row.author);
        self.element("envelope_from", row.sender.as_deref().unwrap_or_default());
        self.end();
        self.begin("auth_results");
        for (domain, selector, result) in &row.dkim {
            self.begin("dkim");
            self.element("domain", domain);
            self.element("selector", selector);
            self.element("result", result);
            self.end();
        }
        if let Some((domain, result)) = &row.spf {
            self.begin("spf");
            self.element("domain", domain);
            // Where the reverse-path is null, the greeting stands for it (RFC 7208 §2.4).
            self.element("scope", "mfrom");
            self.element("result", result);
            self.end();
        }
        self.end();
        self.end();
    }

    /// Returns the report.
    pub(super) fn finish(mut self) -> String {
        while !self.open.is_empty() {
            self.end();
        }
        self.text
    }

    fn begin(&mut self, name: &'static str) {
        self.indent();
        self.text.push('<');
        self.text.push_str(name);
        self.text.push_str(">\n");
        self.open.push(name);
    }

    fn end(&mut self) {
        let Some(name) = self.open.pop() else { return };
        self.indent();
        self.text.push_str("</");
        self.text.push_str(name);
        self.text.push_str(">\n");
    }

    fn element(&mut self, name: &'static str, value: &str) {
        self.indent();
        self.text.push('<');
        self.text.push_str(name);
        self.text.push('>');
        for character in value.chars() {
            match character {
                '&' => self.text.push_str("&amp;"),
                '<' => self.text.push_str("&lt;"),
                '>' => self.text.push_str("&gt;"),
                '"' => self.text.push_str("&quot;"),
                // XML 1.0 has no way to write most control characters (§2.2).
                other => self.text.push(visible::or_space(other)),
            }
        }
        self.text.push_str("</");
        self.text.push_str(name);
        self.text.push_str(">\n");
    }

    fn indent(&mut self) {
        for _ in &self.open {
            self.text.push_str("  ");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::tests::observation, *};
    use crate::deliver::feedback::{Disposition, OverrideKind};

    const EXPECTED: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>
<feedback xmlns=\"urn:ietf:params:xml:ns:dmarc-2.0\">
  <version>1.0</version>
  <report_metadata>
    <org_name>mail.y.test</org_name>
    <email>postmaster@y.test</email>
    <report_id>1970-01-01.x.test@mail.y.test</report_id>
    <date_range>
      <begin>0</begin>
      <end>86399</end>
    </date_range>
    <error>7 more messages are not listed: they differ too much</error>
    <generator>Posta 0.1.0</generator>
  </report_metadata>
  <policy_published>
    <domain>x.test</domain>
    <discovery_method>treewalk</discovery_method>
    <adkim>r</adkim>
    <aspf>s</aspf>
    <p>reject</p>
    <sp>reject</sp>
    <np>reject</np>
    <testing>n</testing>
  </policy_published>
  <record>
    <row>
      <source_ip>0.0.0.1</source_ip>
      <count>3</count>
      <policy_evaluated>
        <disposition>none</disposition>
        <dkim>pass</dkim>
        <spf>fail</spf>
        <reason>
          <type>local_policy</type>
          <comment>a &lt;b&gt; &amp; &quot;c&quot; </comment>
        </reason>
      </policy_evaluated>
    </row>
    <identifiers>
      <header_from>x.test</header_from>
      <envelope_from>bounces.x.test</envelope_from>
    </identifiers>
    <auth_results>
      <dkim>
        <domain>x.test</domain>
        <selector>s1</selector>
        <result>pass</result>
      </dkim>
      <spf>
        <domain>bounces.x.test</domain>
        <scope>mfrom</scope>
        <result>pass</result>
      </spf>
    </auth_results>
  </record>
</feedback>
";

    #[test]
    fn a_report_is_written() {
        let mut observed = observation("x.test", 1, true);
        observed.row.disposition = Disposition::None;
        observed.row.overridden = Some(PolicyOverride {
            kind: OverrideKind::LocalPolicy,
            comment: "a <b> & \"c\"\u{0}".to_owned(),
        });
        let mut writer = ReportWriter::new(ReportFacts {
            hostname: "mail.y.test",
            contact: "postmaster@y.test",
            id: "1970-01-01.x.test@mail.y.test",
            begin: Timestamp::UNIX_EPOCH,
            end: Timestamp::from_second(86_399).unwrap(),
            policy: &observed.policy,
            unlisted: 7,
        });
        writer.row(ReportedRow { row: &observed.row, count: 3, dkim: true, spf: false });
        assert_eq!(writer.finish(), EXPECTED.replace("0.1.0", env!("CARGO_PKG_VERSION")));
    }
}

//! The records of a domain as text that can be pasted into a zone file (RFC 1035 §5.1), or read by a person who types
//! them into a form.

use super::{
    MailSetup,
    record::{DnsRecord, RecordData, RecordPurpose, records},
};
use std::fmt::{self, Write as _};

/// For how long others may remember a record, in seconds: short enough that a mistake is soon forgotten.
const TTL: u32 = 3_600;

/// Columns of a comment's line.
const COLUMNS: usize = 100;

/// Returns the text: the records with comments that say what each is for. Records of other zones are comments.
#[must_use]
pub fn text(setup: &MailSetup) -> String {
    let mut text = String::new();
    let records = records(setup);
    // Writing to a string cannot fail.
    let _ = write(setup, &records, &mut text);
    text
}

/// Returns a TXT record as a line of a zone file, without a line end. `name` has no dot at its end.
#[must_use]
pub fn text_line(name: &str, text: &str) -> String {
    format!("{name}. {TTL} IN TXT {}", RecordData::Text(text.to_owned()))
}

/// Returns a record as a line of a zone file, without a line end.
#[must_use]
pub fn line(DnsRecord { name, data, .. }: &DnsRecord) -> String {
    format!("{name}. {TTL} IN {} {data}", data.kind())
}

fn write(setup: &MailSetup, records: &[DnsRecord], text: &mut String) -> fmt::Result {
    let MailSetup { domain, alias_of, hostname, .. } = setup;
    comment(text, &format!("DNS records of {domain}, whose mail goes to {hostname}."))?;
    if let Some(other) = alias_of {
        comment(
            text,
            &format!(
                "{domain} is an alias of {other}: it needs records of its own, so that mail for its addresses arrives \
                 and mail from them is believed."
            ),
        )?;
    }
    for purpose in RecordPurpose::ALL {
        let of_purpose: Vec<_> = records.iter().filter(|it| it.purpose == purpose).collect();
        let missing = missing(setup, purpose);
        if of_purpose.is_empty() && missing.is_none() {
            continue;
        }
        text.push('\n');
        comment(text, &purpose.why().replace("DOMAIN", domain.as_str()))?;
        if let Some(missing) = missing {
            comment(text, &missing)?;
        }
        let is_ours = |record: &&DnsRecord| record.is_within(domain);
        let (ours, others): (Vec<_>, Vec<_>) = of_purpose.into_iter().partition(is_ours);
        for record in ours {
            writeln!(text, "{}", line(record))?;
        }
        if !others.is_empty() && purpose != RecordPurpose::Ptr {
            comment(text, "Of another zone than the domain's:")?;
        }
        for record in others {
            writeln!(text, "; {}", line(record))?;
        }
    }
    Ok(())
}

/// Returns what is missing here, so that a record is missing or not whole, and what to do about it.
fn missing(setup: &MailSetup, purpose: RecordPurpose) -> Option<String> {
    let host = &setup.hostname;
    match purpose {
        RecordPurpose::Address if setup.addresses.is_empty() => Some(format!(
            "The public address of this machine is not known here: add A and AAAA records of {host}, and name \
             the addresses in relay.source."
        )),
        RecordPurpose::Spf => setup.smarthost.as_ref().map(|smarthost| {
            format!(
                "Mail goes out through {smarthost}: whoever runs it tells what to add, such as \
                 include:_spf.example.net."
            )
        }),
        RecordPurpose::Dkim if setup.keys.is_empty() => {
            Some("The domain has no keys, and its mail is not signed.".to_owned())
        }
        RecordPurpose::MtaSts | RecordPurpose::Autoconfig if setup.policy.is_none() => Some(
            "It needs a listener with protocol = \"https\", which this server does not have."
                .to_owned(),
        ),
        RecordPurpose::Tlsa if setup.certificate_key.is_none() => {
            Some("It needs a certificate, which this server does not have yet.".to_owned())
        }
        _ => None,
    }
}

/// Writes words as comment lines.
fn comment(text: &mut String, words: &str) -> fmt::Result {
    let mut column = 0;
    for word in words.split(' ') {
        if column == 0 || column + 1 + word.len() > COLUMNS {
            if column > 0 {
                text.push('\n');
            }
            write!(text, "; {word}")?;
            column = 2 + word.len();
        } else {
            write!(text, " {word}")?;
            column += 1 + word.len();
        }
    }
    text.push('\n');
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::checkup::tests::example;

    #[test]
    fn every_line_is_a_record_of_the_domain_or_a_comment() {
        let text = text(&example());
        for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with(';')) {
            let mut words = line.split(' ');
            let name = words.next().unwrap();
            assert!(name.ends_with("x.test."), "{line}");
            assert_eq!((words.next(), words.next()), (Some("3600"), Some("IN")), "{line}");
        }
        assert!(text.lines().all(|line| line.starts_with(';').then_some(line.len()) <= Some(102)));
        assert!(text.contains("\nx.test. 3600 IN MX 10 mail.x.test.\n"), "{text}");
        assert!(text.contains("\n; 1.2.0.192.in-addr.arpa. 3600 IN PTR mail.x.test.\n"), "{text}");
        assert!(text.contains("\nautoconfig.x.test. 3600 IN CNAME mail.x.test.\n"), "{text}");
        assert!(text.contains("https://mta-sts.x.test/"), "{text}");
    }

    #[test]
    fn an_alias_needs_records_of_its_own() {
        let setup = MailSetup { alias_of: Some("y.test".parse().unwrap()), ..example() };
        let told = text(&setup);
        assert!(
            told.contains("\n; x.test is an alias of y.test: it needs records of its own"),
            "{told}"
        );
        let records = |text: &str| {
            let lines = text.lines().filter(|line| !line.starts_with(';'));
            lines.map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(records(&told), records(&text(&example())));
    }

    #[test]
    fn what_is_missing_is_told() {
        let mut setup = example();
        (setup.addresses, setup.keys) = (Vec::new(), Vec::new());
        (setup.policy, setup.certificate_key) = (None, None);
        setup.smarthost = Some("smtp.y.test".to_owned());
        setup.hostname = "mail.y.test".parse().unwrap();
        let text = text(&setup);
        for words in [
            "add A and AAAA records of mail.y.test",
            "goes out through smtp.y.test:",
            "The domain has no keys",
            "protocol = \"https\"",
            "does not have yet",
            "\n; mail.y.test. 3600 IN TXT \"v=spf1 a -all\"\n",
        ] {
            assert!(text.contains(words), "{words}: {text}");
        }
    }
}

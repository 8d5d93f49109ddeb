//! Thunderbird's configuration file, version 1.1 (draft-bucksch-autoconfig), which other mail programs read as well.

use super::{MailPrograms, MailProtocol, is_implicit, protocol};
use posta_mail::Domain;
use quick_xml::escape::escape;
use std::fmt::Write as _;

/// Returns the configuration of the accounts of a domain.
pub(super) fn document(programs: &MailPrograms, domain: &Domain) -> String {
    let shown = escape(domain.as_str());
    let mut servers = String::new();
    for service in &programs.services {
        let (element, kind) = match protocol(service.kind) {
            MailProtocol::Pop3 => ("incomingServer", "pop3"),
            MailProtocol::Smtp => ("outgoingServer", "smtp"),
        };
        // The program puts the whole address in place of the word between the percent signs.
        let _ = write!(
            servers,
            r#"
    <{element} type="{kind}">
      <hostname>{}</hostname>
      <port>{}</port>
      <socketType>{}</socketType>
      <authentication>password-cleartext</authentication>
      <username>%EMAILADDRESS%</username>
    </{element}>"#,
            escape(programs.hostname.as_str()),
            service.port,
            if is_implicit(service.kind) { "SSL" } else { "STARTTLS" },
        );
    }
    format!(
        r#"<?xml version="1.0" encoding="UTF-8"?>
<clientConfig version="1.1">
  <emailProvider id="{shown}">
    <domain>{shown}</domain>
    <displayName>{shown}</displayName>
    <displayShortName>{shown}</displayShortName>{servers}
  </emailProvider>
</clientConfig>
"#
    )
}

#[cfg(test)]
mod tests {
    use super::super::tests::programs;
    use super::*;

    #[test]
    fn the_listeners_are_told_in_the_order_of_preference() {
        let text = document(&programs(), &"x.test".parse().unwrap());
        let server = |element: &str, kind: &str, port: u16, tls: &str| {
            format!(
                "\n    <{element} type=\"{kind}\">\n      <hostname>mail.x.test</hostname>\n      <port>{port}</port>\n      \
                 <socketType>{tls}</socketType>\n      <authentication>password-cleartext</authentication>\n      \
                 <username>%EMAILADDRESS%</username>\n    </{element}>"
            )
        };
        let places = [
            server("outgoingServer", "smtp", 465, "SSL"),
            server("outgoingServer", "smtp", 587, "STARTTLS"),
            server("incomingServer", "pop3", 995, "SSL"),
        ]
        .map(|server| text.find(&server).unwrap_or_else(|| panic!("{server}\n{text}")));
        assert!(places.is_sorted(), "{text}");
        assert!(
            text.contains("<emailProvider id=\"x.test\">\n    <domain>x.test</domain>"),
            "{text}"
        );
    }
}

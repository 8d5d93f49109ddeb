//! Outlook's autodiscover: a request in XML names the address, the response has the servers ([MS-OXDSCLI], "POX").

use super::{MailPrograms, MailProtocol, is_implicit, protocol};
use posta_mail::Address;
use quick_xml::{
    Reader,
    escape::{escape, resolve_predefined_entity},
    events::Event,
};
use std::fmt::Write as _;

/// Returns the address in a request, which is the text of its element `EMailAddress`.
pub(super) fn address(request: &str) -> Option<Address> {
    let mut reader = Reader::from_str(request);
    let (mut is_inside, mut text) = (false, String::new());
    loop {
        match reader.read_event().ok()? {
            Event::Start(element) => {
                is_inside = element.local_name().as_ref().eq_ignore_ascii_case("EMailAddress");
            }
            Event::Text(words) if is_inside => text.push_str(&words.xml10_content()),
            // Characters that XML gives a meaning to are written as `&amp;`; nothing else is looked up.
            Event::GeneralRef(name) if is_inside => {
                text.push_str(resolve_predefined_entity(&name.xml10_content())?);
            }
            Event::End(_) if is_inside => return text.trim().parse().ok(),
            Event::Eof => return None,
            _ => {}
        }
    }
}

/// Returns the response for an address.
pub(super) fn document(programs: &MailPrograms, address: &Address) -> String {
    let shown = escape(address.as_str());
    let mut protocols = String::new();
    for service in &programs.services {
        let is_smtp = protocol(service.kind) == MailProtocol::Smtp;
        let _ = write!(
            protocols,
            r#"
      <Protocol>
        <Type>{}</Type>
        <Server>{}</Server>
        <Port>{}</Port>
        <LoginName>{shown}</LoginName>
        <DomainRequired>off</DomainRequired>
        <SPA>off</SPA>
        <SSL>on</SSL>
        <Encryption>{}</Encryption>
        <AuthRequired>on</AuthRequired>{}
      </Protocol>"#,
            if is_smtp { "SMTP" } else { "POP3" },
            escape(programs.hostname.as_str()),
            service.port,
            if is_implicit(service.kind) { "SSL" } else { "TLS" },
            if is_smtp {
                "\n        <UsePOPAuth>on</UsePOPAuth>\n        <SMTPLast>off</SMTPLast>"
            } else {
                ""
            },
        );
    }
    format!(
        r#"<?xml version="1.0" encoding="utf-8"?>
<Autodiscover xmlns="http://schemas.microsoft.com/exchange/autodiscover/responseschema/2006">
  <Response xmlns="http://schemas.microsoft.com/exchange/autodiscover/outlook/responseschema/2006a">
    <User>
      <DisplayName>{shown}</DisplayName>
    </User>
    <Account>
      <AccountType>email</AccountType>
      <Action>settings</Action>{protocols}
    </Account>
  </Response>
</Autodiscover>
"#
    )
}

#[cfg(test)]
mod tests {
    use super::super::tests::programs;
    use super::*;

    /// The request that Outlook sends.
    const REQUEST: &str = r#"<?xml version="1.0" encoding="utf-8"?>
<Autodiscover xmlns="http://schemas.microsoft.com/exchange/autodiscover/outlook/requestschema/2006">
  <Request>
    <EMailAddress>ana@x.test</EMailAddress>
    <AcceptableResponseSchema>http://schemas.microsoft.com/exchange/autodiscover/outlook/responseschema/2006a</AcceptableResponseSchema>
  </Request>
</Autodiscover>"#;

    #[test]
    fn the_address_of_a_request_is_found() {
        assert_eq!(address(REQUEST).unwrap().as_str(), "ana@x.test");
        let escaped = address("<EMailAddress>a&amp;b@x.test</EMailAddress>");
        assert_eq!(escaped.unwrap().as_str(), "a&b@x.test");
        for wrong in [
            "",
            "nothing",
            "<a/>",
            "<EMailAddress>",
            "<EMailAddress></EMailAddress>",
            "<EMailAddress>ana</EMailAddress>",
            "<EMailAddress>ana@x.test",
            "<EMailAddress><b>ana@x.test</b></EMailAddress>",
            "<!DOCTYPE a [<!ENTITY e \"x\">]><EMailAddress>&e;@x.test</EMailAddress>",
        ] {
            assert_eq!(address(wrong), None, "{wrong}");
        }
    }

    /// A local-part may hold what XML gives a meaning to.
    #[test]
    fn addresses_are_escaped() {
        let address: Address = "a&b@x.test".parse().unwrap();
        let text = document(&programs(), &address);
        assert!(text.contains("<LoginName>a&amp;b@x.test</LoginName>"), "{text}");
        assert!(!text.contains("a&b"), "{text}");
    }

    #[test]
    fn each_listener_is_a_protocol() {
        let text = document(&programs(), &"ana@x.test".parse().unwrap());
        for (kind, port, encryption) in
            [("SMTP", 465, "SSL"), ("SMTP", 587, "TLS"), ("POP3", 995, "SSL")]
        {
            let start = format!(
                "<Type>{kind}</Type>\n        <Server>mail.x.test</Server>\n        <Port>{port}</Port>\n        \
                 <LoginName>ana@x.test</LoginName>"
            );
            let (_, rest) = text.split_once(&start).unwrap_or_else(|| panic!("{start}\n{text}"));
            let (protocol, _) = rest.split_once("</Protocol>").unwrap();
            assert!(
                protocol.contains(&format!("<Encryption>{encryption}</Encryption>")),
                "{protocol}"
            );
            assert_eq!(protocol.contains("UsePOPAuth"), kind == "SMTP");
        }
    }
}

//! The profile that sets up Mail on Apple's devices (Configuration Profile Reference, `com.apple.mail.managed`). It has
//! no password; the device asks for it.

use super::{MailPrograms, MailProtocol, protocol};
use aws_lc_rs::digest::{SHA256, digest};
use posta_mail::Address;
use quick_xml::escape::escape;

/// Returns the profile for an address.
pub(super) fn document(programs: &MailPrograms, address: &Address) -> String {
    let (shown, host) = (escape(address.as_str()), escape(programs.hostname.as_str()));
    let mut keys = vec![
        text("EmailAccountDescription", &shown),
        text("EmailAccountType", "EmailTypePOP"),
        text("EmailAddress", &shown),
    ];
    for (wanted, prefix) in [(MailProtocol::Pop3, "Incoming"), (MailProtocol::Smtp, "Outgoing")] {
        // One server of each kind: the device takes no list.
        let service = programs.services.iter().find(|service| protocol(service.kind) == wanted);
        let Some(service) = service else { continue };
        let key = |name: &str| format!("{prefix}MailServer{name}");
        keys.extend([
            text(&key("Authentication"), "EmailAuthPassword"),
            text(&key("HostName"), &host),
            format!("<key>{}</key>\n      <integer>{}</integer>", key("PortNumber"), service.port),
            format!("<key>{}</key>\n      <true/>", key("UseSSL")),
            text(&key("Username"), &shown),
        ]);
    }
    keys.push("<key>OutgoingPasswordSameAsIncomingPassword</key>\n      <true/>".to_owned());
    let account = uuid("account", address);
    let identifier = |part: &str| {
        let domain = address.domain().split('.').rev().collect::<Vec<_>>().join(".");
        format!("{}.posta.{part}.{}", escape(&domain), uuid(part, address))
    };
    keys.extend([
        text("PayloadDisplayName", &shown),
        text("PayloadIdentifier", &identifier("account")),
        text("PayloadType", "com.apple.mail.managed"),
        text("PayloadUUID", &account),
        "<key>PayloadVersion</key>\n      <integer>1</integer>".to_owned(),
    ]);
    format!(
        r#"<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE plist PUBLIC "-//Apple//DTD PLIST 1.0//EN" "http://www.apple.com/DTDs/PropertyList-1.0.dtd">
<plist version="1.0">
<dict>
  <key>PayloadContent</key>
  <array>
    <dict>
      {}
    </dict>
  </array>
  <key>PayloadDisplayName</key>
  <string>{shown}</string>
  <key>PayloadIdentifier</key>
  <string>{}</string>
  <key>PayloadType</key>
  <string>Configuration</string>
  <key>PayloadUUID</key>
  <string>{}</string>
  <key>PayloadVersion</key>
  <integer>1</integer>
</dict>
</plist>
"#,
        keys.join("\n      "),
        identifier("profile"),
        uuid("profile", address),
    )
}

fn text(key: &str, value: &str) -> String {
    format!("<key>{key}</key>\n      <string>{value}</string>")
}

/// Returns an identifier that is the same for each profile of an address, so that a newer one replaces the older
/// (RFC 9562 §5.8).
fn uuid(part: &str, address: &Address) -> String {
    let hash = digest(&SHA256, format!("{part} {address}").as_bytes());
    let mut octets = [0; 16];
    octets.copy_from_slice(&hash.as_ref()[..16]);
    octets[6] = (octets[6] & 0x0f) | 0x80;
    octets[8] = (octets[8] & 0x3f) | 0x80;
    let hex: String = octets.iter().map(|octet| format!("{octet:02X}")).collect();
    [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
}

#[cfg(test)]
mod tests {
    use super::super::tests::programs;
    use super::*;

    #[test]
    fn a_profile_has_the_preferred_servers() {
        let text = document(&programs(), &"a&b@x.test".parse().unwrap());
        for (key, value) in [
            ("EmailAccountType", "<string>EmailTypePOP</string>"),
            ("EmailAddress", "<string>a&amp;b@x.test</string>"),
            ("IncomingMailServerHostName", "<string>mail.x.test</string>"),
            ("IncomingMailServerPortNumber", "<integer>995</integer>"),
            ("IncomingMailServerUseSSL", "<true/>"),
            ("IncomingMailServerUsername", "<string>a&amp;b@x.test</string>"),
            ("OutgoingMailServerPortNumber", "<integer>465</integer>"),
            ("OutgoingMailServerUseSSL", "<true/>"),
        ] {
            let words = format!("<key>{key}</key>\n      {value}");
            assert!(text.contains(&words), "{words}\n{text}");
        }
        assert!(!text.contains("a&b"), "{text}");
    }

    #[test]
    fn identifiers_are_an_addresses_own() {
        let of = |part, address: &str| uuid(part, &address.parse().unwrap());
        assert_eq!(of("account", "ana@x.test"), of("account", "ana@x.test"));
        assert_ne!(of("account", "ana@x.test"), of("account", "bob@x.test"));
        assert_ne!(of("account", "ana@x.test"), of("profile", "ana@x.test"));
        let text = of("account", "ana@x.test");
        assert_eq!(text.len(), 36, "{text}");
        assert_eq!(&text[14..15], "8", "version 8, of one's own making: {text}");
    }
}

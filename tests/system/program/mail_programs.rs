//! What mail programs are told about their settings over HTTPS: autoconfig, autodiscover, Apple's profile.

use posta_tests::Place;
use std::process::{Command, Output};

/// A server with a listener for each protocol, all on loopback, which it tells of for that reason.
fn place() -> Place {
    let mut place =
        Place::new(&[("submission", "implicit"), ("pop3", "starttls"), ("https", "implicit")]);
    place.add_account("ana@x.test");
    place.start();
    place
}

fn port(address: &str) -> &str {
    address.rsplit_once(':').unwrap().1
}

/// Asks the server as `host`. The certificate is the server's own.
fn curl(place: &Place, host: &str, path: &str, more: &[&str]) -> Output {
    let address = place.address("https");
    let port = port(address);
    let resolve = format!("{host}:{port}:127.0.0.1");
    let url = format!("https://{host}:{port}{path}");
    Command::new("curl")
        .args(["--silent", "--show-error", "--fail", "--insecure", "--max-time", "20"])
        .args(["--noproxy", "*", "--resolve", &resolve, "--dump-header", "/dev/stderr"])
        .args(more)
        .arg(url)
        .output()
        .expect("this test needs curl")
}

fn told(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// Runs a few lines of Python on a document, and returns what they print.
fn python(script: &str, document: &str) -> String {
    let mut child = Command::new("python3")
        .args(["-c", script])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("this test needs Python 3, `python3`");
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), document.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{script}\n{document}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

#[test]
fn thunderbird_finds_the_listeners() {
    let place = place();
    let script = "import sys, xml.etree.ElementTree as e
provider = e.fromstring(sys.stdin.buffer.read()).find('emailProvider')
print(provider.get('id'))
for server in list(provider.iter('incomingServer')) + list(provider.iter('outgoingServer')):
    print(server.get('type'), *(server.find(name).text for name in ('hostname', 'port', 'socketType', 'username')))";
    let expected = format!(
        "x.test\npop3 mail.x.test {} STARTTLS %EMAILADDRESS%\nsmtp mail.x.test {} SSL %EMAILADDRESS%",
        port(place.address("pop3")),
        port(place.address("submission")),
    );
    for (host, path) in [
        ("autoconfig.x.test", "/mail/config-v1.1.xml"),
        ("autoconfig.x.test", "/mail/config-v1.1.xml?emailaddress=ana%40x.test"),
        ("x.test", "/.well-known/autoconfig/mail/config-v1.1.xml"),
        ("mail.x.test", "/mail/config-v1.1.xml?emailaddress=nobody@x.test"),
    ] {
        let document = told(&curl(&place, host, path, &[]));
        assert_eq!(python(script, &document), expected, "{host}{path}");
    }
    let elsewhere = curl(&place, "autoconfig.y.test", "/mail/config-v1.1.xml", &[]);
    assert!(String::from_utf8_lossy(&elsewhere.stderr).contains(" 404"), "y.test is not kept here");
}

#[test]
fn outlook_finds_the_listeners() {
    let place = place();
    let request = |address: &str| {
        format!(
            "<?xml version=\"1.0\"?><Autodiscover xmlns=\"http://schemas.microsoft.com/exchange/autodiscover/outlook/\
             requestschema/2006\"><Request><EMailAddress>{address}</EMailAddress></Request></Autodiscover>"
        )
    };
    let ask = |path: &str, body: &str| {
        curl(
            &place,
            "autodiscover.x.test",
            path,
            &["--header", "Content-Type: text/xml", "--data-binary", body],
        )
    };
    let script = "import sys, xml.etree.ElementTree as e
n = '{http://schemas.microsoft.com/exchange/autodiscover/outlook/responseschema/2006a}'
for protocol in e.fromstring(sys.stdin.buffer.read()).iter(n + 'Protocol'):
    print(*(protocol.find(n + name).text for name in ('Type', 'Server', 'Port', 'LoginName', 'Encryption')))";
    let expected = format!(
        "SMTP mail.x.test {} ana@x.test SSL\nPOP3 mail.x.test {} ana@x.test TLS",
        port(place.address("submission")),
        port(place.address("pop3")),
    );
    for path in ["/autodiscover/autodiscover.xml", "/Autodiscover/Autodiscover.xml"] {
        let document = told(&ask(path, &request("ana@x.test")));
        assert_eq!(python(script, &document), expected, "{path}");
    }
    let large = "x".repeat(9 * 1024);
    for (body, status) in [
        (request("ana@y.test"), " 404"),
        (request("ana"), " 400"),
        ("<".to_owned(), " 400"),
        (large, " 413"),
    ] {
        let refused = ask("/autodiscover/autodiscover.xml", &body);
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(said.contains(status), "{status}: {said}");
    }
}

#[test]
fn apple_devices_get_a_profile() {
    let place = place();
    let output = curl(&place, "mail.x.test", "/email.mobileconfig?email=ana+lists%40x.test", &[]);
    let document = told(&output);
    let head = String::from_utf8_lossy(&output.stderr).to_ascii_lowercase();
    assert!(head.contains("content-type: application/x-apple-aspen-config"), "{head}");
    let script = "import sys, plistlib
mail = plistlib.loads(sys.stdin.buffer.read())['PayloadContent'][0]
for name in ('EmailAccountType', 'EmailAddress', 'IncomingMailServerHostName', 'IncomingMailServerPortNumber',
             'IncomingMailServerUseSSL', 'OutgoingMailServerPortNumber', 'OutgoingMailServerUsername'):
    print(mail[name])";
    let expected = format!(
        "EmailTypePOP\nana+lists@x.test\nmail.x.test\n{}\nTrue\n{}\nana+lists@x.test",
        port(place.address("pop3")),
        port(place.address("submission")),
    );
    assert_eq!(python(script, &document), expected);
    for query in ["", "?email=ana", "?email=%zz"] {
        let refused = curl(&place, "mail.x.test", &format!("/email.mobileconfig{query}"), &[]);
        assert!(String::from_utf8_lossy(&refused.stderr).contains(" 400"), "{query}");
    }
}

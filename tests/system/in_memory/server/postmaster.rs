//! Mail to the postmaster and abuse addresses of a server and of a domain reaches a person (RFC 5321
//! §4.5.1).

use super::*;
use posta_server::admin::DomainLine;

/// Returns the server's replies to recipients, one a line.
async fn recipients(system: &System, paths: &[&str]) -> Vec<String> {
    let paths: String = paths.iter().map(|path| format!("RCPT TO:{path}\r\n")).collect();
    let said =
        system.say(25, &format!("HELO c.test\r\nMAIL FROM:<s@y.test>\r\n{paths}QUIT\r\n")).await;
    let lines: Vec<_> = said.lines().map(str::to_owned).collect();
    lines[3..lines.len() - 1].to_vec()
}

async fn readers(system: &System, domain: &str) -> DomainLine {
    let Response::Domains(lines) = system.admin.execute(Request::DomainList).await.unwrap() else {
        panic!("no domains");
    };
    lines.into_iter().find(|line| line.domain == domain).unwrap()
}

async fn domain(system: &System, domain: &str, postmaster: Option<&str>) -> Result<(), String> {
    let (domain, postmaster) = (domain.to_owned(), postmaster.map(str::to_owned));
    let add = Request::DomainAdd { domain, postmaster };
    system.admin.execute(add).await.map(drop).map_err(|error| error.to_string())
}

async fn alias(system: &System, name: &str, target: &str) {
    let (name, targets) = (name.to_owned(), vec![target.to_owned()]);
    system.admin.execute(Request::AliasSet { name, targets }).await.unwrap();
}

/// Without any choice by the operator: on all names of the server, in any case.
#[tokio::test]
async fn postmaster_is_taken_on_every_host_name() {
    for hostname in ["mail.x.test", "x.test", "elsewhere.example", "localhost"] {
        let system = system_with(|settings| settings.hostname = hostname.parse().unwrap()).await;
        let own = format!("<abuse@{hostname}>");
        let paths = ["<postmaster>", "<PostMaster>", "postmaster", &own, "<POSTMASTER@X.test>"];
        assert_eq!(recipients(&system, &paths).await, ["250 2.1.5 Ok"; 5], "{hostname}");
        system
            .say(25, "HELO c.test\r\nMAIL FROM:<s@y.test>\r\nRCPT TO:<Postmaster>\r\nDATA\r\nA: b\r\n\r\nb\r\n.\r\nQUIT\r\n")
            .await;
        let read = system.say(110, &format!("{LOGIN}RETR 1\r\nQUIT\r\n")).await;
        let delivered = format!("Delivered-To: postmaster@{hostname}\r\n");
        assert!(read.contains(&delivered), "{hostname}: {read}");
        let strangers = ["<root>", "<eva@x.test>", "<postmaster@z.test>"];
        for refused in recipients(&system, &strangers).await {
            assert!(refused.starts_with("55"), "{hostname}: {refused}");
        }
        system.server.stop().await;
    }
}

/// The order is: an account or alias of the name, the operator's choice, the catch-all, the first
/// account.
#[tokio::test]
async fn every_domain_has_somebody_who_reads_its_postmasters_mail() {
    let system = system().await;
    let reads = async |postmaster: &str, abuse: &str| {
        let line = readers(&system, "x.test").await;
        assert_eq!(
            (&line.postmaster[..], &line.abuse[..]),
            (&[postmaster.to_owned()][..], &[abuse.to_owned()][..])
        );
        let taken = recipients(&system, &["<postmaster@x.test>", "<abuse+1@x.test>"]).await;
        assert_eq!(taken, ["250 2.1.5 Ok"; 2]);
    };
    reads("ana@x.test", "ana@x.test").await;
    alias(&system, "@x.test", "bob@x.test").await;
    reads("bob@x.test", "bob@x.test").await;
    domain(&system, "x.test", Some("out@z.test")).await.unwrap();
    reads("out@z.test", "out@z.test").await;
    alias(&system, "abuse@x.test", "bob@x.test").await;
    reads("out@z.test", "bob@x.test").await;
    domain(&system, "x.test", None).await.unwrap();
    reads("out@z.test", "bob@x.test").await;
    domain(&system, "x.test", Some("abuse@x.test")).await.unwrap();
    reads("bob@x.test", "bob@x.test").await;
    // The operator's choice no longer exists, and the next one in the order is used.
    let remove = |name: &str| Request::AliasRemove { name: name.to_owned(), targets: Vec::new() };
    for name in ["abuse@x.test", "@x.test"] {
        system.admin.execute(remove(name)).await.unwrap();
    }
    reads("ana@x.test", "ana@x.test").await;
    let address = "ana@x.test".to_owned();
    system.admin.execute(Request::AccountRemove { address }).await.unwrap();
    reads("bob@x.test", "bob@x.test").await;
    // An address cannot replace itself, and one that does not exist cannot be chosen.
    for nobody in ["postmaster@x.test", "abuse@x.test", "eva@x.test"] {
        let said = domain(&system, "x.test", Some(nobody)).await.unwrap_err();
        assert!(said.contains(&format!("{nobody} does not exist here")), "{said}");
    }
    system.server.stop().await;
}

/// An alias without an existing member, or in a loop, does not prevent delivery.
#[tokio::test]
async fn a_broken_alias_does_not_hide_a_postmasters_mail() {
    let system = system().await;
    alias(&system, "postmaster@x.test", "bob@x.test").await;
    alias(&system, "@x.test", "bob@x.test").await;
    assert_eq!(readers(&system, "x.test").await.abuse, ["bob@x.test"]);
    let address = "bob@x.test".to_owned();
    system.admin.execute(Request::AccountRemove { address }).await.unwrap();
    let line = readers(&system, "x.test").await;
    assert_eq!([line.postmaster, line.abuse].concat(), ["ana@x.test"; 2]);
    let taken = recipients(&system, &["<postmaster>", "<abuse@x.test>", "<eva@x.test>"]).await;
    assert_eq!(taken[..2], ["250 2.1.5 Ok"; 2]);
    assert!(taken[2].starts_with("550 5.1.1 "), "{taken:?}");
    system.server.stop().await;
}

/// A domain without accounts has no reader until the operator chooses one.
#[tokio::test]
async fn a_domain_without_a_reader_is_told_of() {
    let system = system().await;
    domain(&system, "z.test", None).await.unwrap();
    assert_eq!(readers(&system, "z.test").await.postmaster, [""; 0]);
    let refused = recipients(&system, &["<postmaster@z.test>"]).await;
    assert!(refused[0].starts_with("550 5.1.1 "), "{refused:?}");
    domain(&system, "z.test", Some("ana@x.test")).await.unwrap();
    assert_eq!(readers(&system, "z.test").await.abuse, ["ana@x.test"]);
    assert_eq!(recipients(&system, &["<postmaster@z.test>"]).await, ["250 2.1.5 Ok"]);
    // A removed domain's choice is forgotten.
    let remove = Request::DomainRemove { domain: "z.test".to_owned() };
    system.admin.execute(remove).await.unwrap();
    domain(&system, "z.test", None).await.unwrap();
    assert_eq!(readers(&system, "z.test").await.postmaster, [""; 0]);
    system.server.stop().await;
}

//! Certificates by ACME of two servers on one store: the one that has the duty asks the authority, whichever the operator
//! asks. `interop/python/acme_nodes.py` has an authority, too.

use super::{cluster, places_with};
use posta_tests::{DnsRecords, Place, stdout};
use serde_json::Value;
use std::{
    process::Output,
    thread,
    time::{Duration, Instant},
};

/// A name that leads to both nodes.
const SHARED: &str = "mta-sts.x.test";

/// Returns the number of attempts for a name that failed.
fn failures(place: &Place, name: &str) -> u64 {
    let listed = stdout(&place.posta(&["certificate", "list", "--json"], ""));
    let listed: Vec<Value> = serde_json::from_str(&listed).unwrap();
    let line = listed.iter().find(|line| line["name"] == name);
    line.map_or(0, |line| line["failures"].as_u64().unwrap())
}

fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    for _ in 0..600 {
        if is_so() {
            return;
        }
        thread::sleep(Duration::from_millis(100));
    }
    panic!("not so after 60 s: {what}");
}

/// Asks a server to renew a certificate, which no authority does. Returns what it complains of.
fn renew(place: &Place, name: &str) -> String {
    let ran: Output = place.posta(&["certificate", "renew", name], "");
    assert!(!ran.status.success(), "{}", String::from_utf8_lossy(&ran.stdout));
    String::from_utf8_lossy(&ran.stderr).into_owned()
}

/// Returns the number of attempts for a name that a server has made.
fn attempts(place: &Place, name: &str) -> usize {
    let log = place.log();
    log.iter()
        .filter(|line| line.contains("no certificate was issued") && line.contains(name))
        .count()
}

#[test]
#[expect(clippy::disallowed_methods, reason = "the real servers run in real time")]
fn a_renewal_may_be_asked_of_any_node() {
    let Some(cluster) = cluster() else { return };
    let [mut one, mut two] = places_with(&cluster, &[("pop3", "implicit"), ("http", "none")]);
    let names = ["one.x.test", "two.x.test", SHARED];
    let records = names
        .iter()
        .fold(DnsRecords::default(), |records, name| records.address(name, [127, 0, 0, 1]))
        .address("autoconfig.x.test", [127, 0, 0, 9]);
    let names = records.serve();
    for place in [&one, &two] {
        // Nobody is there.
        place.configure("[acme]\nenabled = true\ndirectory = \"https://127.0.0.1:9/\"\n");
        place.configure(&names.configuration());
    }
    one.add_account("ana@x.test");
    one.start();
    eventually("the first node has tried", || failures(&two, SHARED) == 1);
    two.start();
    eventually("the other has tried its own name", || failures(&two, "two.x.test") == 1);

    let said = renew(&two, SHARED);
    assert!(said.contains("mta-sts.x.test: ") && said.contains("certificate-not-issued"), "{said}");
    assert_eq!(failures(&one, SHARED), 2);
    assert_eq!((attempts(&one, SHARED), attempts(&two, SHARED)), (2, 0), "the first did it");
    let said = renew(&two, "one.x.test");
    assert!(said.contains("one.x.test: "), "a node answers for the other's own name: {said}");
    assert_eq!((failures(&two, "one.x.test"), attempts(&one, "one.x.test")), (2, 2));
    // Where DNS pins no key, a new one is made, by the node that has the duty; it waits, since none was issued for it.
    let ran = two.posta(&["certificate", "renew", SHARED, "--new-key"], "");
    assert!(!ran.status.success());
    assert_eq!((attempts(&one, SHARED), attempts(&two, SHARED)), (3, 0));
    let listed = stdout(&two.posta(&["certificate", "list", "--json"], ""));
    assert!(listed.contains("next-key-sha256"), "{listed}");
    let said = renew(&two, "three.x.test");
    assert!(said.contains("obtains no certificate for three.x.test"), "{said}");

    // The node that had the duty dies, and the other gets it while its operator waits.
    one.kill();
    let asked = Instant::now();
    let said = renew(&two, SHARED);
    assert!(said.contains("mta-sts.x.test: "), "{said}");
    assert_eq!((failures(&two, SHARED), attempts(&two, SHARED)), (4, 1));
    assert!(asked.elapsed() > Duration::from_secs(5), "{:?}", asked.elapsed());
    let said = renew(&two, "one.x.test");
    assert!(said.contains("obtains no certificate for one.x.test"), "{said}");
    // Neither has removed the record of the other's name, or it would have been tried again at once.
    assert_eq!((failures(&two, "two.x.test"), attempts(&two, "two.x.test")), (1, 1));
    // Nothing is left behind.
    let kept = "SELECT count(*) FROM posta.record WHERE kind = 'certificate-wish'";
    assert_eq!(cluster.psql(kept), "0");
    let said = renew(&two, "autoconfig.x.test");
    assert!(said.contains("leads to other addresses than two.x.test"), "{said}");
    assert_eq!(two.stop(), Some(0));
}

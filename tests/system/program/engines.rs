//! A firm begins with the embedded store, moves to PostgreSQL, and goes back: `posta store copy`.

use posta_tests::{Place, pop3, postgres::Cluster, program, send, skipped, smtp, stdout};
use std::{
    fs,
    path::Path,
    process::{Command, Output, Stdio},
    thread,
    time::Duration,
};

fn cluster() -> Option<Cluster> {
    let cluster = Cluster::start(&[]);
    if cluster.is_none() {
        skipped("moving a store to PostgreSQL", "PostgreSQL is not installed");
    }
    cluster
}

/// A firm with two people, their mail, and what else a store has.
fn firm() -> Place {
    let mut place = Place::new(&[("smtp", "none"), ("pop3", "none")]);
    place.add_account("ana@x.test");
    place.add_account("bob@x.test");
    place.start();
    let mut session = smtp(place.address("smtp"));
    for number in 0..30 {
        let to = if number % 2 == 0 { "ana@x.test" } else { "bob@x.test" };
        let filler = "0123456789abcde\r\n".repeat(if number % 7 == 3 { 40_000 } else { 20 });
        let reply =
            send(&mut session, to, &format!("Subject: {number}\r\n\r\n{number}\r\n{filler}"));
        assert!(reply.starts_with("250"), "{reply}");
    }
    let mut maildrop = pop3(place.address("pop3"), "ana@x.test");
    assert!(maildrop.say("DELE 2").starts_with("+OK"));
    assert!(maildrop.say("QUIT").starts_with("+OK"));
    for line in ["alias add info@x.test ana@x.test bob@x.test", "domain add y.test"] {
        said(&place, line);
    }
    let source =
        "collect add ana@x.test --server 127.0.0.1:1 --user ana --no-check --password-stdin";
    let words: Vec<_> = source.split(' ').collect();
    stdout(&place.posta(&words, "elsewhere"));
    place
}

fn run(place: &Place, line: &str) -> Output {
    place.posta(&line.split(' ').collect::<Vec<_>>(), "")
}

fn said(place: &Place, line: &str) -> String {
    stdout(&run(place, line))
}

/// Returns what a command that must fail says.
fn refused(place: &Place, line: &str) -> String {
    let output = run(place, line);
    assert!(!output.status.success(), "{line} should have failed");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The unique-ids and the messages of an account.
fn mailbox(place: &Place, name: &str) -> Vec<(String, String)> {
    let mut session = pop3(place.address("pop3"), name);
    let ids = session.listing("UIDL");
    let id = |line: &String| line.split(' ').nth(1).unwrap().to_owned();
    let all = ids.iter().enumerate();
    all.map(|(at, line)| (id(line), session.listing(&format!("RETR {}", at + 1)).join("\n")))
        .collect()
}

/// Makes a place use a store: lines above the first table of its configuration, and a table at its end.
fn configure(place: &Place, top: &str, end: &str) {
    let config = fs::read_to_string(place.config()).unwrap();
    fs::write(place.config(), format!("{top}{config}\n{end}")).unwrap();
}

/// Makes a place use the store that a copy made, as it says.
fn follow(place: &Place, told: &str) {
    let (_, toml) = told.split_once("has to say:\n\n").unwrap();
    let (toml, _) = toml.split_once("\nStart no server").unwrap();
    let (top, end) = toml.split_once("\n\n").unwrap_or((toml, ""));
    configure(place, &format!("{top}\n"), end);
}

/// Runs a copy that stops at a table that somebody has locked, and kills the program there.
fn kill_at(cluster: &Cluster, place: &Place, to: &str, table: &str) {
    let locked = cluster.hold(&format!("LOCK TABLE posta.{table} IN ACCESS EXCLUSIVE MODE"));
    let mut copying = Command::new(program())
        .args(["store", "copy", "--to", to, "--config"])
        .arg(place.config())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let waits = "SELECT count(*) > 0 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND application_name = 'posta'";
    let is_there = (0..600).any(|_| {
        thread::sleep(Duration::from_millis(100));
        assert_eq!(copying.try_wait().unwrap(), None, "it should wait for {table}");
        cluster.psql(waits) == "t"
    });
    assert!(is_there, "it did not come to {table}");
    copying.kill().unwrap();
    copying.wait().unwrap();
    drop(locked);
}

#[test]
fn a_store_moves_to_postgresql_and_back() {
    let Some(cluster) = cluster() else { return };
    let mut place = firm();
    let people = ["ana@x.test", "bob@x.test"];
    let before = people.map(|name| mailbox(&place, name));
    let copy = format!("store copy --to {}", cluster.url());
    let words = refused(&place, &copy);
    assert!(words.contains("open; stop it first"), "{words}");
    assert_eq!(place.stop(), Some(0));
    let lists =
        ["account list --json", "alias list --json", "domain list --json", "collect list --json"];
    let listed = lists.map(|list| said(&place, list));
    // Killed three times, it goes on each time. The tables are there already, and empty.
    let database = Place::new(&[]);
    let keys = place.directory.path().join("data/cluster.keys");
    configure(
        &database,
        &format!("key-file = \"{}\"\n", keys.display()),
        &format!("[store]\nengine = \"postgres\"\nurl = \"{}\"\n", cluster.url()),
    );
    said(&database, "account list");
    for table in ["piece", "entry", "event"] {
        kill_at(&cluster, &place, &cluster.url(), table);
        let words = refused(&database, "account list");
        assert!(words.contains("not complete") && words.contains("store-incomplete"), "{words}");
    }
    let told = said(&place, &copy);
    assert!(told.contains("counts and checksums of both are the same"), "{told}");
    let again = refused(&place, &copy);
    assert!(again.contains("store-exists"), "{again}");

    follow(&place, &told);
    assert_eq!(lists.map(|list| said(&place, list)), listed);
    place.start();
    assert_eq!(people.map(|name| mailbox(&place, name)), before, "nobody downloads anything");
    // What was removed is still removed, and can be brought back.
    let restored = said(&place, "account undelete ana@x.test");
    assert!(restored.contains('1'), "{restored}");
    let content = "Subject: later\r\n\r\nlater\r\n";
    assert!(send(&mut smtp(place.address("smtp")), "info@x.test", content).starts_with("250"));
    let there = people.map(|name| mailbox(&place, name));
    assert_eq!(there[1].len(), before[1].len() + 1);
    let data = place.directory.path().join("back");
    let back = format!("store copy --to embedded:{} --json", data.display());
    let words = refused(&place, &back);
    assert!(words.contains("store-in-use"), "{words}");
    assert_eq!(place.stop(), Some(0));
    let told: serde_json::Value = serde_json::from_str(&said(&place, &back)).unwrap();
    let rows = |part: &str| {
        let all = told["parts"].as_array().unwrap();
        all.iter().find(|it| it["part"] == part).unwrap()["rows"].as_u64().unwrap()
    };
    assert_eq!(
        (rows("accounts"), rows("aliases"), rows("contents"), rows("entries")),
        (2, 1, 31, 32)
    );
    assert!(rows("secrets") >= 1 && rows("histories") >= 31);

    let mut home = Place::new(&[("smtp", "none"), ("pop3", "none")]);
    let config = fs::read_to_string(home.config()).unwrap();
    let config = config
        .replace(home.directory.path().join("data").to_str().unwrap(), data.to_str().unwrap());
    fs::write(home.config(), config).unwrap();
    assert!(said(&home, "store check").contains("messages checked"));
    home.start();
    assert_eq!(people.map(|name| mailbox(&home, name)), there);
    assert_eq!(home.stop(), Some(0));
}

#[test]
fn a_copy_between_two_directories_can_be_followed_and_refuses_what_is_wrong() {
    let mut place = firm();
    let before = mailbox(&place, "ana@x.test");
    place.stop();
    let target = place.directory.path().join("second");
    let copy = format!("store copy --to embedded:{}", target.display());
    let told = said(&place, &copy);
    for words in [
        refused(&place, &copy),
        refused(
            &place,
            &format!("store copy --to embedded:{}", place.directory.path().join("data").display()),
        ),
    ] {
        assert!(words.contains("store-exists"), "{words}");
    }
    let exposed = refused(&place, "store copy --to postgresql://posta:secret@db/posta");
    assert!(exposed.contains("--to-password-file"), "{exposed}");
    let unknown = refused(&place, &format!("store copy --to {}", target.display()));
    assert!(unknown.contains("embedded:/var/lib/posta"), "{unknown}");
    let nothing = Path::new("/nowhere");
    let missing = refused(
        &place,
        &format!(
            "store copy --from embedded:{} --to embedded:{}2",
            nothing.display(),
            target.display()
        ),
    );
    assert!(missing.contains("no-store"), "{missing}");
    // The new one can be used.
    let config = fs::read_to_string(place.config()).unwrap();
    assert!(told.contains(&format!("data = \"{}\"", target.display())), "{told}");
    let config = config
        .replace(place.directory.path().join("data").to_str().unwrap(), target.to_str().unwrap());
    fs::write(place.config(), config).unwrap();
    place.start();
    assert_eq!(mailbox(&place, "ana@x.test"), before);
}

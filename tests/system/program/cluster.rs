//! Two servers on one PostgreSQL, as docs/cluster.md sets them up.

mod backups;
mod certificates;
mod changes;
mod limits;
mod nodes;
mod stalling;

use posta_tests::{
    PASSWORD, Place, Wire, pop3, postgres::Cluster, send, send_from, skipped, smtp, stdout,
};
use std::{
    io::{BufRead as _, BufReader, Write as _},
    net::TcpListener,
    sync::mpsc,
    thread,
    time::Duration,
};

const LISTENERS: [(&str, &str); 2] = [("smtp", "none"), ("pop3", "none")];

/// Returns two places whose servers have one store and one key file.
fn places(cluster: &Cluster) -> [Place; 2] {
    places_with(cluster, &LISTENERS)
}

fn places_with(cluster: &Cluster, listeners: &[(&str, &str)]) -> [Place; 2] {
    let keys = cluster.directory().join("store.keys");
    [Place::named("one.x.test", listeners), Place::named("two.x.test", listeners)].map(|place| {
        // The keys of the top of the file stand before its first table.
        let path = place.config();
        let config = std::fs::read_to_string(&path).unwrap();
        let key_file = format!("key-file = \"{}\"\n", keys.display());
        std::fs::write(&path, key_file + &config).unwrap();
        place.configure(&format!("[store]\nengine = \"postgres\"\nurl = \"{}\"\n", cluster.url()));
        place
    })
}

fn cluster() -> Option<Cluster> {
    let cluster = Cluster::start(&[]);
    if cluster.is_none() {
        skipped("several servers on one store", "PostgreSQL is not installed");
    }
    cluster
}

#[test]
fn two_servers_share_one_store() {
    let Some(cluster) = cluster() else { return };
    let [mut one, mut two] = places(&cluster);
    // A command works on the database without a server.
    one.add_account("ana@x.test");
    let accounts = stdout(&two.posta(&["account", "list"], ""));
    assert!(accounts.contains("ana@x.test"), "{accounts}");
    one.start();
    two.start();
    let content = "Subject: hello\r\n\r\nfrom one to the other\r\n";
    let reply = send(&mut smtp(one.address("smtp")), "ana@x.test", content);
    assert!(reply.starts_with("250 "), "{reply}");
    let mut maildrop = pop3(two.address("pop3"), "ana@x.test");
    let message = maildrop.listing("RETR 1");
    assert!(message.iter().any(|line| line == "from one to the other"), "{message:?}");
    assert!(message.iter().any(|line| line.contains("by one.x.test")), "{message:?}");
    // An account that one server adds is known to the other, which had refused it before.
    let mut sender = smtp(two.address("smtp"));
    assert!(sender.say("MAIL FROM:<s@y.test>").starts_with("250 "));
    let unknown = sender.say("RCPT TO:<bob@x.test>");
    assert!(unknown.starts_with("550 "), "{unknown}");
    one.add_account("bob@x.test");
    let known = (0..100).any(|_| {
        thread::sleep(Duration::from_millis(100));
        sender.say("RCPT TO:<bob@x.test>").starts_with("250 ")
    });
    assert!(known, "the other server did not hear of the account");
    // A server that dies takes nothing along.
    one.kill();
    assert!(maildrop.say("DELE 1").starts_with("+OK"));
    assert!(maildrop.say("QUIT").starts_with("+OK"));
    let reply = send(&mut smtp(two.address("smtp")), "ana@x.test", content);
    assert!(reply.starts_with("250 "), "{reply}");
    one.start();
    assert_eq!(pop3(one.address("pop3"), "ana@x.test").listing("LIST").len(), 1);
    let trace = stdout(&one.posta(&["trace", "ana@x.test"], ""));
    assert!(trace.contains("s@y.test"), "{trace}");
    assert_eq!(one.stop(), Some(0));
    assert_eq!(two.stop(), Some(0));
}

#[test]
fn a_database_that_is_away_refuses_nobody_for_good() {
    let Some(cluster) = cluster() else { return };
    let [mut one, _] = places(&cluster);
    one.add_account("ana@x.test");
    one.add_account("bob@x.test");
    one.start();
    let (smtp_address, pop3_address) =
        (one.address("smtp").to_owned(), one.address("pop3").to_owned());
    assert!(send(&mut smtp(&smtp_address), "ana@x.test", "x\r\n").starts_with("250 "));
    let down = thread::spawn(move || {
        cluster.crash_for(Duration::from_secs(8));
        cluster
    });
    thread::sleep(Duration::from_secs(3));
    let mut sender = smtp(&smtp_address);
    // Who may send is asked of the store first.
    let refused = sender.say("MAIL FROM:<s@y.test>");
    assert!(refused.starts_with("451 "), "{refused}");
    let mut collector = Wire::connect(&pop3_address);
    assert!(collector.line().starts_with("+OK"));
    assert!(collector.say("USER ana@x.test").starts_with("+OK"));
    let refused = collector.say(&format!("PASS {}", PASSWORD));
    assert!(refused.starts_with("-ERR [SYS/TEMP]"), "{refused}");
    let _cluster = down.join().unwrap();
    let is_back = (0..100).any(|_| {
        thread::sleep(Duration::from_millis(100));
        sender.say("MAIL FROM:<s@y.test>").starts_with("250 ")
    });
    assert!(is_back, "{:?}", one.log());
    assert!(sender.say("RCPT TO:<bob@x.test>").starts_with("250 "));
    assert!(sender.say("DATA").starts_with("354 "));
    assert!(sender.say("x\r\n.").starts_with("250 "));
    for name in ["ana@x.test", "bob@x.test"] {
        assert_eq!(pop3(&pop3_address, name).listing("LIST").len(), 1);
    }
}

/// Serves one SMTP session after the other. Tells of the end of each message's content, and replies to it when told to.
fn slow_sink(ended: mpsc::Sender<()>, go_on: mpsc::Receiver<()>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let lines = BufReader::new(stream.try_clone().unwrap()).lines();
            let _ = stream.write_all(b"220 sink\r\n");
            let mut is_content = false;
            for line in lines.map_while(Result::ok) {
                let reply = match line.get(..4).unwrap_or(&line) {
                    "." => {
                        ended.send(()).unwrap();
                        go_on.recv().unwrap();
                        "250 taken"
                    }
                    _ if is_content => continue,
                    "DATA" => "354 go on",
                    _ => "250 fine",
                };
                is_content = reply.starts_with("354");
                if stream.write_all(format!("{reply}\r\n").as_bytes()).is_err() {
                    break;
                }
            }
        }
    });
    address
}

/// The other server's 250 is not forgotten because the database is away at that moment: the message is not sent again.
#[test]
fn what_was_sent_while_the_database_is_away_is_not_sent_again() {
    let Some(cluster) = cluster() else { return };
    let [mut one, _] = places(&cluster);
    let ((ended, has_ended), (go_on, told)) = (mpsc::channel(), mpsc::channel());
    let sink = slow_sink(ended, told);
    one.configure(&format!(
        "[relay]\nnetworks = [\"127.0.0.1/32\"]\nsmarthost = \"{sink}\"\ntls = \"none\"\nretry = [\"1s\"]\n"
    ));
    one.add_account("ana@x.test");
    one.start();
    let mut sender = smtp(one.address("smtp"));
    let reply =
        send_from(&mut sender, "ana@x.test", "bob@elsewhere.test", "Subject: x\r\n\r\nx\r\n");
    assert!(reply.starts_with("250 "), "{reply}");
    let patience = Duration::from_secs(60);
    has_ended.recv_timeout(patience).unwrap();
    cluster.crash();
    go_on.send(()).unwrap();
    let waits = (0..1_200).any(|_| {
        thread::sleep(Duration::from_millis(50));
        one.log().iter().any(|line| line.contains("the end of an attempt waits for the store"))
    });
    assert!(waits, "{:?}", one.log());
    cluster.start_again();
    let count = || cluster.psql("SELECT count(*) FROM posta.item");
    let is_settled = (0..600).any(|_| {
        thread::sleep(Duration::from_millis(100));
        count() == "0"
    });
    assert!(is_settled, "{:?}", one.log());
    assert!(has_ended.try_recv().is_err(), "it was sent once");
    assert_eq!(one.stop(), Some(0));
}

//! People who join, leave, marry and return, and what an operator does for them, with documented
//! commands only.

use posta_tests::{PASSWORD, Place, Wire, pop3, send, smtp, stdout};

fn problem(output: &std::process::Output) -> String {
    assert!(!output.status.success(), "it should have failed");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn place(accounts: &[&str]) -> Place {
    let mut place = Place::new(&[("smtp", "none"), ("pop3", "none"), ("submission", "none")]);
    for account in accounts {
        place.add_account(account);
    }
    place.start();
    place
}

/// Runs a command, which must succeed. Returns its output.
fn said(place: &Place, line: &str) -> String {
    let arguments: Vec<_> = line.split(' ').collect();
    stdout(&place.posta(&arguments, ""))
}

fn refused(place: &Place, line: &str) -> String {
    let arguments: Vec<_> = line.split(' ').collect();
    problem(&place.posta(&arguments, ""))
}

fn deliver(place: &Place, to: &str) -> String {
    send(&mut smtp(place.address("smtp")), to, "Subject: s\r\n\r\nbody\r\n")
}

/// Returns the reply to a recipient.
fn named(place: &Place, to: &str) -> String {
    let mut wire = smtp(place.address("smtp"));
    wire.say("MAIL FROM:<s@y.test>");
    wire.say(&format!("RCPT TO:<{to}>"))
}

/// Returns the reply to a login.
fn log_in(place: &Place, name: &str, password: &str) -> String {
    let mut wire = Wire::connect(place.address("pop3"));
    wire.line();
    wire.say(&format!("USER {name}"));
    wire.say(&format!("PASS {password}"))
}

fn unique_ids(place: &Place, name: &str) -> Vec<String> {
    pop3(place.address("pop3"), name).listing("UIDL")
}

#[test]
fn an_account_that_was_removed_comes_back_as_it_was() {
    let place = place(&["ana@x.test", "bob@x.test"]);
    said(&place, "alias add info@x.test ana@x.test bob@x.test");
    for _ in 0..3 {
        assert!(deliver(&place, "ana@x.test").starts_with("250"));
    }
    let mut reader = pop3(place.address("pop3"), "ana@x.test");
    reader.say("DELE 1");
    reader.say("QUIT");
    let before = unique_ids(&place, "ana@x.test");
    assert_eq!(before.len(), 2);
    let removed = said(&place, "account remove ana@x.test --yes");
    for words in [
        "`posta account undelete ana@x.test` brings it back until 2",
        "info@x.test still leads to ana@x.test: `posta alias remove info@x.test ana@x.test`",
    ] {
        assert!(removed.contains(words), "{removed}");
    }
    assert!(log_in(&place, "ana@x.test", PASSWORD).starts_with("-ERR [AUTH]"));
    assert!(named(&place, "ana@x.test").starts_with("550 5.1.1"));
    assert!(!said(&place, "account list").contains("ana@x.test"));
    let listed = said(&place, "account list --removed");
    assert!(listed.starts_with("ana@x.test was removed at 2"), "{listed}");
    assert!(said(&place, "account list --removed --json").contains("\"until\": \"2"));
    // A new account of the same name has nothing of the old one's, and the operator learns how to
    // restore that one.
    place.add_account("ana@x.test");
    let words = refused(&place, "account undelete ana@x.test");
    assert!(words.contains("can be brought back once the address is free"), "{words}");
    assert!(words.contains("`posta account rename ana@x.test OTHER`"), "{words}");
    said(&place, "account rename ana@x.test ana.new@x.test");
    let back = said(&place, "account undelete Ana@x.test");
    assert!(back.contains("with its password and 2 messages"), "{back}");
    assert_eq!(unique_ids(&place, "ana@x.test"), before, "what ana had deleted stays deleted");
    said(&place, "alias set info@x.test ana@x.test bob@x.test");
    assert!(said(&place, "account undelete ana@x.test").contains("brought 1 message back"));
    assert!(deliver(&place, "info@x.test").starts_with("250"));
    assert_eq!(unique_ids(&place, "ana@x.test").len(), 4);
    assert!(said(&place, "account list --removed").contains("No account was removed"));
    let nothing = refused(&place, "account undelete eva@x.test");
    assert!(nothing.contains("no account eva@x.test") && nothing.contains("account list"));
}

/// When someone leaves, mail goes to a colleague, and the mailbox is kept for a week.
#[test]
fn one_who_left_is_forwarded() {
    let place = place(&["ana@x.test", "bob@x.test"]);
    assert!(deliver(&place, "ana@x.test").starts_with("250"));
    said(&place, "account remove ana@x.test --yes");
    assert!(said(&place, "alias add ana@x.test bob@x.test").contains("goes to bob@x.test"));
    assert!(deliver(&place, "ana@x.test").starts_with("250"));
    assert_eq!(unique_ids(&place, "bob@x.test").len(), 1);
    let over = place.posta(&["account", "add", "ana@x.test", "--password-stdin"], "a long one\n");
    let over = problem(&over);
    assert!(
        over.contains("is an alias") && over.contains("posta alias remove ana@x.test"),
        "{over}"
    );
    let back = said(&place, "account undelete ana@x.test");
    assert!(back.contains("mail for ana@x.test goes to bob@x.test: `posta alias remove"), "{back}");
    assert_eq!(unique_ids(&place, "ana@x.test").len(), 1);
    assert!(deliver(&place, "ana@x.test").starts_with("250"));
    assert_eq!(unique_ids(&place, "bob@x.test").len(), 2);
    let listed = said(&place, "account list");
    assert!(listed.contains("active, mail goes to bob@x.test"), "{listed}");
    assert!(said(&place, "alias remove ana@x.test").contains("goes to its mailbox"));
    assert!(deliver(&place, "ana@x.test").starts_with("250"));
    assert_eq!(unique_ids(&place, "ana@x.test").len(), 2);
}

/// Broken aliases, in an earlier store or left by a removal, are logged at the start.
#[test]
fn an_alias_that_leads_to_nobody_is_told_at_the_start() {
    let mut place = place(&["ana@x.test", "bob@x.test"]);
    said(&place, "alias add info@x.test ana@x.test bob@x.test");
    said(&place, "account remove bob@x.test --yes");
    place.stop();
    place.start();
    let line = place.logged("an alias is wrong");
    let problem = "info@x.test is an alias that leads to bob@x.test, which does not exist";
    assert!(line.contains("WARN") && line.contains(problem), "{line}");
}

#[test]
fn a_renamed_account_keeps_all_but_its_name() {
    let place = place(&["ana@x.test", "bob@x.test"]);
    said(&place, "alias add info@x.test ana+info@x.test");
    said(&place, "alias add ana@x.test bob@x.test");
    assert!(deliver(&place, "ana@x.test").starts_with("250"));
    said(&place, "domain add x.test --postmaster ana@x.test");
    said(&place, "account allow bob@x.test --from ana@x.test");
    let before = unique_ids(&place, "ana@x.test");
    for (new, words) in [
        ("bob@x.test", "exists already"),
        ("info@x.test", "posta alias remove info@x.test"),
        ("ana", "local-part@domain"),
    ] {
        let refused = refused(&place, &format!("account rename ana@x.test {new}"));
        assert!(refused.contains(words), "{refused}");
    }
    let renamed = said(&place, "account rename ana@x.test ana.pop@y.test");
    assert!(renamed.contains("info@x.test leads to ana.pop@y.test"), "{renamed}");
    assert!(renamed.contains("ana@x.test takes no mail any more"), "{renamed}");
    assert!(renamed.contains("bob@x.test may send as ana.pop@y.test"), "{renamed}");
    assert_eq!(sends_as(&place, "bob@x.test"), ["ana.pop@y.test"]);
    assert!(said(&place, "domain list --json").contains("ana.pop@y.test"), "still the postmaster");
    assert_eq!(unique_ids(&place, "ana.pop@y.test"), before);
    assert!(log_in(&place, "ana@x.test", PASSWORD).starts_with("-ERR [AUTH]"));
    assert!(named(&place, "ana@x.test").starts_with("550 5.1.1"));
    assert!(deliver(&place, "info@x.test").starts_with("250"));
    assert_eq!(unique_ids(&place, "ana.pop@y.test").len(), 2, "the tag and the copy went along");
    assert_eq!(unique_ids(&place, "bob@x.test").len(), 2, "and so did the forward");
    let listed = said(&place, "alias list");
    assert!(listed.contains("info@x.test -> ana.pop+info@y.test"), "{listed}");
    // The account gets its old address back, and the other one remains as an alias.
    let renamed = said(&place, "account rename ana.pop@y.test ana@x.test --alias");
    assert!(renamed.contains("mail for ana.pop@y.test goes to ana@x.test"), "{renamed}");
    assert_eq!(sends_as(&place, "bob@x.test"), ["ana.pop@y.test", "ana@x.test"]);
    assert!(deliver(&place, "ana.pop@y.test").starts_with("250"));
    assert_eq!(unique_ids(&place, "ana@x.test").len(), 3);
    let removed = said(&place, "account remove ana@x.test --yes");
    assert!(removed.contains("`posta domain add x.test --postmaster ADDRESS`"), "{removed}");
    said(&place, "account undelete ana@x.test");
    assert!(
        refused(&place, "account rename eva@x.test e@x.test").contains("no account eva@x.test")
    );
}

/// Returns what an account may send as.
fn sends_as(place: &Place, address: &str) -> Vec<String> {
    let lines = said(place, "account list --json");
    let lines: serde_json::Value = serde_json::from_str(&lines).unwrap();
    let line = lines.as_array().unwrap().iter().find(|line| line["address"] == address);
    serde_json::from_value(line.unwrap()["send_as"].clone()).unwrap()
}

/// A weak password causes a warning, and is accepted. A password that is not stored causes none.
#[test]
fn weak_passwords_are_warned_of() {
    let place = place(&[]);
    let add = |address: &str, password: &str| {
        let added = place.posta(&["account", "add", address, "--password-stdin"], password);
        assert!(added.status.success());
        String::from_utf8_lossy(&added.stderr).into_owned()
    };
    let warned = add("ana@x.test", "parola\n");
    let words = "warning: the password is easily guessed: it has fewer than 10 characters; \
                 `posta account password ana@x.test` changes it";
    assert!(warned.contains(words), "{warned}");
    assert!(add("bob@x.test", "Password12345\n").contains("among those that are tried first"));
    assert_eq!(add("eva@x.test", "trei pisici verzi\n"), "");
    assert!(log_in(&place, "ana@x.test", "parola").starts_with("+OK"));
    let change = ["account", "password", "eva@x.test", "--password-stdin"];
    let changed = place.posta(&change, "1234567890\n");
    assert!(String::from_utf8_lossy(&changed.stderr).contains("it follows the keys"));
    for (command, words) in [
        ("account add ana@x.test --password-stdin", "exists already"),
        ("account add ana --password-stdin", "\"ana\" is not valid"),
        ("account password nobody@x.test --password-stdin", "there is no account nobody@x.test"),
    ] {
        let command: Vec<_> = command.split(' ').collect();
        let refused = problem(&place.posta(&command, "parola\n"));
        assert!(refused.contains(words) && !refused.contains("guessed"), "{refused}");
    }
}

#[test]
fn a_disabled_account_takes_mail_and_no_login() {
    let place = place(&["ana@x.test"]);
    // The password was right a moment ago.
    let mut reader = pop3(place.address("pop3"), "ana@x.test");
    let done = said(&place, "account disable ana@x.test");
    assert!(done.contains("nobody can log in as ana@x.test"), "{done}");
    assert!(reader.say("NOOP").starts_with("-ERR [AUTH]"), "open sessions end");
    let words = log_in(&place, "ana@x.test", PASSWORD);
    assert!(words.starts_with("-ERR [AUTH] the account is disabled"), "{words}");
    let words = log_in(&place, "ana@x.test", "wrong");
    assert!(words.starts_with("-ERR [AUTH] name or password is wrong"), "{words}");
    let mut submission = Wire::connect(place.address("submission"));
    submission.write("EHLO c.test\r\n");
    while !submission.line().starts_with("250 ") {}
    let words = submission.say("AUTH PLAIN AGFuYUB4LnRlc3QAcGFyb2xh");
    assert!(words.starts_with("525 5.7.13 The account is disabled"), "{words}");
    assert!(deliver(&place, "ana@x.test").starts_with("250"));
    let listed = said(&place, "account list");
    assert!(listed.contains("disabled"), "{listed}");
    assert!(said(&place, "account list --json").contains("\"disabled\": true"));
    said(&place, "account enable ana@x.test");
    assert_eq!(unique_ids(&place, "ana@x.test").len(), 1);
    assert!(said(&place, "account list").contains("active"));
}

/// A firm changes its name: every address of the new domain is equivalent to that of the old one.
#[test]
fn a_domain_stands_for_another() {
    let place = place(&["ana@x.test", "bob@x.test"]);
    said(&place, "alias add info@x.test ana@x.test");
    said(&place, "domain add z.test");
    said(&place, "alias add sales@z.test ana+sales@y.test");
    let stands = said(&place, "domain alias Y.test x.test");
    assert!(stands.contains("every address of Y.test is that of x.test"), "{stands}");
    for to in ["ana@y.test", "Ana+tag@y.test", "info@y.test", "sales@z.test"] {
        assert!(deliver(&place, to).starts_with("250"), "{to}");
    }
    assert_eq!(unique_ids(&place, "ana@y.test").len(), 4, "it is a name to log in with, too");
    assert!(named(&place, "eva@y.test").starts_with("550 5.1.1"));
    said(&place, "alias add @x.test bob@x.test");
    assert!(deliver(&place, "eva@y.test").starts_with("250"));
    assert_eq!(unique_ids(&place, "bob@x.test").len(), 1);
    // The same holds for the sender's address.
    let mut submission = Wire::connect(place.address("submission"));
    submission.write("EHLO c.test\r\n");
    while !submission.line().starts_with("250 ") {}
    assert!(submission.say("AUTH PLAIN AGFuYUB5LnRlc3QAcGFyb2xh").starts_with("235"));
    assert!(submission.say("MAIL FROM:<info@y.test>").starts_with("250"));
    assert!(submission.say("RSET").starts_with("250"));
    assert!(submission.say("MAIL FROM:<bob@y.test>").starts_with("553"));

    let listed = said(&place, "domain list");
    assert!(listed.contains("y.test is an alias of x.test"), "{listed}");
    assert!(said(&place, "domain list --json").contains("\"stands-for\": \"x.test\""));
    let add = place.posta(&["account", "add", "eva@y.test", "--password-stdin"], "a long one\n");
    let words = problem(&add);
    assert!(words.contains("y.test stands for x.test: use that"), "{words}");
    for (line, words) in [
        ("alias add eva@y.test ana@x.test", "posta domain remove y.test"),
        ("domain alias w.test y.test", "y.test stands for x.test"),
        ("domain alias x.test z.test", "x.test has accounts or aliases"),
        ("domain alias w.test nowhere.test", "posta domain add nowhere.test"),
        ("domain add y.test", "posta domain remove y.test"),
        ("domain remove x.test", "other domains stand for it"),
    ] {
        let refused = refused(&place, line);
        assert!(refused.contains(words), "{line}: {refused}");
    }
    let removed = said(&place, "account remove ana@x.test --yes");
    assert!(removed.contains("sales@z.test still leads to ana@x.test"), "{removed}");
    said(&place, "account undelete ana@x.test");
    let renamed = said(&place, "account rename ana@x.test ana.pop@x.test");
    assert!(renamed.contains("sales@z.test leads to ana.pop@x.test"), "{renamed}");
    assert!(deliver(&place, "sales@z.test").starts_with("250"));
    assert_eq!(unique_ids(&place, "ana.pop@y.test").len(), 5);
    said(&place, "alias add sales@z.test bob@y.test");
    let removed = said(&place, "domain remove y.test");
    assert!(removed.contains("sales@z.test still leads to bob@y.test"), "{removed}");
    assert!(named(&place, "bob@y.test").starts_with("550 5.7.1"));
}

/// A telephone gets a password of its own, which is withdrawn when it is lost.
#[test]
fn programs_have_passwords_of_their_own() {
    let place = place(&["ana@x.test"]);
    let none = said(&place, "account app-password list ana@x.test");
    assert!(none.contains("`posta account app-password add ana@x.test NAME` makes one"), "{none}");
    let made = said(&place, "account app-password add ana@x.test phone");
    assert!(made.starts_with("phone can log in as ana@x.test with this password"), "{made}");
    let password = made.lines().nth(1).unwrap();
    assert!(log_in(&place, "ana@x.test", password).starts_with("+OK"));
    assert!(place.logged("app_password=phone").contains("login"));
    let listed = said(&place, "account app-password list ana@x.test");
    assert!(listed.starts_with("phone  made 2") && listed.contains("last used 2"), "{listed}");
    let json = said(&place, "account app-password list ana@x.test --json");
    assert!(json.contains("\"name\": \"phone\"") && !json.contains("hash"), "{json}");
    let change = ["account", "password", "ana@x.test", "--password-stdin"];
    let changed = place.posta(&change, "trei pisici verzi\n");
    let warned = String::from_utf8_lossy(&changed.stderr);
    assert!(warned.contains("note: the app passwords of ana@x.test still work: phone"), "{warned}");
    let taken = refused(&place, "account app-password add ana@x.test Phone");
    assert!(taken.contains("there is an app password \"Phone\" already"), "{taken}");
    said(&place, "account app-password remove ana@x.test phone");
    assert!(log_in(&place, "ana@x.test", password).starts_with("-ERR [AUTH]"));
    let gone = refused(&place, "account app-password remove ana@x.test phone");
    assert!(gone.contains("`posta account app-password list`"), "{gone}");
    let nobody = refused(&place, "account app-password list anna@x.test");
    assert!(nobody.contains("did you mean ana@x.test?"), "{nobody}");
}

/// A person who knows the old password sets a new one, while the server runs and while it does not.
#[test]
fn a_person_changes_their_own_password() {
    let mut place = place(&["ana@x.test"]);
    let passwd = |place: &Place, name: &str, input: &str| {
        place.posta(&["passwd", name, "--password-stdin"], input)
    };
    let wrong = problem(&passwd(&place, "ana@x.test", "parolo\ntrei pisici verzi\n"));
    assert!(wrong.contains("the password of ana@x.test is as it was"), "{wrong}");
    assert!(wrong.contains("not an app password"), "{wrong}");
    place.logged("why=\"wrong password\"");
    let same = problem(&passwd(&place, "ana@x.test", "parola\nparola\n"));
    assert!(same.contains("the new password is the old one"), "{same}");
    let done = stdout(&passwd(&place, "ana", "parola\ntrei pisici verzi\n"));
    assert!(done.contains("ana has a new password"), "{done}");
    assert!(log_in(&place, "ana@x.test", PASSWORD).starts_with("-ERR [AUTH]"));
    assert!(log_in(&place, "ana@x.test", "trei pisici verzi").starts_with("+OK"));
    place.stop();
    stdout(&passwd(&place, "ana@x.test", "trei pisici verzi\nparola\n"));
    let wrong = problem(&passwd(&place, "ana@x.test", "trei pisici verzi\nparola noua\n"));
    assert!(wrong.contains("as it was"), "{wrong}");
    place.start();
    assert!(log_in(&place, "ana@x.test", PASSWORD).starts_with("+OK"));
    let asked = problem(&place.posta(&["passwd"], ""));
    assert!(asked.contains("name the account: there is no terminal to ask on"), "{asked}");
}

#[test]
fn an_account_of_a_program_only_sends() {
    let place = place(&["ana@x.test"]);
    let add = ["account", "add", "printer@x.test", "--send-only", "--password-stdin"];
    let added = stdout(&place.posta(&add, PASSWORD));
    assert!(added.contains("mail for it is refused, unless `posta forward set"), "{added}");
    assert!(named(&place, "printer@x.test").starts_with("550 5.2.1 "));
    let words = log_in(&place, "printer@x.test", PASSWORD);
    assert!(words.starts_with("-ERR [SYS/PERM] this account only sends mail"), "{words}");
    assert!(said(&place, "account list").contains("active, only sends"));
    said(&place, "account send-only printer@x.test --off");
    assert!(named(&place, "printer@x.test").starts_with("250 "));
}

#[test]
fn senders_are_told_of_an_absence() {
    let place = place(&["ana@x.test"]);
    let text = "I am back on 7 January.\nAna\n";
    let set = ["away", "set", "ana@x.test", "--until", "2099-01-06", "--file", "-"];
    let told = stdout(&place.posta(&set, text));
    assert!(
        told.starts_with(
            "ana@x.test: senders get this note until 2099-01-07 00:00:00 UTC (now):\n"
        ),
        "{told}"
    );
    assert!(told.ends_with("    I am back on 7 January.\n    Ana\n"), "{told}");
    assert_eq!(said(&place, "away show ana@x.test"), told);
    let mut wire = smtp(place.address("smtp"));
    let content = "To: ana@x.test\r\nSubject: hello\r\n\r\nbody\r\n";
    assert!(send(&mut wire, "ana@x.test", content).starts_with("250 "));
    let trace = said(&place, "trace ana@x.test");
    assert!(trace.contains("sent <s@y.test> a note of absence: "), "{trace}");
    assert!(said(&place, "away off ana@x.test").contains("ana@x.test: senders get no note"));
    let json = said(&place, "away show ana@x.test --json");
    assert!(json.contains("\"is-away\": false") && json.contains("\"away\": null"), "{json}");
    for (line, words) in [
        ("away set ana@x.test --until 6.1.2099 --text x", "neither a day such as 2026-12-24"),
        ("away set ana@x.test --until 2020-01-06 --text x", "is over"),
        ("away set ana@x.test", "--text <TEXT>|--file <FILE>"),
        ("away set ana@x.test --file /nowhere/note.txt", "/nowhere/note.txt cannot be read"),
        ("away set @x.test --text x", "a catch-all has no owner"),
        ("away show anna@x.test", "did you mean ana@x.test?"),
    ] {
        let refused = refused(&place, line);
        assert!(refused.contains(words), "{line}: {refused}");
    }
}

#[test]
fn a_forward_has_an_end_and_a_note() {
    let place = place(&["ana@x.test", "bob@x.test"]);
    let set = ["forward", "set", "ana@x.test", "bob@x.test", "--until", "2099-06-30"];
    let told = stdout(&place.posta(&[&set[..], &["--note", "Write to Bob."]].concat(), ""));
    let words = "mail for ana@x.test goes to bob@x.test, and to its mailbox, until 2099-07-01 00:00:00 UTC\n\
                 its senders get this note:\n    Write to Bob.\n";
    assert_eq!(told, words);
    assert_eq!(said(&place, "forward show ana@x.test"), words);
    assert!(said(&place, "alias list").contains("ana@x.test -> bob@x.test, ana@x.test"));
    let passed_on = said(&place, "forward set ana@x.test bob@x.test --pass-on");
    assert_eq!(passed_on, "mail for ana@x.test goes to bob@x.test\n");
    assert!(said(&place, "forward show ana@x.test --json").contains("\"keeps-copy\": false"));
    assert_eq!(said(&place, "forward off ana@x.test"), "mail for ana@x.test goes to its mailbox\n");
    let gone = said(&place, "forward set eva@x.test bob@x.test");
    assert_eq!(gone, "mail for eva@x.test goes to bob@x.test\n");
    assert!(said(&place, "forward off eva@x.test").contains("mail for it is refused"));
    let refused = refused(&place, "forward set eva@nowhere.test bob@x.test");
    assert!(refused.contains("posta domain add nowhere.test"), "{refused}");
}

/// The operator chooses what separates tags from names, or that nothing does.
#[test]
fn tags_are_separated_as_the_operator_likes() {
    for (separators, codes) in [("-", ["250", "550"]), ("", ["550", "550"])] {
        let mut place = Place::new(&[("smtp", "none")]);
        let config = std::fs::read_to_string(place.config()).unwrap();
        let config = format!("tag-separators = \"{separators}\"\n{config}");
        std::fs::write(place.config(), config).unwrap();
        place.add_account("ana@x.test");
        place.start();
        let mut wire = smtp(place.address("smtp"));
        assert!(wire.say("MAIL FROM:<s@y.test>").starts_with("250 "));
        assert!(wire.say("RCPT TO:<ana@x.test>").starts_with("250 "));
        for (to, code) in ["ana-shop@x.test", "ana+shop@x.test"].into_iter().zip(codes) {
            let reply = wire.say(&format!("RCPT TO:<{to}>"));
            assert!(reply.starts_with(code), "{separators:?} {to}: {reply}");
        }
    }
}

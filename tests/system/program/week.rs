//! The first week of a firm with Posta, day by day: five people and their aliases, a scanner, a program
//! that sends reports, a mailbox at the old provider, and the provider's server as smarthost. The people
//! use only `posta`'s own commands; the scanner and the program speak SMTP themselves.

use posta_tests::{PASSWORD, Place, Wire, posta, stdout};
use std::{fs, os::unix::fs::PermissionsExt, process::Output, thread::sleep, time::Duration};

const PEOPLE: [&str; 5] = ["ana", "bob", "carla", "dan", "eva"];

/// The address of a customer, at the provider.
const CUSTOMER: &str = "orders@customer.test";

#[test]
fn a_firms_first_week() {
    let mut firm = Firm::founded();
    firm.monday_everybody_gets_an_address();
    firm.tuesday_the_machines_send_too();
    firm.wednesday_a_full_mailbox_and_an_old_one();
    firm.thursday_eva_leaves_and_ana_is_away();
    firm.friday_names_and_passwords_change();
}

struct Firm {
    here: Place,
    /// The provider: the smarthost, the customer's server, and Carla's old mailbox.
    provider: Place,
}

impl Firm {
    fn founded() -> Self {
        let mut provider = Place::named(
            "localhost",
            &[("smtp", "none"), ("submission", "starttls"), ("pop3", "none")],
        );
        for address in [CUSTOMER, "firm@provider.test", "carla@provider.test"] {
            provider.add_account(address);
        }
        said(&provider, &["account", "allow", "firm@provider.test", "--from", "any"]);
        provider.start();
        let here = Place::named(
            "mail.firm.test",
            &[("smtp", "none"), ("submission", "none"), ("pop3", "none")],
        );
        let password_file = here.directory.path().join("provider-password");
        fs::write(&password_file, PASSWORD).unwrap();
        fs::set_permissions(&password_file, fs::Permissions::from_mode(0o600)).unwrap();
        let port = provider.address("submission").rsplit(':').next().unwrap();
        let more = format!(
            "[relay]\nsmarthost = \"localhost:{port}\"\nuser = \"firm@provider.test\"\npassword-file = {password_file:?}\n\
             tls = \"starttls\"\nretry = [\"1s\"]\n[tls]\nauthorities = [{:?}]\n",
            provider.directory.path().join("data/self-signed.cert.pem")
        );
        let config = fs::read_to_string(here.config()).unwrap();
        fs::write(here.config(), config.replacen("[limits]", &format!("{more}[limits]"), 1))
            .unwrap();
        Self { here, provider }
    }

    fn monday_everybody_gets_an_address(&mut self) {
        for person in PEOPLE {
            self.here.add_account(&at_firm(person));
        }
        self.here.start();
        self.does(&["alias", "add", "sales@firm.test", "ana@firm.test", "bob@firm.test"]);
        self.does(&["alias", "add", "everybody@firm.test", "sales@firm.test", "carla@firm.test"]);
        self.does(&["alias", "add", "everybody@firm.test", "dan@firm.test", "eva@firm.test"]);
        let slip = self.fails(&["alias", "add", "support@firm.test", "nobody@firm.test"]);
        assert!(slip.contains("nobody@firm.test"), "{slip}");

        // The customer asks, and all people concerned have the mail at once.
        self.customer_writes("sales@firm.test", "What does a ton cost?");
        for (person, has_it) in [("ana", true), ("bob", true), ("carla", false)] {
            assert_eq!(self.has(person, "What does a ton cost?"), has_it, "{person}");
        }
        let nobody = self.customer_tries("nobody@firm.test", "Hello?", "b");
        assert!(complaint(&nobody).contains("550 5.1.1"), "{}", complaint(&nobody));

        // Ana replies through the provider, with TLS and a login.
        self.writes("ana", CUSTOMER, "Two hundred");
        self.customer_gets("Two hundred");
        let told = self.does(&["trace", CUSTOMER]);
        assert!(told.contains("relayed: 250 2.0.0 Ok"), "{told}");
        self.writes("dan", "everybody@firm.test", "Lunch at one");
        PEOPLE.iter().for_each(|person| assert!(self.has(person, "Lunch at one"), "{person}"));
    }

    fn tuesday_the_machines_send_too(&mut self) {
        // The scanner knows no password, no Date and no Message-ID; its mail gets the fields all the
        // same.
        let scan = "From: scanner@firm.test\r\nSubject: Scan 1\r\n\r\npages\r\n";
        let mut scanner = Wire::connect(self.here.address("submission"));
        assert!(scanner.line().starts_with("220 "));
        assert!(scanner.say("HELO scanner").starts_with("250 "));
        assert!(scanner.say("MAIL FROM:<scanner@firm.test>").starts_with("250 "));
        assert!(scanner.say("RCPT TO:<eva@firm.test>").starts_with("250 "));
        assert!(scanner.say(&format!("RCPT TO:<{CUSTOMER}>")).starts_with("250 "));
        assert!(scanner.say("DATA").starts_with("354 "));
        scanner.write(scan);
        assert!(scanner.say(".").starts_with("250 "));
        let mail = self.mail_of("eva");
        let scan =
            mail.split("\nFrom ").find(|message| message.contains("Subject: Scan 1")).unwrap();
        assert!(scan.contains("\nMessage-ID: <") && scan.contains("\nDate: "), "{scan}");
        self.customer_gets("Scan 1");

        // The program has no account either; an undeliverable report comes back to its owner.
        self.does(&["alias", "add", "reports@firm.test", "dan@firm.test"]);
        let server = self.here.address("submission");
        let report =
            ["send", "--server", server, "--from", "reports@firm.test", "--body", "all is well"];
        stdout(&posta(
            &[&report[..], &["--to", "ana@firm.test", "--subject", "Night 1"]].concat(),
            "",
        ));
        assert!(self.has("ana", "Night 1"));
        stdout(&posta(
            &[&report[..], &["--to", "gone@customer.test", "--subject", "Night 2"]].concat(),
            "",
        ));
        eventually("Dan hears that the report found nobody", || {
            let mail = self.mail_of("dan");
            mail.contains("gone@customer.test") && mail.contains("550 5.1.1")
        });
    }

    fn wednesday_a_full_mailbox_and_an_old_one(&mut self) {
        self.does(&["account", "quota", "dan@firm.test", "128KiB"]);
        let drawing = "0123456789abcdef".repeat(5_000);
        stdout(&self.customer_tries("dan@firm.test", "The first drawing", &drawing));
        let full = self.customer_tries("dan@firm.test", "The drawing", &drawing);
        assert!(complaint(&full).contains("452 4.2.2"), "{}", complaint(&full));
        self.does(&["account", "quota", "dan@firm.test", "1GiB"]);
        let listed = self.does(&["account", "list"]);
        assert!(listed.contains("1.0 GiB"), "{listed}");
        stdout(&self.customer_tries("dan@firm.test", "The drawing", &drawing));
        assert!(self.has("dan", "The drawing"));

        // Carla's mail still arrives at her old address.
        let old = &self.provider;
        let to_carla = ["--to", "carla@provider.test", "--subject", "To the old address"];
        stdout(&posta(
            &[&["send", "--server", old.address("smtp"), "--from", CUSTOMER], &to_carla[..]]
                .concat(),
            "",
        ));
        let source =
            ["--server", old.address("pop3"), "--user", "carla@provider.test", "--password-stdin"];
        let add =
            [&["collect", "add", "carla@firm.test"], &source[..], &["--every", "1m"]].concat();
        stdout(&self.here.posta(&add, PASSWORD));
        let listed = self.does(&["collect", "list"]);
        assert!(listed.contains(" 1m ") && listed.contains("not yet"), "{listed}");
        self.does(&["collect", "run", "1"]);
        assert!(self.has("carla", "To the old address"));
        assert!(
            fetched(old, "carla@provider.test", PASSWORD).contains("To the old address"),
            "it stays there"
        );
    }

    fn thursday_eva_leaves_and_ana_is_away(&mut self) {
        self.does(&["account", "disable", "eva@firm.test"]);
        let closed = fetch(&self.here, "eva@firm.test", PASSWORD);
        assert!(!closed.status.success());
        self.customer_writes("eva@firm.test", "While Eva's login is closed");
        // Without --yes a script removes no one; with it, the aliases that still lead to Eva are named.
        self.fails(&["account", "remove", "eva@firm.test"]);
        let removed = self.does(&["account", "remove", "eva@firm.test", "--yes"]);
        assert!(removed.contains("everybody@firm.test"), "{removed}");
        let gone = self.customer_tries("eva@firm.test", "Are you there?", "b");
        assert!(complaint(&gone).contains("550 5.1.1"), "{}", complaint(&gone));
        self.writes("dan", "everybody@firm.test", "Cake for Eva");
        ["ana", "bob", "carla", "dan"]
            .iter()
            .for_each(|one| assert!(self.has(one, "Cake for Eva"), "{one}"));
        self.does(&["alias", "remove", "everybody@firm.test", "eva@firm.test"]);

        // Her mail is needed after all.
        self.does(&["account", "undelete", "eva@firm.test"]);
        self.does(&["account", "enable", "eva@firm.test"]);
        assert!(self.has("eva", "While Eva's login is closed") && self.has("eva", "Scan 1"));
        self.does(&["account", "remove", "eva@firm.test", "--yes"]);
        self.does(&["alias", "add", "eva@firm.test", "ana@firm.test"]);
        self.customer_writes("eva@firm.test", "Dear Eva");
        assert!(self.has("ana", "Dear Eva"));

        // Ana is away: Bob gets copies, and she keeps hers.
        self.does(&["alias", "add", "ana@firm.test", "ana@firm.test", "bob@firm.test"]);
        self.customer_writes("ana@firm.test", "Urgent");
        assert!(self.has("ana", "Urgent") && self.has("bob", "Urgent"));
        self.does(&["alias", "remove", "ana@firm.test"]);
        self.customer_writes("ana@firm.test", "You are back");
        assert!(self.has("ana", "You are back") && !self.has("bob", "You are back"));
    }

    fn friday_names_and_passwords_change(&mut self) {
        let new = "a much longer password";
        stdout(
            &self.here.posta(&["account", "password", "bob@firm.test", "--password-stdin"], new),
        );
        assert!(!fetch(&self.here, "bob@firm.test", PASSWORD).status.success());
        assert!(fetched(&self.here, "bob@firm.test", new).contains("Urgent"));
        let told = self.does(&["trace", "bob@firm.test"]);
        assert!(told.contains("wrong password"), "{told}");

        // The firm has a new name; mail to the old one still arrives.
        self.does(&["domain", "alias", "firm.example", "firm.test"]);
        self.customer_writes("dan@firm.example", "To the new name");
        self.customer_writes("sales@firm.example", "To the new sales");
        assert!(self.has("dan", "To the new name") && self.has("ana", "To the new sales"));

        // Carla has a new name too, and none of her mail is lost.
        self.does(&["account", "rename", "carla@firm.test", "carla.pop@firm.test", "--alias"]);
        self.customer_writes("carla@firm.test", "To the name before");
        let mail = self.mail_of("carla.pop");
        assert!(
            mail.contains("To the old address") && mail.contains("To the name before"),
            "{mail}"
        );

        // "Where is the mail of Monday?"
        let told = self.does(&["trace", "ana@firm.test"]);
        assert!(told.contains("sales@firm.test") && told.contains(CUSTOMER), "{told}");
        let waiting = self.does(&["queue", "list"]);
        assert_eq!(waiting, "Nothing waits.\n");
        assert_eq!(self.here.stop(), Some(0));
        let left = self.does(&["account", "list"]);
        assert!(left.contains("carla.pop@firm.test") && !left.contains("eva@firm.test"), "{left}");
    }

    /// Runs a command of the firm's operator. Returns its output.
    fn does(&self, command: &[&str]) -> String {
        said(&self.here, command)
    }

    /// Runs a command that must fail. Returns the reason.
    fn fails(&self, command: &[&str]) -> String {
        complaint(&self.here.posta(command, ""))
    }

    fn writes(&self, person: &str, to: &str, subject: &str) {
        let person = at_firm(person);
        let server = ["send", "--server", self.here.address("submission"), "--user", &person];
        let message = [
            "--from",
            &person,
            "--to",
            to,
            "--subject",
            subject,
            "--body",
            "b",
            "--password-stdin",
        ];
        stdout(&posta(&[&server[..], &message].concat(), PASSWORD));
    }

    fn customer_tries(&self, to: &str, subject: &str, body: &str) -> Output {
        let server = ["send", "--server", self.here.address("smtp"), "--from", CUSTOMER];
        posta(&[&server[..], &["--to", to, "--subject", subject, "--body", body]].concat(), "")
    }

    fn customer_writes(&self, to: &str, subject: &str) {
        stdout(&self.customer_tries(to, subject, "b"));
    }

    fn customer_gets(&self, subject: &str) {
        let subject = format!("Subject: {subject}");
        eventually(&subject, || fetched(&self.provider, CUSTOMER, PASSWORD).contains(&subject));
    }

    fn mail_of(&self, person: &str) -> String {
        fetched(&self.here, &at_firm(person), PASSWORD)
    }

    fn has(&self, person: &str, subject: &str) -> bool {
        self.mail_of(person).contains(&format!("Subject: {subject}"))
    }
}

fn at_firm(person: &str) -> String {
    format!("{person}@firm.test")
}

fn said(place: &Place, command: &[&str]) -> String {
    stdout(&place.posta(command, ""))
}

fn complaint(output: &Output) -> String {
    assert!(!output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    let all = [&output.stdout[..], &output.stderr].concat();
    String::from_utf8_lossy(&all).into_owned()
}

/// Returns the content of a mailbox, as an mbox.
fn fetched(place: &Place, user: &str, password: &str) -> String {
    stdout(&fetch(place, user, password))
}

fn fetch(place: &Place, user: &str, password: &str) -> Output {
    let server = ["fetch", "--server", place.address("pop3"), "--user", user, "--password-stdin"];
    posta(&[&server[..], &["--stdout", "--all"]].concat(), password)
}

fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    for _ in 0..200 {
        if is_so() {
            return;
        }
        sleep(Duration::from_millis(100));
    }
    panic!("not so after 20 s: {what}");
}

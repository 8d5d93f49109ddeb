//! The passwords of an account's programs, and the password that its owner changes.

use super::*;
use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use posta_mail::Secret;
use posta_net::scram::ScramClient;
use posta_server::admin::{AppPasswordRequest, AppPasswords};
use posta_server::login::AppPassword;

const ANA: &str = "ana@x.test";

const NOW: i64 = 1_074_188_330;

impl System {
    async fn app_passwords(&self, request: AppPasswordRequest) -> Result<AppPasswords, String> {
        let request = PersonalRequest::AppPasswords(request);
        match self.personal(ANA, request).await.map_err(|error| error.to_string())? {
            Response::AppPasswords(done) => Ok(done),
            other => panic!("{other:?}"),
        }
    }

    async fn made(&self, name: &str) -> String {
        let add = AppPasswordRequest::Add { name: name.to_owned() };
        match self.app_passwords(add).await.unwrap() {
            AppPasswords::Made(password) => password,
            other => panic!("{other:?}"),
        }
    }

    async fn listed(&self) -> Vec<AppPassword> {
        match self.app_passwords(AppPasswordRequest::List).await.unwrap() {
            AppPasswords::List(list) => list,
            other => panic!("{other:?}"),
        }
    }

    async fn withdraw(&self, name: &str) {
        let remove = AppPasswordRequest::Remove { name: name.to_owned() };
        self.app_passwords(remove).await.unwrap();
    }

    /// Logs in over POP3. Returns the open session if the login succeeded.
    async fn opened(&self, password: &str) -> Option<Box<dyn Stream>> {
        let mut stream = self.connect(110).await;
        read_until(&mut stream, "\r\n").await;
        stream.write_all(format!("USER {ANA}\r\n").as_bytes()).await.unwrap();
        read_until(&mut stream, "\r\n").await;
        stream.write_all(format!("PASS {password}\r\n").as_bytes()).await.unwrap();
        read_until(&mut stream, "\r\n").await.starts_with("+OK").then_some(stream)
    }

    /// Returns whether a password opens a submission session by PLAIN.
    async fn submits(&self, password: &str) -> bool {
        let plain = BASE64.encode(format!("\0{ANA}\0{password}"));
        let said = self.say(587, &format!("EHLO c\r\nAUTH PLAIN {plain}\r\nQUIT\r\n")).await;
        said.contains("\r\n235 ")
    }

    /// Returns whether a password opens the maildrop by SCRAM.
    async fn scram(&self, password: &str) -> bool {
        let clock = SimulatedClock::new(Timestamp::UNIX_EPOCH, 3);
        let secret = Secret::new(password.as_bytes());
        let (first, mut client) = ScramClient::new(ANA, secret, None, &clock);
        let mut stream = self.connect(110).await;
        read_until(&mut stream, "\r\n").await;
        let mut message = format!("AUTH SCRAM-SHA-256 {}", BASE64.encode(first));
        loop {
            stream.write_all(format!("{message}\r\n").as_bytes()).await.unwrap();
            let said = read_until(&mut stream, "\r\n").await;
            let Some(challenge) = said.strip_prefix("+ ") else { return said.starts_with("+OK") };
            let challenge = BASE64.decode(challenge.trim_end()).unwrap();
            match client.respond(&challenge) {
                Some(response) => message = BASE64.encode(response),
                None => return false,
            }
        }
    }

    async fn change_own(&self, old: &str, password: &str) -> Result<(), String> {
        let (old, password) = (old.to_owned(), password.to_owned());
        let changed = self.personal(ANA, PersonalRequest::Password { old, password }).await;
        changed.map(drop).map_err(|error| error.to_string())
    }
}

async fn started() -> (System, Arc<SimulatedClock>) {
    let clock = Arc::new(SimulatedClock::new(Timestamp::from_second(NOW).unwrap(), 7));
    let change = |settings: &mut Settings| settings.sessions_per_client = 0;
    (system_on(store(), clock.clone(), change).await, clock)
}

#[tokio::test]
async fn each_opens_the_account_in_every_way() {
    let (system, clock) = started().await;
    let (phone, laptop) = (system.made("phone").await, system.made("laptop").await);
    for password in [&phone, &phone.replace('-', ""), &laptop, "parola"] {
        assert!(system.opened(password).await.is_some(), "{password}");
        assert!(system.submits(password).await, "{password}");
        assert!(system.scram(password).await, "{password}");
    }
    let wrong = phone.chars().rev().collect::<String>();
    for wrong in [wrong.as_str(), "parolo"] {
        assert!(system.opened(wrong).await.is_none(), "{wrong}");
        assert!(!system.submits(wrong).await && !system.scram(wrong).await, "{wrong}");
    }
    clock.set(Timestamp::from_second(NOW + 3 * 24 * 60 * 60).unwrap());
    assert!(system.opened(&laptop).await.is_some());
    let used: Vec<_> =
        system.listed().await.into_iter().map(|it| it.used.unwrap().to_string()).collect();
    assert_eq!(used, ["2004-01-15T00:00:00Z", "2004-01-18T00:00:00Z"]);
    let request = Request::AccountDisable { address: ANA.to_owned(), disabled: true };
    system.admin.execute(request).await.unwrap();
    assert!(system.opened(&laptop).await.is_none(), "the account is disabled");
    system.server.stop().await;
}

#[tokio::test]
async fn one_that_is_withdrawn_ends_its_sessions_and_no_others() {
    let (system, _) = started().await;
    let (phone, laptop) = (system.made("phone").await, system.made("laptop").await);
    let mut sessions = Vec::new();
    for password in [&phone, &laptop, "parola"] {
        sessions.push(system.opened(password).await.unwrap());
    }
    system.withdraw("phone").await;
    let mut standing = Vec::new();
    for stream in &mut sessions {
        stream.write_all(b"NOOP\r\n").await.unwrap();
        standing.push(read_until(stream, "\r\n").await.starts_with("+OK"));
    }
    assert_eq!(standing, [false, true, true]);
    assert!(system.opened(&phone).await.is_none() && !system.scram(&phone).await);
    // The account's own password has nothing to do with those that remain.
    system.change_own("parola", "alta parola").await.unwrap();
    let mut standing = Vec::new();
    for stream in &mut sessions[1..] {
        stream.write_all(b"NOOP\r\n").await.unwrap();
        standing.push(read_until(stream, "\r\n").await.starts_with("+OK"));
    }
    assert_eq!(standing, [true, false]);
    assert!(system.opened(&laptop).await.is_some());
    assert!(system.scram(&laptop).await, "the new password has the salt of the old one");
    assert!(system.scram("alta parola").await && !system.scram("parola").await);
    system.server.stop().await;
}

#[tokio::test]
async fn only_the_owner_changes_the_password() {
    let (system, _) = started().await;
    let phone = system.made("phone").await;
    for wrong in ["", "parolo", &phone] {
        let refused = system.change_own(wrong, "alta parola").await.unwrap_err();
        assert!(
            refused.contains("as it was") && refused.contains("not an app password"),
            "{refused}"
        );
    }
    let refused = system.change_own("parola", "a\nb").await.unwrap_err();
    assert!(refused.contains("240 octets"), "{refused}");
    let password = PersonalRequest::Password { old: "x".to_owned(), password: "y".to_owned() };
    let unknown = system.personal("nobody@x.test", password).await.unwrap_err().to_string();
    assert!(unknown.contains("nobody@x.test is as it was: name or password is wrong"), "{unknown}");
    assert!(system.opened("parola").await.is_some());
    system.server.stop().await;
}

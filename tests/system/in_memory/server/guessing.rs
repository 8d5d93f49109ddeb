//! Guessing passwords and tokens, and finding out which accounts exist.

use super::*;
use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use posta_server::login::oauth::{Accepted, OAuthSettings};
use std::sync::atomic::{AtomicU32, Ordering};

/// Starts a server behind a load balancer, so that the tests can choose the clients' addresses.
async fn guarded(failed_logins: u32) -> System {
    guarded_on(store(), failed_logins).await
}

async fn guarded_on(store: Arc<dyn Store>, failed_logins: u32) -> System {
    // Each start has a new seed, so keys and salts differ.
    static STARTS: AtomicU32 = AtomicU32::new(7);
    let seed = u64::from(STARTS.fetch_add(2, Ordering::Relaxed));
    let clock = SimulatedClock::new(Timestamp::from_second(1_074_188_330).unwrap(), seed);
    let change = |settings: &mut Settings| {
        settings.proxies = vec!["127.0.0.0/8".parse().unwrap()];
        (settings.sessions, settings.sessions_per_client) = (100, 100);
        settings.failed_logins = failed_logins;
    };
    system_on(store, Arc::new(clock), change).await
}

impl System {
    /// Sends lines to the submission port, as a client at this address.
    async fn submit(&self, client: &str, lines: &str) -> String {
        let family = if client.contains(':') { "TCP6" } else { "TCP4" };
        let from = format!("PROXY {family} {client} {client} 1 2\r\n");
        self.say(587, &format!("{from}EHLO c\r\n{lines}QUIT\r\n")).await
    }

    /// Sends everything at once, and disconnects in the middle of the dialogue.
    async fn say_and_leave(&self, port: u16, text: &str) {
        let mut stream = self.connect(port).await;
        stream.write_all(text.as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
        stream.read_to_string(&mut String::new()).await.unwrap();
    }

    /// Guesses a password once. It is longer than any password, so that no time is spent on it.
    async fn guess(&self, client: &str, name: &str) -> String {
        self.submit(client, &plain(name, &"x".repeat(300))).await
    }

    /// Returns whether the owner of an account can log in.
    async fn opens(&self, client: &str, name: &str) -> bool {
        self.submit(client, &plain(name, "parola")).await.contains("\r\n235 ")
    }

    /// Returns the salt that SCRAM sends for a name.
    async fn salt(&self, name: &str) -> String {
        let first = BASE64.encode(format!("n,,n={name},r=abc"));
        let lines = format!("AUTH SCRAM-SHA-256 {first}\r\n*\r\n");
        let said = self.submit("192.0.2.200", &lines).await;
        let challenge = said.split("\r\n334 ").nth(1).unwrap().lines().next().unwrap();
        let challenge = String::from_utf8(BASE64.decode(challenge).unwrap()).unwrap();
        challenge.split(",s=").nth(1).unwrap().to_owned()
    }
}

fn plain(name: &str, password: &str) -> String {
    format!("AUTH PLAIN {}\r\n", BASE64.encode(format!("\0{name}\0{password}")))
}

/// An account has one salt, however its name is written and even after a restart; so has a name without
/// an account.
#[tokio::test]
async fn a_salt_tells_nobody_who_exists() {
    let store = store();
    let mut before = Vec::new();
    for _ in 0..2 {
        let system = guarded_on(store.clone(), 0).await;
        let _ = system
            .admin
            .execute(Request::DomainAdd { domain: "y.test".to_owned(), postmaster: None })
            .await;
        let mut now = Vec::new();
        for (address, other, bare) in
            [("ana@x.test", "Ana@X.test", "ANA"), ("cid@x.test", "Cid@X.test", "CID")]
        {
            let salt = system.salt(address).await;
            assert_eq!(system.salt(other).await, salt, "{other}");
            let bare = system.salt(bare).await;
            let elsewhere = system.salt(&address.replace('x', "y")).await;
            assert_ne!(salt, elsewhere);
            assert!(bare == salt || bare == elsewhere, "{address} without a domain");
            assert_eq!(salt.len(), system.salt("ana").await.len());
            now.push((salt, bare, elsewhere));
        }
        assert!(before.is_empty() || before == now, "a restart: {before:?} {now:?}");
        before = now;
        system.server.stop().await;
    }
}

/// A name that occurs in two domains opens neither account, and must look like a name that does not
/// exist.
#[tokio::test]
async fn a_name_that_is_not_unique_looks_like_no_name() {
    let system = guarded(0).await;
    let (address, password) = ("ana@y.test".to_owned(), "parola".to_owned());
    system.admin.execute(Request::AccountAdd { address, password, apop: false }).await.unwrap();
    let bare = system.salt("ana").await;
    assert!([system.salt("ana@x.test").await, system.salt("ana@y.test").await].contains(&bare));
    assert!(!system.opens("192.0.2.1", "ana").await);
    system.server.stop().await;
}

/// An exchange that is cancelled, broken off or abandoned counts as much as a completed one.
#[tokio::test]
async fn an_exchange_that_is_cancelled_is_a_failure() {
    let first = BASE64.encode("n,,n=cid@x.test,r=abc");
    for (port, bare, end) in [
        (587, "", "*\r\n"),
        (587, "", "!\r\n"),
        (587, "", ""),
        (110, "", "*\r\n"),
        (110, "", "!\r\n"),
        (110, "", ""),
        (587, "AUTH LOGIN\r\n", "*\r\n"),
    ] {
        let system = guarded(3).await;
        let hello = if port == 587 { "EHLO c\r\n" } else { "" };
        let scram = format!("AUTH SCRAM-SHA-256 {first}\r\n");
        let auth = if bare.is_empty() { &scram } else { bare };
        let try_it = format!("PROXY TCP4 192.0.2.7 192.0.2.9 1 2\r\n{hello}{auth}{end}");
        for _ in 0..3 {
            assert!(system.opens("192.0.2.8", "ana").await);
            system.say_and_leave(port, &try_it).await;
        }
        assert!(!system.opens("192.0.2.7", "ana").await, "{port} {auth:?} {end:?}");
        assert!(system.opens("192.0.2.8", "ana").await);
        system.server.stop().await;
    }
}

/// The number of tokens that the identity server is asked about is limited like the number of passwords.
#[tokio::test]
async fn tokens_are_counted_before_the_client_hears_of_them() {
    let store = store();
    let clock = SimulatedClock::new(Timestamp::from_second(1_074_188_330).unwrap(), 7);
    let change = |settings: &mut Settings| {
        settings.proxies = vec!["127.0.0.0/8".parse().unwrap()];
        settings.failed_logins = 4;
        settings.oauth = Some(OAuthSettings {
            introspection: "http://127.0.0.1:8080/introspect".parse().unwrap(),
            client: None,
            accepted: Accepted { audience: Some("x".to_owned()), ..Accepted::default() },
        });
    };
    let system = system_on(store, Arc::new(clock), change).await;
    let mut asked = system.net.bind(&"127.0.0.1:8080".parse().unwrap()).await.unwrap();
    let calls = Arc::new(AtomicU32::new(0));
    let counted = calls.clone();
    let server = tokio::spawn(async move {
        let mut answered = Vec::new();
        while let Ok((mut stream, _)) = asked.accept().await {
            counted.fetch_add(1, Ordering::Relaxed);
            read_until(&mut stream, "token_type_hint").await;
            let body = "{\"active\":false}";
            let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len());
            stream.write_all(answer.as_bytes()).await.unwrap();
            answered.push(stream);
        }
    });
    let bearer = BASE64.encode("n,a=ana@x.test,\x01auth=Bearer t0k\x01\x01");
    for end in ["*\r\n", "", "AQ==\r\n"].iter().cycle().take(21) {
        let from = "PROXY TCP4 192.0.2.7 192.0.2.9 1 2\r\n";
        let auth = format!("{from}EHLO c\r\nAUTH OAUTHBEARER {bearer}\r\n{end}");
        system.say_and_leave(587, &auth).await;
    }
    assert!(calls.load(Ordering::Relaxed) <= 4, "{calls:?} calls");
    server.abort();
    system.server.stop().await;
}

/// Wrong passwords from anywhere lock no one out of the networks that were used before, even after a
/// restart; and a locked name looks like one without an account.
#[tokio::test]
async fn an_owner_is_not_locked_out() {
    let store = store();
    let system = guarded_on(store.clone(), 1).await;
    assert!(system.opens("192.0.2.1", "ana").await);
    assert!(system.opens("192.0.2.2", "ana").await, "by a password that was checked just before");
    system.server.stop().await;
    let system = guarded_on(store, 1).await;
    for name in ["ana@x.test", "cid@x.test"] {
        for network in 0..10 {
            let from = format!("198.51.{}.{network}", 100 + usize::from(name.starts_with('a')));
            let said = system.guess(&from, name).await;
            assert!(said.contains("\r\n535 5.7.8"), "{name} from {from}: {said}");
        }
    }
    let [ana, cid] = [
        system.guess("203.0.113.1", "ana@x.test").await,
        system.guess("203.0.113.1", "cid@x.test").await,
    ];
    assert!(ana.contains("\r\n454 4.7.0") && ana == cid, "{ana}\n{cid}");
    assert!(!system.opens("203.0.113.1", "ana").await);
    assert!(system.opens("192.0.2.1", "ana").await, "where she was before");
    assert!(system.opens("192.0.2.2", "ana").await, "where she was before");
    let listed = system.admin.execute(Request::LockoutList).await.unwrap();
    assert_eq!(listed, Response::Lockouts(Vec::new()), "none without the server");
    system.server.stop().await;
}

/// A client that is locked out waits for each reply as before; otherwise its futile guesses would use up
/// the server's time.
#[tokio::test(start_paused = true)]
async fn a_lock_out_is_no_way_to_faster_answers() {
    let change = |settings: &mut Settings| {
        settings.proxies = vec!["127.0.0.0/8".parse().unwrap()];
        settings.failed_logins = 1;
        settings.failed_login_delay = Duration::from_secs(1);
    };
    let system = system_with(change).await;
    system.guess("192.0.2.7", "ana").await;
    let began = tokio::time::Instant::now();
    let said = system.guess("192.0.2.7", "ana").await;
    assert!(said.contains("\r\n454 4.7.0"), "{said}");
    assert!(began.elapsed().as_millis() >= 1_000, "{:?}", began.elapsed());
    system.server.stop().await;
}

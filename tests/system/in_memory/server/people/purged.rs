//! What is remembered of an account goes with it.

use super::*;
use posta_server::admin::{
    AppPasswordRequest, AppPasswords, AwayRequest, SenderRequest, SenderScope,
};
use posta_server::directory::senders::SenderStanding;
use posta_store::Store;

const ANA: &str = "ana@x.test";

const DAY: i64 = 24 * 60 * 60;

/// The kinds of records that name an account. The server has written at least one of each kind about ana.
const KINDS: [&str; 7] = [
    "app-passwords",
    "app-passwords-used",
    "arrangements",
    "known-networks",
    "notes-sent",
    "quota-warnings",
    "senders",
];

/// Returns the kinds of which there is a record of an account.
async fn remembered(store: &dyn Store, account: AccountId) -> Vec<&'static str> {
    let mut kinds = Vec::new();
    for kind in KINDS {
        let records = store.kept(kind).await.unwrap();
        let is_of = |name: &str| {
            let mut words = name.split(' ').filter(|word| *word != "account");
            words.next() == Some(&account.0.to_string())
        };
        if records.iter().any(|(name, _)| is_of(name)) {
            kinds.push(kind);
        }
    }
    kinds
}

#[tokio::test]
async fn nothing_is_remembered_of_a_purged_account() {
    let start = Timestamp::from_second(1_074_188_330).unwrap();
    let clock = Arc::new(SimulatedClock::new(start, 7));
    let store = store();
    let change = |settings: &mut Settings| {
        (settings.sessions_per_client, settings.failed_logins) = (0, 100);
    };
    let system = system_on(store.clone(), clock.clone(), change).await;
    let ana = store.account(&ANA.parse().unwrap()).await.unwrap().unwrap().id;
    let bob = store.account(&"bob@x.test".parse().unwrap()).await.unwrap().unwrap().id;
    for (address, sender) in [(ANA, "bob@x.test"), ("bob@x.test", ANA)] {
        let add = AppPasswordRequest::Add { name: "phone".to_owned() };
        let made = system.personal(address, PersonalRequest::AppPasswords(add)).await.unwrap();
        let Response::AppPasswords(AppPasswords::Made(password)) = made else { panic!("{made:?}") };
        let note =
            AwayRequest::Set { from: None, until: None, subject: None, text: "x".to_owned() };
        system.personal(address, PersonalRequest::Away(note)).await.unwrap();
        let request = SenderRequest::Put {
            sender: "eva@y.test".to_owned(),
            standing: SenderStanding::Blocked,
        };
        let scope = SenderScope::Account(address.to_owned());
        system.admin.execute(Request::Senders { scope, request }).await.unwrap();
        let quota = Request::AccountQuota { address: address.to_owned(), quota: Some(20_000) };
        system.admin.execute(quota).await.unwrap();
        // More than four fifths of the quota.
        let line = format!("\r\n {}", "x".repeat(70));
        let filler = line.repeat(16_500 / line.len());
        let fields =
            format!("From: {sender}\r\nTo: {address}\r\nSubject: s\r\nX-Filler: x{filler}\r\n");
        system.post(sender, &[address], &fields).await;
        let login = format!("USER {address}\r\nPASS {password}\r\nSTAT\r\nQUIT\r\n");
        assert!(system.say(110, &login).await.contains(" messages"), "{password}");
    }
    assert_eq!(remembered(&*store, ana).await, KINDS);
    let remove = Request::AccountRemove { address: ANA.to_owned() };
    system.admin.execute(remove).await.unwrap();
    system.server.stop().await;
    for (days, expected) in [(6, &KINDS[..]), (8, &[])] {
        clock.set(Timestamp::from_second(start.as_second() + days * DAY).unwrap());
        // Its start purges what is due. It adds an account of the same address, which is another one.
        let system = system_on(store.clone(), clock.clone(), |_| {}).await;
        let mut tries = 0;
        while remembered(&*store, ana).await != expected && tries < 100 {
            tokio::time::sleep(Duration::from_millis(100)).await;
            tries += 1;
        }
        system.server.stop().await;
        assert_eq!(remembered(&*store, ana).await, expected, "after {days} days");
        assert_eq!(remembered(&*store, bob).await, KINDS, "after {days} days");
    }
}

//! Settings without limits for clients and accounts; each test adds those that it is about.

use posta_mail::{Domain, limits};
use posta_net::dial::PrivateAddresses;
use posta_server::{
    send::{
        RelaySettings, Rules,
        schedule::Schedule,
        trust::mta_sts::{Mode, Policy},
    },
    settings::{DoorSettings, LoopbackTrust, Pop3Settings, Settings},
    sign::SigningSettings,
};
use posta_smtp::server::Limits;
use std::{collections::HashMap, time::Duration};

const MINUTE: u64 = 60;
const DAY: u64 = 24 * 60 * MINUTE;

/// Returns the settings of a server without listeners.
pub(crate) fn settings(hostname: &str) -> Settings {
    let hostname: Domain = hostname.parse().unwrap();
    Settings {
        hostname,
        message_size: 50 << 20,
        sessions: 0,
        sessions_per_client: 0,
        smtp_limits: smtp_limits(),
        channel_binding: false,
        oauth: None,
        memory: 64 << 20,
        normalise_newlines: false,
        proxies: Vec::new(),
        metrics_for: Vec::new(),
        forwarders: Vec::new(),
        verify: false,
        trust_loopback: LoopbackTrust::Anywhere,
        relays_for: Vec::new(),
        submissions: 0,
        session_time: Duration::MAX,
        pop3: Pop3Settings {
            autologout: limits::POP3_SERVER_PATIENCE,
            login_delay: Duration::ZERO,
            sessions_per_account: 0,
            expire: None,
            apop: false,
        },
        failed_logins: 0,
        failed_login_delay: Duration::ZERO,
        filters: Vec::new(),
        checks: None,
        dmarc_reports: true,
        door: DoorSettings::open(),
        relay: relay_settings(),
        signing: unsigned(),
        policy: Policy { mode: Mode::Enforce, mx: Vec::new(), max_age: 7 * DAY },
        listeners: Vec::new(),
        tls: None,
        acme: None,
        control: None,
        spool: None,
    }
}

/// Nothing is signed: a test that is not about it sees what was sent.
pub(crate) fn unsigned() -> SigningSettings {
    let queue_lifetime = Duration::from_secs(5 * DAY);
    SigningSettings { enabled: false, rotate: None, queue_lifetime }
}

/// Returns the limits of an SMTP session.
pub(crate) fn smtp_limits() -> Limits {
    Limits::new(1_000, 2_592_000)
}

/// Returns settings that allow mail to public addresses only.
pub(crate) fn relay_settings() -> RelaySettings {
    RelaySettings {
        all: rules(),
        domains: HashMap::new(),
        patience: Duration::from_secs(10 * MINUTE),
        connections: 20,
        sources: Vec::new(),
        private_addresses: PrivateAddresses::Refuse,
    }
}

/// Returns rules by which each destination has its own servers.
pub(crate) fn rules() -> Rules {
    Rules { schedule: schedule(), route: None, rate: None }
}

/// Returns a schedule with short intervals at first and ever longer ones later, for five days.
pub(crate) fn schedule() -> Schedule {
    let minutes = [1, 5, 15, 30, 60, 120, 240];
    Schedule {
        retry: minutes.iter().map(|minutes| Duration::from_secs(minutes * MINUTE)).collect(),
        give_up: Duration::from_secs(5 * DAY),
        delay_notice: Duration::from_secs(4 * 60 * MINUTE),
    }
}

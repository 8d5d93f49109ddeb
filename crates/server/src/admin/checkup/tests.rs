//! A set-up for the tests of this folder and of the checks.

use super::publish::{DkimRecord, MailService, MailSetup, ServiceKind};
use crate::send::trust::mta_sts::{Mode, Policy};

/// Returns the set-up of a domain that publishes every record.
pub(super) fn example() -> MailSetup {
    let host = "mail.x.test".to_owned();
    let service = |kind, port| MailService { kind, port };
    MailSetup {
        domain: "x.test".parse().unwrap(),
        alias_of: None,
        hostname: host.parse().unwrap(),
        addresses: vec!["192.0.2.1".parse().unwrap(), "2001:db8::1".parse().unwrap()],
        smarthost: None,
        policy: Some(Policy { mode: Mode::Enforce, mx: vec![host], max_age: 604_800 }),
        keys: vec![DkimRecord {
            selector: "s1".to_owned(),
            text: "v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=".to_owned(),
            is_waiting: false,
            is_retiring: false,
        }],
        certificate_key: Some([0xab; 32]),
        next_certificate_key: None,
        services: vec![service(ServiceKind::Submissions, 465), service(ServiceKind::Pop3s, 995)],
    }
}

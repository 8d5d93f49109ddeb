//! Signatures: however a message is split, the result is the same, and only the holder of a key can make
//! a signature that passes.

use posta_mail::Timestamp;
use posta_origin::{
    arc::ArcResult,
    dkim::{DkimKey, DkimResult, KeyPair, Keys, Signer},
    dns::{Record, Zone, now_or_never},
    observer::{Needs, Observed, Observer},
};

/// An Ed25519 key in PKCS #8 (RFC 8410 §7), whose seed is zeros.
const KEY: [u8; 48] = {
    let head = [0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];
    let mut key = [0; 48];
    let mut at = 0;
    while at < head.len() {
        key[at] = head[at];
        at += 1;
    }
    key
};

pub(crate) fn signature(octets: &[u8]) {
    let Some((&size, message)) = octets.split_first() else { return };
    let observed = observe(message, message.len());
    assert_eq!(observed, observe(message, size.into()), "however it is cut");
    if let Ok(text) = str::from_utf8(message) {
        let _ = DkimKey::parse(text);
    }
    let signer = Signer::new(domain(), "key".into(), key());
    let zone = Zone::default().with("key._domainkey.x.test", Record::Txt(record(&signer)));
    let keys = |observed: &Observed| now_or_never(Keys::look_up(&zone, &observed.key_names()));
    let Some(found) = keys(&observed) else { return };
    let verified = observed.verify_dkim(&found, Timestamp::UNIX_EPOCH);
    assert!(verified.iter().all(|it| it.result != DkimResult::Pass), "forged: {verified:?}");
    let chain = observed.verify_arc(&found, Timestamp::UNIX_EPOCH);
    assert_ne!(chain.result, ArcResult::Pass, "forged");
    let Ok(Some(field)) = observed.sign(&signer, Timestamp::UNIX_EPOCH) else { return };
    let signed = [field.as_bytes(), message].concat();
    let observed = observe(&signed, signed.len());
    // A message that exceeds the limits together with its signature cannot be verified.
    if observed.header().is_too_large() {
        return;
    }
    let Some(found) = keys(&observed) else { return };
    let verified = observed.verify_dkim(&found, Timestamp::UNIX_EPOCH);
    assert_eq!(verified[0].result, DkimResult::Pass, "{verified:?}");
}

fn observe(message: &[u8], size: usize) -> Observed {
    let mut observer = Observer::new(Needs { verify: true, sign: true });
    message.chunks(size.max(1)).for_each(|piece| observer.write(piece));
    observer.finish()
}

#[expect(clippy::expect_used, reason = "a target panics where a promise is broken")]
fn key() -> KeyPair {
    KeyPair::from_pkcs8(&KEY).expect("a key that can be read")
}

#[expect(clippy::expect_used, reason = "a target panics where a promise is broken")]
fn domain() -> posta_mail::Domain {
    "x.test".parse().expect("a domain")
}

#[expect(clippy::expect_used, reason = "a target panics where a promise is broken")]
fn record(signer: &Signer) -> String {
    signer.key().record().expect("a record")
}

//! Certificates for the tests of several rooms.

use super::version_1::element;
use rustls::pki_types::CertificateDer;

const SEQUENCE: u8 = 0x30;

/// The tags of the fields that a certificate of version 1 lacks.
const VERSION: u8 = 0xa0;
const EXTENSIONS: u8 = 0xa3;

/// Returns the certificate in the form of version 1: without a version field and extensions. Nobody's signature fits
/// it.
pub(super) fn version_1(certificate: &CertificateDer<'_>) -> CertificateDer<'static> {
    let (whole, _) = element(certificate, SEQUENCE).unwrap();
    let (fields, signature) = element(whole.content, SEQUENCE).unwrap();
    let (mut rest, mut kept) = (fields.content, Vec::new());
    while let Some(&tag) = rest.first() {
        let (field, after) = element(rest, tag).unwrap();
        if !matches!(tag, VERSION | EXTENSIONS) {
            kept.extend_from_slice(field.whole);
        }
        rest = after;
    }
    sequence(&[&sequence(&kept), signature].concat()).into()
}

fn sequence(content: &[u8]) -> Vec<u8> {
    let [high, low] = (content.len() as u16).to_be_bytes();
    let head = if high == 0 { vec![SEQUENCE, 0x81, low] } else { vec![SEQUENCE, 0x82, high, low] };
    [&head, content].concat()
}

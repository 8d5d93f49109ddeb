//! The name of a certificate in questions about its renewal (RFC 9773 §4.1): the identifier of the
//! authority's key, and the serial number.

use instant_acme::CertificateIdentifier;
use rustls::pki_types::{CertificateDer, Der, pem::PemObject};
use webpki::EndEntityCert;

/// The object identifier of the extension AuthorityKeyIdentifier (RFC 5280 §4.2.1.1), in DER.
const AUTHORITY_KEY_IDENTIFIER: [u8; 5] = [0x06, 0x03, 0x55, 0x1d, 0x23];

/// The tags of DER that lead to the identifier: an octet string with a sequence, and its first member.
const OCTET_STRING: u8 = 0x04;
const SEQUENCE: u8 = 0x30;
const KEY_IDENTIFIER: u8 = 0x80;

/// Returns the name of the first certificate in a text in PEM; `None` if it does not tell the key of its
/// authority.
pub(super) fn of(chain: &str) -> Option<CertificateIdentifier<'static>> {
    let leaf = CertificateDer::pem_slice_iter(chain.as_bytes()).next()?.ok()?;
    let certificate = EndEntityCert::try_from(&leaf).ok()?;
    let key = authority_key(&leaf)?;
    let id =
        CertificateIdentifier::new(Der::from_slice(key), Der::from_slice(certificate.serial()));
    Some(id.into_owned())
}

fn authority_key(certificate: &[u8]) -> Option<&[u8]> {
    let is_it = |at: &[u8]| at == AUTHORITY_KEY_IDENTIFIER;
    let at = certificate.windows(AUTHORITY_KEY_IDENTIFIER.len()).position(is_it)?;
    let rest = certificate.get(at + AUTHORITY_KEY_IDENTIFIER.len()..)?;
    let inside = value(value(rest, OCTET_STRING)?, SEQUENCE)?;
    value(inside, KEY_IDENTIFIER)
}

/// Returns the content of a DER value with this tag and a length in one octet, which is enough here.
fn value(der: &[u8], tag: u8) -> Option<&[u8]> {
    let (&[its_tag, length], rest) = der.split_first_chunk()?;
    (its_tag == tag && length < 0x80).then(|| rest.get(..length.into())).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, SerialNumber};

    #[test]
    fn a_certificate_is_named_by_its_authority_and_serial_number() {
        let (authority_key, key) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_identifier_method = rcgen::KeyIdMethod::PreSpecified(vec![1, 2, 3, 4]);
        let authority = Issuer::new(params, authority_key);
        let mut params = CertificateParams::new(vec!["x.test".to_owned()]).unwrap();
        params.serial_number = Some(SerialNumber::from(vec![0x87, 0x65, 0x43, 0x21]));
        params.use_authority_key_identifier_extension = true;
        let made = params.signed_by(&key, &authority).unwrap();
        // RFC 9773 §4.1: the leading zero belongs to the serial number.
        assert_eq!(of(&made.pem()).unwrap().to_string(), "AQIDBA.AIdlQyE");
        params.use_authority_key_identifier_extension = false;
        let made = params.signed_by(&key, &authority).unwrap();
        assert_eq!(of(&made.pem()), None);
        assert_eq!(of("no certificate"), None);
    }
}

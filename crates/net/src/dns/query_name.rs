//! The name in a query, in the form that hickory-resolver requires.

use hickory_resolver::proto::{
    ProtoError,
    rr::{IntoName, Name},
};
use std::net::IpAddr;

/// A complete domain name in ASCII, without the dot at its end, for which no search list is tried.
/// Underscores are allowed, as in the names of TLSA records; the library's own conversion from text
/// refuses them.
#[derive(Debug, Clone, Copy)]
pub(super) struct QueryName<'n>(pub(super) &'n str);

impl IntoName for QueryName<'_> {
    fn into_name(self) -> Result<Name, ProtoError> {
        let read = Name::from_ascii(format!("{}.", self.0));
        // The library accepts only characters of host names; SPF macros produce others (RFC 7208 §7.3).
        let is_plain = |octet: u8| octet.is_ascii_graphic() && octet != b'\\';
        if read.is_err() && self.0.bytes().all(is_plain) {
            return Name::from_labels(self.0.split('.').map(str::as_bytes));
        }
        read
    }

    fn to_ip(&self) -> Option<IpAddr> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn underscores_are_asked_for() {
        for name in ["my_host.x.test", "_25._tcp.mx_1.x.test", "xn--pot-cpa20l.test"] {
            assert_eq!(QueryName(name).into_name().unwrap().to_ascii(), format!("{name}."));
        }
        let odd = QueryName("a+b=c/d@x.test").into_name().unwrap();
        assert_eq!(odd.iter().next(), Some(&b"a+b=c/d@x"[..]));
        assert!(QueryName("a b.test").into_name().is_err());
    }
}

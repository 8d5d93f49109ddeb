//! The name that a question to DNS is about.

use hickory_resolver::proto::{
    ProtoError,
    rr::{IntoName, Name},
};
use std::net::IpAddr;

/// A whole name in ASCII, as addresses have it, without the dot at its end. Beyond the letters, digits
/// and hyphens of hosts it may have underscores, which the library takes from no text.
#[derive(Debug, Clone, Copy)]
pub(super) struct Whole<'n>(pub(super) &'n str);

impl IntoName for Whole<'_> {
    fn into_name(self) -> Result<Name, ProtoError> {
        Name::from_ascii(format!("{}.", self.0))
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
            assert_eq!(Whole(name).into_name().unwrap().to_ascii(), format!("{name}."));
        }
        assert!(Whole("a b.test").into_name().is_err());
    }
}

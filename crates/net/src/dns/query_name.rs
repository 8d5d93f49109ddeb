//! The name in a query, as the library wants it.

use hickory_resolver::proto::{
    ProtoError,
    rr::{IntoName, Name},
};
use std::net::IpAddr;

/// A complete domain name in ASCII, without the dot at its end, so that no search list is tried. It may contain
/// underscores, as TLSA names do; the library's own conversion from text refuses them.
#[derive(Debug, Clone, Copy)]
pub(super) struct QueryName<'n>(pub(super) &'n str);

impl IntoName for QueryName<'_> {
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
            assert_eq!(QueryName(name).into_name().unwrap().to_ascii(), format!("{name}."));
        }
        assert!(QueryName("a b.test").into_name().is_err());
    }
}

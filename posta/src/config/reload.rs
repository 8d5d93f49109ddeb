//! What a change of the configuration needs.

use super::Config;

impl Config {
    /// Returns the keys whose values are others in `new`, and that a running server cannot change.
    pub(crate) fn fixed(&self, new: &Self) -> Vec<&'static str> {
        let changes = [
            ("hostname", self.hostname != new.hostname),
            ("data", self.data != new.data),
            ("key-file", self.key_file != new.key_file),
            ("tls.authorities", self.tls.authorities != new.tls.authorities),
            ("tls.channel-binding", self.tls.channel_binding != new.tls.channel_binding),
            ("limits.memory", self.limits.memory != new.limits.memory),
            ("dns", self.dns != new.dns),
            ("oauth", self.oauth != new.oauth),
            ("relay.source", self.relay.source != new.relay.source),
            (
                "relay.private-addresses",
                self.relay.private_addresses != new.relay.private_addresses,
            ),
            ("listen", self.listen != new.listen),
        ];
        changes.into_iter().filter(|(_, has_changed)| *has_changed).map(|(key, _)| key).collect()
    }
}

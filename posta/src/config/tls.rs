//! `[tls]`: what goes together.

use super::options::Tls;
use anyhow::{Result, bail};

impl Tls {
    pub(super) fn check(&self) -> Result<()> {
        if self.certificate.is_some() != self.key.is_some() {
            bail!("tls.certificate and tls.key belong together: set both, or neither");
        }
        Ok(())
    }
}

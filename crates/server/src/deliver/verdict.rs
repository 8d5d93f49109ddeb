//! What is decided about a message once its content has come whole, before anything of it is kept.
//!
//! This is the one place between content and commit: checks of the sender, outside filters and the rules of a recipient's own
//! belong here, so that every protocol obeys them and the sender hears of a refusal while the connection is open.

use super::Message;
use posta_mail::{Reply, limits};

/// Decides whether a message is taken; an error is the reply that refuses it.
pub(super) fn judge(message: &Message) -> Result<(), Reply> {
    if message.hops > limits::HOPS {
        // RFC 5321 §6.3.
        return Err(Reply::new(554, (5, 4, 6), "The message goes round in a loop"));
    }
    Ok(())
}

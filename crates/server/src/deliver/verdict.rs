//! What is decided about a message once its content has come whole, before anything of it is kept.
//!
//! This is the one place between content and commit: checks of the sender, outside filters and the rules of a recipient's own
//! belong here, so that every protocol obeys them and the sender hears of a refusal while the connection is open.
//!
//! What the checks found is judged so, if the operator wants policies obeyed:
//!
//! | what was found | what becomes of the message |
//! |---|---|
//! | DMARC fails, and the author's domain wants such mail refused | 550 5.7.1 |
//! | DMARC fails, and the author's domain wants such mail put aside | it goes to the folder for junk |
//! | the author claims more domains than are checked, or programs differ in which | the same |
//! | DNS did not answer, so that nobody knows what the author's domain wants | 451 4.7.0 |
//! | the sender's domain sends no mail at all (`v=spf1 -all`), and DMARC does not pass | 550 5.7.1 |
//! | there is no From field, or more than one, or a field that hides lines | 550 5.6.0 |
//! | the header section is too large to be examined, or From follows a line that is no field | 550 5.6.0 |
//! | anything else, SPF that fails among it | it is taken |
//!
//! RFC 9989 §7.4 advises not to refuse mail for `p=reject` alone, since mailing lists change what they pass on. That
//! advice is not followed: a domain that publishes the policy asks for it, and a refusal is told to the sender, while
//! mail in the wrong folder is told to nobody. Mailing lists that seal what they pass on (RFC 8617) can be trusted
//! instead (`trusted-sealers`).

mod recipients;
mod sealers;
mod words;

pub(super) use recipients::{Decided, decide, targets};

use super::{Message, checked::Checked};
use posta_mail::{Reply, limits};
use posta_origin::dmarc::{DmarcError, DmarcPolicy, DmarcResult};
use words::Refusal;

/// Where a message goes that is taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Where its recipients are.
    Take {
        /// Why, in words, if the checks alone would have led to something else.
        although: Option<String>,
    },
    /// Into the folder for junk.
    Junk {
        /// Why, in words.
        because: String,
    },
}

impl Verdict {
    const TAKE: Self = Self::Take { although: None };
}

/// Why a message is not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refused {
    /// The reply.
    pub(super) reply: Reply,
    /// What the history tells beside it.
    pub(super) why: Option<String>,
}

/// Returns the refusal of a message that came through too many servers, whoever wants it (RFC 5321 §6.3).
pub(super) fn loop_refusal(message: &Message) -> Option<Refused> {
    let reply = || Reply::new(554, (5, 4, 6), "The message goes round in a loop");
    (message.hops > limits::HOPS).then(|| Refused { reply: reply(), why: None })
}

/// Decides by the checks alone whether a message is taken, and where it goes.
///
/// # Errors
/// Returns the refusal.
pub(super) fn judge(message: &Message) -> Result<Verdict, Refused> {
    match &message.checked {
        Some(checked) if checked.policy.obey => judge_origin(checked).map_err(|refusal| Refused {
            reply: refusal.reply(checked),
            why: Some(words::summary(checked)),
        }),
        _ => Ok(Verdict::TAKE),
    }
}

fn judge_origin(checked: &Checked) -> Result<Verdict, Refusal> {
    if checked.hides_lines {
        return Err(Refusal::HiddenLines);
    }
    // Other readers go on where the checks ended, and may find another From there.
    if checked.is_header_too_large {
        return Err(Refusal::HeaderTooLarge);
    }
    if checked.has_late_from {
        return Err(Refusal::LateFrom);
    }
    // RFC 5322 §3.6. RFC 9989 §11.5 names the attack: each reader shows another one.
    match checked.from_fields {
        0 => return Err(Refusal::NoFrom),
        1 => {}
        _ => return Err(Refusal::SeveralFrom),
    }
    let dmarc = &checked.dmarc;
    if dmarc.result == DmarcResult::Pass {
        return Ok(Verdict::TAKE);
    }
    let wanted = match (dmarc.result, &dmarc.error) {
        (DmarcResult::TempError, Some(DmarcError::NoPolicy(_))) => Err(Refusal::NoPolicy),
        // The policy is known, but not whether the message is under it.
        (DmarcResult::TempError, _) if dmarc.policy != DmarcPolicy::None => Err(Refusal::NoPolicy),
        _ if sends_nothing(checked) => Err(Refusal::SendsNothing),
        _ => match dmarc.wanted {
            DmarcPolicy::None => return Ok(Verdict::TAKE),
            DmarcPolicy::Quarantine => Ok(Verdict::Junk { because: words::quarantined(checked) }),
            DmarcPolicy::Reject => Err(Refusal::Dmarc),
        },
    };
    match sealers::vouching(checked) {
        Some(sealer) => {
            let although = format!("taken, since {sealer} sealed that it came from its author");
            Ok(Verdict::Take { although: Some(although) })
        }
        None => wanted,
    }
}

/// Returns whether the domain of the reverse-path sends no mail at all (RFC 7208 §10.1.2).
fn sends_nothing(checked: &Checked) -> bool {
    let spf = checked.spf.as_ref();
    spf.is_some_and(|spf| spf.sender.is_some() && spf.outcome.sends_nothing)
}

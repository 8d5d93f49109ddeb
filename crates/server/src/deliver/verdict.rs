//! The decision about a message, made when its content is complete and before any of it is stored for good.
//!
//! This is the one place between content and commit. Checks of the sender, outside filters and a recipient's own rules
//! belong here, so that they hold for every protocol, and the sender learns of a refusal while the connection is still
//! open.
//!
//! If the operator wants policies obeyed, the results of the checks lead to this:
//!
//! | result | treatment of the message |
//! |---|---|
//! | DMARC fails, and the author's domain wants such mail refused | 550 5.7.1 |
//! | DMARC fails, and the author's domain wants such mail put aside | it goes to the folder for junk |
//! | the message names more author domains than are checked, or programs may read different ones | it goes to the folder for junk |
//! | DNS did not answer, so the policy of the author's domain is unknown | 451 4.7.0 |
//! | the sender's domain sends no mail at all (`v=spf1 -all`), and DMARC does not pass | 550 5.7.1 |
//! | there is no From field, or more than one, or a field that hides lines | 550 5.6.0 |
//! | the header section is too large to be examined, or From follows a line that is not a field | 550 5.6.0 |
//! | anything else, including a failure of SPF alone | it is accepted |
//!
//! RFC 9989 §7.4 advises against refusing mail only because of `p=reject`, since mailing lists change the messages
//! that they pass on. That advice is not followed: a domain that publishes this policy asks for refusal, and the
//! sender learns of a refusal, whereas nobody learns of mail in the wrong folder. Mailing lists that seal what they
//! pass on (RFC 8617) can be trusted instead (`trusted-sealers`).

mod recipients;
mod sealers;
mod words;

pub(super) use recipients::{Decided, decide, targets};

use super::{Message, checked::Checked};
use posta_mail::{Reply, limits};
use posta_origin::dmarc::{DmarcError, DmarcPolicy, DmarcResult};
use words::Refusal;

/// The destination of a message that is accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The places that its recipients lead to.
    Take {
        /// The reason, in words, if the checks alone would have led to another verdict.
        although: Option<String>,
    },
    /// The folder for junk.
    Junk {
        /// The reason, in words.
        because: String,
    },
}

impl Verdict {
    const TAKE: Self = Self::Take { although: None };
}

/// The refusal of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refused {
    /// The reply.
    pub(super) reply: Reply,
    /// The explanation, which only the history contains.
    pub(super) why: Option<String>,
}

/// Returns the refusal of a message that has passed through too many servers, whoever its recipients are (RFC
/// 5321 §6.3).
pub(super) fn loop_refusal(message: &Message) -> Option<Refused> {
    let reply = || Reply::new(554, (5, 4, 6), "The message goes round in a loop");
    (message.hops > limits::HOPS).then(|| Refused { reply: reply(), why: None })
}

/// Decides from the checks alone whether a message is accepted, and where it goes.
///
/// # Errors
/// The refusal of a message that is not accepted.
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
    // RFC 5322 §3.6. RFC 9989 §11.5 names the attack: different programs show different authors.
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
        // The policy is known, but not whether it applies to the message.
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

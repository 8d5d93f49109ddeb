//! Which extensions a session offers (RFC 5321 §2.2), and which parameters may come with them:
//! those that are honoured, no others.

use crate::{
    parameters,
    profile::{Profile, Service},
    words,
};
use posta_mail::{
    Reply, ReversePath,
    envelope::{Hold, MailParameters},
};

/// How far a session has come, as far as the offer depends on it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Standing {
    pub(crate) secured: bool,
    pub(crate) may_authenticate: bool,
    pub(crate) authenticated: bool,
    pub(crate) trusted: bool,
}

/// The attributes that a trusted client may name for the client it speaks for.
pub(crate) const XCLIENT: &str = "XCLIENT NAME ADDR PORT PROTO HELO LOGIN DESTADDR DESTPORT";

/// Returns the lines of the reply to EHLO (RFC 5321 §4.1.1.1).
pub(crate) fn offer(profile: &Profile, standing: Standing) -> Vec<String> {
    let mut lines = vec![
        profile.hostname.to_string(),
        "PIPELINING".to_owned(),
        format!("SIZE {}", profile.message_size),
        "8BITMIME".to_owned(),
        "BINARYMIME".to_owned(),
        "CHUNKING".to_owned(),
        "SMTPUTF8".to_owned(),
        "ENHANCEDSTATUSCODES".to_owned(),
        "DSN".to_owned(),
        // RFC 2852 §3: no least time is asked for.
        "DELIVERBY".to_owned(),
        "MT-PRIORITY MIXER".to_owned(),
        // RFC 9422 §3.
        format!("LIMITS RCPTMAX={}", profile.limits.recipients),
    ];
    if let Some(longest) = profile.hold() {
        lines.push(format!("FUTURERELEASE {longest} 9999-12-31T23:59:59Z"));
    }
    if standing.may_authenticate && !standing.authenticated && !profile.mechanisms.is_empty() {
        lines.push(format!("AUTH {}", profile.mechanisms.join(" ")));
    }
    if standing.secured {
        lines.push("REQUIRETLS".to_owned());
    } else if profile.starttls {
        lines.push("STARTTLS".to_owned());
    }
    if standing.trusted {
        lines.push(XCLIENT.to_owned());
    }
    lines
}

/// Returns why a MAIL is refused in this session, before the host is asked.
pub(crate) fn objection(
    profile: &Profile,
    standing: Standing,
    reverse_path: &ReversePath,
    parameters: &MailParameters,
) -> Option<Reply> {
    let limit = profile.message_size;
    let MailParameters { size, utf8, require_tls, hold, .. } = parameters;
    if !utf8 && matches!(reverse_path, ReversePath::Address(address) if !address.is_ascii()) {
        return Some(words::needs_utf8());
    }
    if size.is_some_and(|size| size > limit) {
        return Some(words::too_big(limit));
    }
    // RFC 8689 §2: only within TLS.
    if *require_tls && !standing.secured {
        return Some(parameters::unknown());
    }
    match (hold, profile.hold()) {
        (Some(_), None) => Some(parameters::unknown()),
        (Some(Hold::For(seconds)), Some(longest)) if *seconds > longest => {
            Some(words::held_too_long(longest))
        }
        _ => None,
    }
}

impl Profile {
    /// Returns the seconds for which a message may be held: RFC 4865 §3 is for submission alone.
    fn hold(&self) -> Option<u32> {
        (self.service == Service::Submission).then_some(self.limits.hold)
    }
}

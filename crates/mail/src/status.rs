//! Replies: reply codes (RFC 5321 §4.2), enhanced status codes (RFC 3463) and text.

use std::{borrow::Cow, fmt};

/// A three-digit SMTP reply code, 200 to 599.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ReplyCode(u16);

/// An enhanced status code, `class.subject.detail` (RFC 3463 §2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EnhancedStatus {
    /// The class: 2 (success), 4 (persistent transient failure) or 5 (permanent failure).
    pub class: u8,
    /// The subject: 1 addressing, 2 mailbox, 3 system, 4 network, 5 protocol, 6 content, 7 security.
    pub subject: u16,
    /// The condition within the subject.
    pub detail: u16,
}

/// A reply to a command: a code, an enhanced status code if there is one, and a text for a person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// The reply code, on which programs act.
    pub code: ReplyCode,
    /// The enhanced status code, which programs report.
    pub status: Option<EnhancedStatus>,
    /// The text that people read, without CR. The lines of a longer reply that came from another server
    /// are joined with LF.
    pub text: Cow<'static, str>,
}

impl ReplyCode {
    /// Returns the reply code with this number; none unless the number is 200 to 599.
    #[must_use]
    pub const fn new(code: u16) -> Option<Self> {
        if code >= 200 && code < 600 { Some(Self(code)) } else { None }
    }

    /// Returns the number.
    #[must_use]
    pub const fn get(self) -> u16 {
        self.0
    }

    /// Returns whether the code is 2yz: the command succeeded.
    #[must_use]
    pub const fn is_positive(self) -> bool {
        self.0 / 100 == 2
    }

    /// Returns whether the code is 3yz: the server expects more, such as the content after 354.
    #[must_use]
    pub const fn is_intermediate(self) -> bool {
        self.0 / 100 == 3
    }

    /// Returns whether the code is 4yz: the command failed, and trying later may help.
    #[must_use]
    pub const fn is_transient(self) -> bool {
        self.0 / 100 == 4
    }

    /// Returns whether the code is 5yz: the command failed, and trying again will not help.
    #[must_use]
    pub const fn is_permanent(self) -> bool {
        self.0 / 100 == 5
    }
}

impl Reply {
    /// Makes a reply with an enhanced status code.
    ///
    /// ```
    /// use posta_mail::Reply;
    /// assert_eq!(Reply::new(250, (2, 1, 0), "Ok").to_string(), "250 2.1.0 Ok");
    /// ```
    #[must_use]
    pub fn new(code: u16, status: (u8, u16, u16), text: impl Into<Cow<'static, str>>) -> Self {
        let (class, subject, detail) = status;
        Self {
            code: ReplyCode(code),
            status: Some(EnhancedStatus { class, subject, detail }),
            text: text.into(),
        }
    }

    /// Makes a reply without an enhanced status code: greetings, EHLO, 221 and 354 (RFC 2034 §4).
    #[must_use]
    pub fn plain(code: u16, text: impl Into<Cow<'static, str>>) -> Self {
        Self { code: ReplyCode(code), status: None, text: text.into() }
    }
}

impl fmt::Display for ReplyCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl fmt::Display for EnhancedStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.class, self.subject, self.detail)
    }
}

impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", self.code)?;
        if let Some(status) = self.status {
            write!(f, "{status} ")?;
        }
        f.write_str(&self.text)
    }
}

//! The commands of RFC 5321 §4.1.1, parsed once.

use crate::{parameters, words};
use posta_mail::{
    ClientAddress, ForwardPath, PathError, Reply, ReversePath,
    envelope::{MailParameters, RecipientParameters, from_xtext},
};
use std::{borrow::Cow, net::IpAddr};

/// A command line that can be parsed.
#[derive(Debug, PartialEq, Eq)]
pub enum SmtpCommand<'a> {
    /// HELO, EHLO or LHLO with the client's name for itself. Octets that no name has are replaced by `?`.
    Hello(HelloVerb, Cow<'a, str>),
    /// AUTH with a mechanism in upper case and an initial response in base64 (RFC 4954 §4).
    Auth(String, Option<&'a [u8]>),
    /// MAIL.
    Mail(ReversePath, MailParameters),
    /// RCPT.
    Rcpt(ForwardPath, RecipientParameters),
    /// DATA.
    Data,
    /// BDAT with the number of octets that follow, and whether they are the last (RFC 3030 §2).
    Bdat(u64, bool),
    /// RSET.
    Rset,
    /// NOOP.
    Noop,
    /// VRFY with a name or an address.
    Vrfy(&'a str),
    /// EXPN with the name of a list.
    Expn(&'a str),
    /// XCLIENT.
    Xclient(Forwarded),
    /// HELP.
    Help,
    /// QUIT.
    Quit,
    /// STARTTLS (RFC 3207).
    StartTls,
}

/// Which greeting the client used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HelloVerb {
    /// HELO: no extensions.
    Helo,
    /// EHLO.
    Ehlo,
    /// LHLO (RFC 2033 §4.1).
    Lhlo,
}

/// The client's hello.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hello {
    /// The command that the client used.
    pub verb: HelloVerb,
    /// The client's name for itself. Letters, digits, `.-_[]:` only.
    pub name: String,
}

/// The beginning of a mail transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mail {
    /// The sender's address, to which reports about the message go.
    pub reverse_path: ReversePath,
    /// The parameters of the command.
    pub parameters: MailParameters,
}

/// A recipient of a mail transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnvelopeRecipient {
    /// The recipient's address.
    pub path: ForwardPath,
    /// The parameters of the command.
    pub parameters: RecipientParameters,
}

/// The attributes of the client for which a trusted client speaks, in place of those of the connection
/// (Postfix's XCLIENT).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Forwarded {
    /// `ADDR=`: the client's address; none if that stays as it was.
    pub client: Option<ClientAddress>,
    /// `LOGIN=`: the account that the client has logged in to, if any. A missing attribute means none: a
    /// proxy that reuses a connection must not hand on the login of the client before.
    pub login: Option<String>,
}

/// Octets in the name that a client gives itself: a domain or a literal (RFC 5321 §4.1.1.1), read
/// leniently, for machines without a name call themselves `pc_client`, `(none)` or `Ana's PC`.
const HELLO_NAME: usize = 255;

impl<'a> SmtpCommand<'a> {
    /// Parses a line without its CRLF.
    ///
    /// # Errors
    /// The reply that refuses it.
    pub fn parse(line: &'a [u8]) -> Result<Self, Reply> {
        let end = line.iter().position(|&octet| octet == b' ').unwrap_or(line.len());
        let (verb, rest) = line.split_at(end);
        let argument = trimmed(rest);
        let mut folded = [0; 8];
        let Some(folded) = folded.get_mut(..verb.len()) else { return Err(unknown_command()) };
        folded.copy_from_slice(verb);
        folded.make_ascii_uppercase();
        match &*folded {
            b"HELO" => Ok(Self::Hello(HelloVerb::Helo, hello_name(argument)?)),
            b"EHLO" => Ok(Self::Hello(HelloVerb::Ehlo, hello_name(argument)?)),
            b"LHLO" => Ok(Self::Hello(HelloVerb::Lhlo, hello_name(argument)?)),
            b"MAIL" => mail(argument),
            b"RCPT" => rcpt(argument),
            b"AUTH" => auth(argument),
            b"BDAT" => bdat(argument),
            b"DATA" => without_argument(Self::Data, argument),
            b"RSET" => without_argument(Self::Rset, argument),
            b"QUIT" => Ok(Self::Quit),
            b"STARTTLS" => without_argument(Self::StartTls, argument),
            b"NOOP" => Ok(Self::Noop),
            b"HELP" => Ok(Self::Help),
            b"VRFY" => name_argument(argument).map(Self::Vrfy),
            b"EXPN" => name_argument(argument).map(Self::Expn),
            b"XCLIENT" => xclient(argument).map(Self::Xclient),
            // RFC 5321 appendix F: they were never needed.
            b"SEND" | b"SOML" | b"SAML" | b"TURN" => Err(words::not_implemented()),
            _ => Err(unknown_command()),
        }
    }
}

/// Returns an argument without the white space around it, of which there may be some at the end of a
/// line (RFC 5321 §4.1.1). Other octets that ASCII counts among the blanks belong to the argument.
fn trimmed(mut argument: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = argument {
        argument = rest;
    }
    argument
}

fn unknown_command() -> Reply {
    Reply::new(500, (5, 5, 2), "Command not recognised")
}

fn without_argument<'a>(
    command: SmtpCommand<'a>,
    argument: &[u8],
) -> Result<SmtpCommand<'a>, Reply> {
    if argument.is_empty() {
        Ok(command)
    } else {
        Err(words::bad_argument("This command takes no argument"))
    }
}

/// Reads the client's name for itself. The name lands in our Received field, so only octets that a domain or
/// a literal can have are let through.
fn hello_name(argument: &[u8]) -> Result<Cow<'_, str>, Reply> {
    let fits = |octet: &u8| octet.is_ascii_alphanumeric() || b".-_[]:".contains(octet);
    if argument.is_empty() || argument.len() > HELLO_NAME {
        return Err(words::bad_argument("Say who you are: a domain or an address literal"));
    }
    Ok(match str::from_utf8(argument) {
        Ok(name) if argument.iter().all(fits) => Cow::Borrowed(name),
        _ => argument
            .iter()
            .map(|octet| if fits(octet) { char::from(*octet) } else { '?' })
            .collect(),
    })
}

/// Returns the argument after `MAIL FROM:` or `RCPT TO:`. The grammar has no spaces after the colon, but
/// some clients send them.
fn after_keyword<'a>(argument: &'a [u8], keyword: &[u8]) -> Option<&'a [u8]> {
    let (start, rest) = argument.split_at_checked(keyword.len())?;
    start.eq_ignore_ascii_case(keyword).then(|| rest.trim_ascii_start())
}

fn mail(argument: &[u8]) -> Result<SmtpCommand<'_>, Reply> {
    let Some(path) = after_keyword(argument, b"FROM:") else {
        return Err(words::bad_argument("Write MAIL FROM:<address>"));
    };
    let (path, rest) = ReversePath::parse(path).map_err(|error| bad_path(error, 7))?;
    Ok(SmtpCommand::Mail(path, parameters::mail(rest)?))
}

fn rcpt(argument: &[u8]) -> Result<SmtpCommand<'_>, Reply> {
    let Some(path) = after_keyword(argument, b"TO:") else {
        return Err(words::bad_argument("Write RCPT TO:<address>"));
    };
    let (path, rest) = ForwardPath::parse(path).map_err(|error| bad_path(error, 3))?;
    Ok(SmtpCommand::Rcpt(path, parameters::recipient(rest)?))
}

/// Returns the argument of VRFY or EXPN, without angle brackets: any words (RFC 5321 §4.1.1.6).
fn name_argument(argument: &[u8]) -> Result<&str, Reply> {
    match str::from_utf8(argument) {
        Ok(name) if !name.is_empty() => {
            Ok(name.strip_prefix('<').and_then(|name| name.strip_suffix('>')).unwrap_or(name))
        }
        _ => Err(words::bad_argument("Name an address")),
    }
}

/// Reads the attributes of XCLIENT: `NAME=value`, the value in xtext or one of two words for a missing one.
fn xclient(argument: &[u8]) -> Result<Forwarded, Reply> {
    let wrong = || words::bad_argument("XCLIENT takes attributes, such as ADDR=192.0.2.1");
    let text = str::from_utf8(argument).map_err(|_| wrong())?;
    let mut forwarded = Forwarded::default();
    for attribute in text.split_ascii_whitespace() {
        let (name, value) = attribute.split_once('=').ok_or_else(wrong)?;
        let value = from_xtext(value).ok_or_else(wrong)?;
        let unknown = matches!(value.as_str(), "[UNAVAILABLE]" | "[TEMPUNAVAIL]");
        let value = Some(value).filter(|_| !unknown);
        match name.to_ascii_uppercase().as_str() {
            "ADDR" => {
                forwarded.client = Some(match value {
                    None => ClientAddress::Unknown,
                    Some(value) => {
                        let address = value.strip_prefix("IPV6:").unwrap_or(&value);
                        address.parse::<IpAddr>().map_err(|_| wrong())?.into()
                    }
                });
            }
            "LOGIN" => forwarded.login = value,
            // The client will say its own hello; nothing here depends on the others.
            "HELO" | "NAME" | "PORT" | "PROTO" | "DESTADDR" | "DESTPORT" | "REVERSE_NAME" => {}
            _ => return Err(wrong()),
        }
    }
    Ok(forwarded)
}

fn auth(argument: &[u8]) -> Result<SmtpCommand<'_>, Reply> {
    let mut words = argument.split(|&octet| octet == b' ').filter(|word| !word.is_empty());
    let mechanism = words.next().and_then(|word| str::from_utf8(word).ok());
    let Some(mechanism) = mechanism else {
        return Err(words::bad_argument("AUTH needs a mechanism"));
    };
    let initial = words.next();
    if words.next().is_some() {
        return Err(words::bad_argument("AUTH takes a mechanism and an initial response"));
    }
    Ok(SmtpCommand::Auth(mechanism.to_ascii_uppercase(), initial))
}

fn bdat(argument: &[u8]) -> Result<SmtpCommand<'_>, Reply> {
    let (size, last) = match argument.iter().position(|&octet| octet == b' ') {
        None => (argument, false),
        Some(at) if trimmed(&argument[at..]).eq_ignore_ascii_case(b"LAST") => {
            (&argument[..at], true)
        }
        Some(_) => return Err(words::bad_argument("Write BDAT octets, or BDAT octets LAST")),
    };
    Ok(SmtpCommand::Bdat(
        str::from_utf8(size)
            .ok()
            .and_then(parameters::number)
            .ok_or_else(|| words::bad_argument("BDAT needs a number of octets"))?,
        last,
    ))
}

/// Returns the refusal of an address. `detail` says whose it is: X.1.3 the destination's, X.1.7 the sender's
/// (RFC 3463 §3.2).
fn bad_path(error: PathError, detail: u16) -> Reply {
    let code = if matches!(error, PathError::Address(_)) { 553 } else { 501 };
    Reply::new(code, (5, 1, detail), error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use posta_mail::envelope::Body;
    use proptest::prelude::*;

    fn refused(line: &str) -> u16 {
        SmtpCommand::parse(line.as_bytes()).unwrap_err().code.get()
    }

    #[test]
    fn commands_are_read_without_case() {
        assert_eq!(SmtpCommand::parse(b"data"), Ok(SmtpCommand::Data));
        assert_eq!(SmtpCommand::parse(b"QuIt "), Ok(SmtpCommand::Quit));
        assert_eq!(
            SmtpCommand::parse(b"helo pc_client"),
            Ok(SmtpCommand::Hello(HelloVerb::Helo, "pc_client".into()))
        );
        assert_eq!(
            SmtpCommand::parse("EHLO (none) Ana's PC ă\0\r\"".as_bytes()),
            Ok(SmtpCommand::Hello(HelloVerb::Ehlo, "?none??Ana?s?PC??????".into())),
            "nothing in it reaches out of our Received field"
        );
        assert_eq!(SmtpCommand::parse(b"QUIT now"), Ok(SmtpCommand::Quit));
        let Ok(SmtpCommand::Mail(path, parameters)) =
            SmtpCommand::parse(b"mail from: <a@x.test> size=12 BODY=8bitmime")
        else {
            panic!("not MAIL");
        };
        assert_eq!(path.to_string(), "<a@x.test>");
        assert_eq!((parameters.size, parameters.body), (Some(12), Body::EightBitMime));
    }

    #[test]
    fn what_cannot_be_done_is_told_apart() {
        for (line, code) in [
            ("", 500),
            ("XYZZY", 500),
            ("STARTTLSX", 500),
            ("MAILFROM:<a@x.test>", 500),
            ("EXPN", 501),
            ("XCLIENT ADDR", 501),
            ("XCLIENT ADDR=x", 501),
            ("XCLIENT WHAT=x", 501),
            ("TURN", 502),
            ("HELO", 501),
            ("EHLO  ", 501),
            ("DATA now", 501),
            ("VRFY", 501),
            ("MAIL <a@x.test>", 501),
            ("MAIL FROM:", 501),
            ("MAIL FROM:SIZE=1", 553),
            ("MAIL FROM:<a>", 553),
            ("MAIL FROM:<a@x.test>SIZE=1", 501),
            ("MAIL FROM:<a@x.test> SIZE=-1", 501),
            ("MAIL FROM:<a@x.test> SIZE=99999999999999999999999", 501),
            ("MAIL FROM:<a@x.test> BODY=9BIT", 501),
            ("MAIL FROM:<a@x.test> X=1", 555),
            ("AUTH", 501),
            ("AUTH PLAIN a b", 501),
            ("BDAT", 501),
            ("BDAT x", 501),
            ("BDAT 1 FIRST", 501),
            ("BDAT 99999999999999999999999", 501),
            ("MAIL FROM:<a@x.test> SMTPUTF8=1", 555),
            ("RCPT TO:<>", 553),
            ("RCPT TO:<a@x.test> X", 555),
        ] {
            assert_eq!(refused(line), code, "{line}");
        }
    }

    proptest! {
        #[test]
        fn any_line_is_parsed_or_refused(line: Vec<u8>) {
            let _ = SmtpCommand::parse(&line);
        }
    }
}

//! The commands of RFC 5321 §4.1.1, parsed once.

use posta_mail::{ForwardPath, PathError, Reply, ReversePath};

/// A command line that says something.
#[derive(Debug, PartialEq, Eq)]
pub enum Command<'a> {
    /// HELO, EHLO or LHLO with the client's name for itself.
    Hello(HelloVerb, &'a str),
    /// AUTH with a mechanism in upper case and an initial response in base64 (RFC 4954 §4).
    Auth(String, Option<&'a [u8]>),
    /// MAIL.
    Mail(ReversePath, MailParameters),
    /// RCPT.
    Rcpt(ForwardPath),
    /// DATA.
    Data,
    /// BDAT with the octets that follow, and whether they are the last (RFC 3030 §2).
    Bdat(u64, bool),
    /// RSET.
    Rset,
    /// NOOP.
    Noop,
    /// VRFY.
    Vrfy,
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

/// The parameters of MAIL.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MailParameters {
    /// `SIZE=`: octets the client means to send (RFC 1870).
    pub size: Option<u64>,
    /// `BODY=`: what the content may hold (RFC 6152, RFC 3030 §3).
    pub body: Body,
    /// `SMTPUTF8`: addresses and header fields may be in UTF-8 (RFC 6531 §3.4).
    pub utf8: bool,
    /// Whether there was any parameter at all.
    pub extended: bool,
}

/// What the content may hold.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Body {
    /// ASCII only.
    #[default]
    SevenBit,
    /// Octets of 128 and above too.
    EightBitMime,
    /// Any octets, lines or not.
    BinaryMime,
}

/// Octets in the name that a client gives itself: a domain or a literal (RFC 5321 §4.1.1.1), read
/// leniently, for home machines call themselves `pc_client`.
const HELLO_NAME: usize = 255;

impl<'a> Command<'a> {
    /// Parses a line without its CRLF.
    ///
    /// # Errors
    /// The reply that refuses it.
    pub fn parse(line: &'a [u8]) -> Result<Self, Reply> {
        let end = line.iter().position(|&octet| octet == b' ').unwrap_or(line.len());
        let (verb, rest) = line.split_at(end);
        let argument = rest.trim_ascii();
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
            b"QUIT" => without_argument(Self::Quit, argument),
            b"STARTTLS" => without_argument(Self::StartTls, argument),
            b"NOOP" => Ok(Self::Noop),
            b"HELP" => Ok(Self::Help),
            b"VRFY" if argument.is_empty() => Err(bad_argument("VRFY needs a name or an address")),
            b"VRFY" => Ok(Self::Vrfy),
            b"EXPN" | b"SEND" | b"SOML" | b"SAML" | b"TURN" => {
                Err(Reply::new(502, (5, 5, 1), "Command not implemented"))
            }
            _ => Err(unknown_command()),
        }
    }
}

fn unknown_command() -> Reply {
    Reply::new(500, (5, 5, 2), "Command not recognised")
}

fn bad_argument(text: &'static str) -> Reply {
    Reply::new(501, (5, 5, 4), text)
}

fn without_argument<'a>(command: Command<'a>, argument: &[u8]) -> Result<Command<'a>, Reply> {
    if argument.is_empty() {
        Ok(command)
    } else {
        Err(bad_argument("This command takes no argument"))
    }
}

/// The name lands in our Received field, so only what a domain or literal can hold is let through.
fn hello_name(argument: &[u8]) -> Result<&str, Reply> {
    let fits = |octet: &u8| octet.is_ascii_alphanumeric() || b".-_[]:".contains(octet);
    match str::from_utf8(argument) {
        Ok(name) if name.is_empty() || name.len() > HELLO_NAME => {
            Err(bad_argument("Say who you are: a domain or an address literal"))
        }
        Ok(name) if argument.iter().all(fits) => Ok(name),
        _ => Err(bad_argument("That is neither a domain nor an address literal")),
    }
}

/// What follows `MAIL FROM:` or `RCPT TO:`. Spaces after the colon are not in the grammar, but in
/// the wild.
fn after_keyword<'a>(argument: &'a [u8], keyword: &[u8]) -> Option<&'a [u8]> {
    let (start, rest) = argument.split_at_checked(keyword.len())?;
    start.eq_ignore_ascii_case(keyword).then(|| rest.trim_ascii_start())
}

fn mail(argument: &[u8]) -> Result<Command<'_>, Reply> {
    let Some(path) = after_keyword(argument, b"FROM:") else {
        return Err(bad_argument("Write MAIL FROM:<address>"));
    };
    let (path, rest) = ReversePath::parse(path).map_err(|error| bad_path(error, 7))?;
    let mut parameters = MailParameters::default();
    for parameter in split_parameters(rest)? {
        parameters.extended = true;
        let (keyword, value) = match parameter.iter().position(|&octet| octet == b'=') {
            Some(at) => (&parameter[..at], Some(&parameter[at + 1..])),
            None => (parameter, None),
        };
        if keyword.eq_ignore_ascii_case(b"SIZE") {
            parameters.size = Some(size(value)?);
        } else if keyword.eq_ignore_ascii_case(b"BODY") {
            parameters.body = body(value)?;
        } else if keyword.eq_ignore_ascii_case(b"SMTPUTF8") && value.is_none() {
            parameters.utf8 = true;
        } else if keyword.eq_ignore_ascii_case(b"AUTH") && value.is_some() {
            // RFC 4954 §5: who submitted it first. We trust no client to say so, and pass it on to
            // nobody.
        } else {
            return Err(unknown_parameter());
        }
    }
    Ok(Command::Mail(path, parameters))
}

fn rcpt(argument: &[u8]) -> Result<Command<'_>, Reply> {
    let Some(path) = after_keyword(argument, b"TO:") else {
        return Err(bad_argument("Write RCPT TO:<address>"));
    };
    let (path, rest) = ForwardPath::parse(path).map_err(|error| bad_path(error, 3))?;
    match split_parameters(rest)?.next() {
        None => Ok(Command::Rcpt(path)),
        Some(_) => Err(unknown_parameter()),
    }
}

fn auth(argument: &[u8]) -> Result<Command<'_>, Reply> {
    let mut words = argument.split(|&octet| octet == b' ').filter(|word| !word.is_empty());
    let mechanism = words.next().and_then(|word| str::from_utf8(word).ok());
    let Some(mechanism) = mechanism else {
        return Err(bad_argument("AUTH needs a mechanism"));
    };
    let initial = words.next();
    if words.next().is_some() {
        return Err(bad_argument("AUTH takes a mechanism and an initial response"));
    }
    Ok(Command::Auth(mechanism.to_ascii_uppercase(), initial))
}

fn bdat(argument: &[u8]) -> Result<Command<'_>, Reply> {
    let (size, last) = match argument.iter().position(|&octet| octet == b' ') {
        None => (argument, false),
        Some(at) if argument[at..].trim_ascii().eq_ignore_ascii_case(b"LAST") => {
            (&argument[..at], true)
        }
        Some(_) => return Err(bad_argument("Write BDAT octets, or BDAT octets LAST")),
    };
    Ok(Command::Bdat(
        number(size).ok_or_else(|| bad_argument("BDAT needs a number of octets"))?,
        last,
    ))
}

fn split_parameters(rest: &[u8]) -> Result<impl Iterator<Item = &[u8]>, Reply> {
    if !rest.is_empty() && rest[0] != b' ' {
        return Err(bad_argument("A space belongs between the path and its parameters"));
    }
    Ok(rest.split(|&octet| octet == b' ').filter(|parameter| !parameter.is_empty()))
}

/// RFC 1870 §4: `size-value` is 1 to 20 digits.
fn size(value: Option<&[u8]>) -> Result<u64, Reply> {
    value.and_then(number).ok_or_else(|| bad_argument("SIZE is a number of octets"))
}

fn number(digits: &[u8]) -> Option<u64> {
    let digits = Some(digits).filter(|digits| digits.iter().all(u8::is_ascii_digit))?;
    str::from_utf8(digits).ok()?.parse().ok()
}

fn body(value: Option<&[u8]>) -> Result<Body, Reply> {
    match value {
        Some(value) if value.eq_ignore_ascii_case(b"7BIT") => Ok(Body::SevenBit),
        Some(value) if value.eq_ignore_ascii_case(b"8BITMIME") => Ok(Body::EightBitMime),
        Some(value) if value.eq_ignore_ascii_case(b"BINARYMIME") => Ok(Body::BinaryMime),
        _ => Err(bad_argument("BODY is 7BIT, 8BITMIME or BINARYMIME")),
    }
}

/// RFC 5321 §4.1.1.11: 555 for parameters not recognised or not implemented.
pub(crate) fn unknown_parameter() -> Reply {
    Reply::new(555, (5, 5, 4), "Parameter not recognised")
}

/// `detail` tells whose address it is: X.1.3 the destination's, X.1.7 the sender's (RFC 3463 §3.2).
fn bad_path(error: PathError, detail: u16) -> Reply {
    let code = if matches!(error, PathError::Address(_)) { 553 } else { 501 };
    Reply::new(code, (5, 1, detail), error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn refused(line: &str) -> u16 {
        Command::parse(line.as_bytes()).unwrap_err().code.get()
    }

    #[test]
    fn commands_are_read_without_case() {
        assert_eq!(Command::parse(b"data"), Ok(Command::Data));
        assert_eq!(Command::parse(b"QuIt "), Ok(Command::Quit));
        assert_eq!(
            Command::parse(b"helo pc_client"),
            Ok(Command::Hello(HelloVerb::Helo, "pc_client"))
        );
        let Ok(Command::Mail(path, parameters)) =
            Command::parse(b"mail from: <a@x.test> size=12 BODY=8bitmime")
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
            ("EXPN staff", 502),
            ("TURN", 502),
            ("HELO", 501),
            ("HELO a b", 501),
            ("HELO a(b)", 501),
            ("DATA now", 501),
            ("VRFY", 501),
            ("MAIL <a@x.test>", 501),
            ("MAIL FROM:a@x.test", 501),
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
            let _ = Command::parse(&line);
        }
    }
}

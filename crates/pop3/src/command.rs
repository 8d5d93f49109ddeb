//! The commands of RFC 1939, RFC 2449, RFC 2595, RFC 5034 and RFC 6856, parsed once.

use posta_mail::{Secret, limits};

/// A command line that can be parsed.
#[derive(Debug, PartialEq, Eq)]
pub enum Pop3Command {
    /// CAPA (RFC 2449).
    Capa,
    /// LANG, with a language's tag or without (RFC 6856 §3).
    Lang(Option<String>),
    /// QUIT.
    Quit,
    /// A command of the AUTHORIZATION state (RFC 1939 §4).
    Login(LoginCommand),
    /// A command of the TRANSACTION state (RFC 1939 §5).
    Maildrop(MaildropCommand),
}

/// A command that is valid before the login only.
#[derive(Debug, PartialEq, Eq)]
pub enum LoginCommand {
    /// USER.
    User(String),
    /// PASS. The password may hold spaces (RFC 1939 §7).
    Pass(Secret),
    /// APOP with a name and a digest (RFC 1939 §7).
    Apop(String, [u8; 16]),
    /// AUTH (RFC 5034 §4): a mechanism in upper case, and an initial response in base64. Without a
    /// mechanism it asks which there are, as older clients do.
    Auth(Option<String>, Option<Vec<u8>>),
    /// STLS (RFC 2595 §4).
    Stls,
    /// UTF8 (RFC 6856 §2).
    Utf8,
}

/// A command that is valid after the login only. Message numbers are as the client gave them: from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MaildropCommand {
    /// STAT.
    Stat,
    /// LIST, of all messages or one.
    List(Option<u32>),
    /// UIDL, of all messages or one.
    Uidl(Option<u32>),
    /// RETR.
    Retr(u32),
    /// TOP with a number of body lines.
    Top(u32, u64),
    /// DELE.
    Dele(u32),
    /// NOOP.
    Noop,
    /// RSET.
    Rset,
}

impl From<LoginCommand> for Pop3Command {
    fn from(command: LoginCommand) -> Self {
        Self::Login(command)
    }
}

impl From<MaildropCommand> for Pop3Command {
    fn from(command: MaildropCommand) -> Self {
        Self::Maildrop(command)
    }
}

/// Why a line is no command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Nonsense {
    /// There is no such command.
    Unknown,
    /// The line is longer than a command may be.
    TooLong,
    /// USER without a name.
    NoName,
    /// USER with a name that is no printable text.
    NoText,
    /// An argument where there may be none.
    Argument,
    /// No message number where there must be one.
    NoNumber,
    /// TOP without its two numbers.
    Top,
    /// APOP without name and digest.
    Apop,
    /// AUTH with too many arguments.
    Auth,
}

impl Pop3Command {
    /// Parses a line without its CRLF.
    ///
    /// # Errors
    /// Fails when the line is no command.
    pub fn parse(line: &[u8]) -> Result<Self, Nonsense> {
        let end = line.iter().position(|&octet| octet == b' ').unwrap_or(line.len());
        let (verb, rest) = line.split_at(end);
        let argument = rest.get(1..).unwrap_or_default();
        // RFC 5034 §4 would have a long initial response sent by itself; not all clients do.
        let is_long = line.len() + 2 > limits::POP3_COMMAND_LINE;
        if is_long && !verb.eq_ignore_ascii_case(b"AUTH") {
            return Err(Nonsense::TooLong);
        }
        let mut folded = [0; 4];
        if verb.len() > folded.len() {
            return Err(Nonsense::Unknown);
        }
        folded[..verb.len()].copy_from_slice(verb);
        folded.make_ascii_uppercase();
        match &folded {
            b"USER" => user(trimmed(argument)),
            b"PASS" => Ok(LoginCommand::Pass(Secret::new(argument)).into()),
            b"LIST" => optional(argument, MaildropCommand::List),
            b"UIDL" => optional(argument, MaildropCommand::Uidl),
            b"RETR" => Ok(MaildropCommand::Retr(number(trimmed(argument))?).into()),
            b"DELE" => Ok(MaildropCommand::Dele(number(trimmed(argument))?).into()),
            b"TOP\0" => top(trimmed(argument)),
            b"STAT" => bare(MaildropCommand::Stat, argument),
            b"NOOP" => bare(MaildropCommand::Noop, argument),
            b"RSET" => bare(MaildropCommand::Rset, argument),
            b"QUIT" => bare(Self::Quit, argument),
            b"CAPA" => bare(Self::Capa, argument),
            b"STLS" => bare(LoginCommand::Stls, argument),
            b"APOP" => apop(trimmed(argument)),
            b"AUTH" => auth(trimmed(argument)),
            b"UTF8" => bare(LoginCommand::Utf8, argument),
            b"LANG" => lang(trimmed(argument)),
            _ => Err(Nonsense::Unknown),
        }
    }
}

/// Returns an argument without the spaces around it. Nothing but a space separates (RFC 1939 §3): a
/// tab is an octet of the argument, or one account had two names, each with a count of guesses.
fn trimmed(mut argument: &[u8]) -> &[u8] {
    while let [b' ', rest @ ..] | [rest @ .., b' '] = argument {
        argument = rest;
    }
    argument
}

fn user(argument: &[u8]) -> Result<Pop3Command, Nonsense> {
    login_name(argument).map(|name| LoginCommand::User(name).into())
}

/// Returns the name of somebody who logs in. It is printable (RFC 1939 §3), in UTF-8 (RFC 6856 §2.2).
fn login_name(argument: &[u8]) -> Result<String, Nonsense> {
    match str::from_utf8(argument) {
        Ok("") => Err(Nonsense::NoName),
        Ok(name) if !name.contains(char::is_control) => Ok(name.to_owned()),
        _ => Err(Nonsense::NoText),
    }
}

fn bare(command: impl Into<Pop3Command>, argument: &[u8]) -> Result<Pop3Command, Nonsense> {
    if trimmed(argument).is_empty() { Ok(command.into()) } else { Err(Nonsense::Argument) }
}

fn optional(
    argument: &[u8],
    command: fn(Option<u32>) -> MaildropCommand,
) -> Result<Pop3Command, Nonsense> {
    match trimmed(argument) {
        b"" => Ok(command(None).into()),
        argument => Ok(command(Some(number(argument)?)).into()),
    }
}

fn top(argument: &[u8]) -> Result<Pop3Command, Nonsense> {
    let at = argument.iter().position(|&octet| octet == b' ').ok_or(Nonsense::Top)?;
    let lines = digits(trimmed(&argument[at..])).ok_or(Nonsense::Top)?;
    Ok(MaildropCommand::Top(number(&argument[..at])?, lines).into())
}

fn apop(argument: &[u8]) -> Result<Pop3Command, Nonsense> {
    // The name may hold spaces; the digest does not.
    let at = argument.iter().rposition(|&octet| octet == b' ').ok_or(Nonsense::Apop)?;
    let (name, digest) = (trimmed(&argument[..at]), &argument[at + 1..]);
    let name = login_name(name).map_err(|_| Nonsense::Apop)?;
    let mut octets = [0; 16];
    if digest.len() != 2 * octets.len() {
        return Err(Nonsense::Apop);
    }
    for (octet, digits) in octets.iter_mut().zip(digest.chunks(2)) {
        let digits = digits.iter().map(|&digit| char::from(digit).to_digit(16));
        for digit in digits {
            *octet = *octet << 4 | digit.ok_or(Nonsense::Apop)? as u8;
        }
    }
    Ok(LoginCommand::Apop(name, octets).into())
}

fn auth(argument: &[u8]) -> Result<Pop3Command, Nonsense> {
    if argument.is_empty() {
        return Ok(LoginCommand::Auth(None, None).into());
    }
    let mut words = argument.split(|&octet| octet == b' ').filter(|word| !word.is_empty());
    let (mechanism, initial) = (words.next().unwrap_or_default(), words.next());
    // RFC 4422 §3.1.
    let is_name = mechanism.iter().all(|octet| octet.is_ascii_graphic()) && mechanism.len() <= 20;
    if !is_name || words.next().is_some() {
        return Err(Nonsense::Auth);
    }
    let mechanism = String::from_utf8_lossy(mechanism).to_ascii_uppercase();
    Ok(LoginCommand::Auth(Some(mechanism), initial.map(<[u8]>::to_vec)).into())
}

fn lang(argument: &[u8]) -> Result<Pop3Command, Nonsense> {
    match str::from_utf8(argument) {
        Ok("") => Ok(Pop3Command::Lang(None)),
        Ok(tag) => Ok(Pop3Command::Lang(Some(tag.to_owned()))),
        Err(_) => Err(Nonsense::NoText),
    }
}

fn number(argument: &[u8]) -> Result<u32, Nonsense> {
    // A number too large for us is a number too large for the maildrop.
    let number = digits(argument).ok_or(Nonsense::NoNumber)?;
    Ok(u32::try_from(number).unwrap_or(u32::MAX))
}

fn digits(argument: &[u8]) -> Option<u64> {
    if argument.is_empty() || argument.len() > 19 || !argument.iter().all(u8::is_ascii_digit) {
        return None;
    }
    str::from_utf8(argument).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn commands_are_read_without_case() {
        for (line, command) in [
            ("user ana", LoginCommand::User("ana".into()).into()),
            ("PASS  two words ", LoginCommand::Pass(Secret::new(b" two words ")).into()),
            ("PASS", LoginCommand::Pass(Secret::new(b"")).into()),
            ("List", MaildropCommand::List(None).into()),
            ("LIST ", MaildropCommand::List(None).into()),
            ("LIST 7", MaildropCommand::List(Some(7)).into()),
            ("UIDL 7", MaildropCommand::Uidl(Some(7)).into()),
            ("top 1 0", MaildropCommand::Top(1, 0).into()),
            ("RETR 4294967296", MaildropCommand::Retr(u32::MAX).into()),
            ("apop ana b 00ff1000000000000000000000000009", {
                let mut digest = [0; 16];
                (digest[1], digest[2], digest[15]) = (0xff, 0x10, 9);
                LoginCommand::Apop("ana b".into(), digest).into()
            }),
            ("auth", LoginCommand::Auth(None, None).into()),
            ("auth plain", LoginCommand::Auth(Some("PLAIN".into()), None).into()),
            ("AUTH PLAIN =", LoginCommand::Auth(Some("PLAIN".into()), Some(b"=".to_vec())).into()),
            ("utf8", LoginCommand::Utf8.into()),
            ("LANG", Pop3Command::Lang(None)),
            ("LANG ro-RO", Pop3Command::Lang(Some("ro-RO".into()))),
        ] {
            assert_eq!(Pop3Command::parse(line.as_bytes()), Ok(command), "{line}");
        }
    }

    #[test]
    fn nonsense_is_refused() {
        for line in [
            "",
            "X",
            "RETRY 1",
            "USER",
            "RETR",
            "RETR x",
            "RETR -1",
            "RETR 1 2",
            "TOP 1",
            "TOP 1 x",
            "TOP 1 -1",
            "STAT 1",
            "QUIT now",
            "LIST x",
            "RETR 99999999999999999999",
            "APOP ana",
            "APOP 00000000000000000000000000000000",
            "APOP ana 0000000000000000000000000000000",
            "APOP ana 0000000000000000000000000000000x",
            "AUTH PLAIN = =",
            "AUTH A-MECHANISM-THAT-IS-LONGER-THAN-ANY",
            "UTF8 USER",
            "USER ana\t",
            "USER \tana",
            "USER a\u{85}na",
            "USER\tana",
            "APOP ana\t 00000000000000000000000000000000",
            "APOP ana 00000000000000000000000000000000\t",
            "AUTH PLAIN\t",
            "AUTH \tPLAIN",
            "RETR 1\t",
            "DELE \x0c1",
            "LIST \t",
            "LIST 1\t",
            "TOP 1 \t0",
            "TOP 1\t 0",
            "QUIT \t",
        ] {
            assert!(Pop3Command::parse(line.as_bytes()).is_err(), "{line:?}");
        }
    }

    proptest! {
        #[test]
        fn any_line_is_parsed_or_refused(line: Vec<u8>) {
            let _ = Pop3Command::parse(&line);
        }
    }
}

//! The commands of RFC 1939, RFC 2449 and RFC 2595, parsed once.

use posta_mail::Secret;

/// A command line that says something. Message numbers are as the client gave them: from 1.
#[derive(Debug, PartialEq, Eq)]
pub enum Command {
    /// USER.
    User(String),
    /// PASS. The password may hold spaces (RFC 1939 §7).
    Pass(Secret),
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
    /// QUIT.
    Quit,
    /// CAPA (RFC 2449).
    Capa,
    /// STLS (RFC 2595 §4).
    Stls,
}

impl Command {
    /// Parses a line without its CRLF.
    ///
    /// # Errors
    /// The words that refuse it.
    pub fn parse(line: &[u8]) -> Result<Self, &'static str> {
        let end = line.iter().position(|&octet| octet == b' ').unwrap_or(line.len());
        let (verb, rest) = line.split_at(end);
        let argument = rest.get(1..).unwrap_or_default();
        let mut folded = [0; 4];
        if verb.len() > folded.len() {
            return Err("unknown command");
        }
        folded[..verb.len()].copy_from_slice(verb);
        folded.make_ascii_uppercase();
        match &folded {
            b"USER" => user(argument.trim_ascii()),
            b"PASS" => Ok(Self::Pass(Secret::new(argument))),
            b"LIST" => optional(argument, Self::List),
            b"UIDL" => optional(argument, Self::Uidl),
            b"RETR" => Ok(Self::Retr(number(argument.trim_ascii())?)),
            b"DELE" => Ok(Self::Dele(number(argument.trim_ascii())?)),
            b"TOP\0" => top(argument.trim_ascii()),
            b"STAT" => bare(Self::Stat, argument),
            b"NOOP" => bare(Self::Noop, argument),
            b"RSET" => bare(Self::Rset, argument),
            b"QUIT" => bare(Self::Quit, argument),
            b"CAPA" => bare(Self::Capa, argument),
            b"STLS" => bare(Self::Stls, argument),
            _ => Err("unknown command"),
        }
    }
}

fn user(argument: &[u8]) -> Result<Command, &'static str> {
    match str::from_utf8(argument) {
        Ok("") => Err("USER needs a name"),
        Ok(name) => Ok(Command::User(name.to_owned())),
        Err(_) => Err("that name is no text"),
    }
}

fn bare(command: Command, argument: &[u8]) -> Result<Command, &'static str> {
    if argument.trim_ascii().is_empty() {
        Ok(command)
    } else {
        Err("this command takes no argument")
    }
}

fn optional(
    argument: &[u8],
    command: impl Fn(Option<u32>) -> Command,
) -> Result<Command, &'static str> {
    match argument.trim_ascii() {
        b"" => Ok(command(None)),
        argument => Ok(command(Some(number(argument)?))),
    }
}

fn top(argument: &[u8]) -> Result<Command, &'static str> {
    let usage = "TOP needs a message number and a number of lines";
    let at = argument.iter().position(|&octet| octet == b' ').ok_or(usage)?;
    let lines = digits(argument[at..].trim_ascii()).ok_or(usage)?;
    Ok(Command::Top(number(&argument[..at])?, lines))
}

fn number(argument: &[u8]) -> Result<u32, &'static str> {
    // A number too large for us is a number too large for the maildrop.
    let number = digits(argument).ok_or("a message number is needed")?;
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
            ("user ana", Command::User("ana".into())),
            ("PASS  two words ", Command::Pass(Secret::new(b" two words "))),
            ("PASS", Command::Pass(Secret::new(b""))),
            ("List", Command::List(None)),
            ("LIST ", Command::List(None)),
            ("LIST 7", Command::List(Some(7))),
            ("UIDL 7", Command::Uidl(Some(7))),
            ("top 1 0", Command::Top(1, 0)),
            ("RETR 4294967296", Command::Retr(u32::MAX)),
        ] {
            assert_eq!(Command::parse(line.as_bytes()), Ok(command), "{line}");
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
        ] {
            assert!(Command::parse(line.as_bytes()).is_err(), "{line}");
        }
    }

    proptest! {
        #[test]
        fn any_line_is_parsed_or_refused(line: Vec<u8>) {
            let _ = Command::parse(&line);
        }
    }
}

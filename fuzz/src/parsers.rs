//! Parsers: a value that was parsed can be printed, and parsed again with the same result.

use posta_mail::{Address, Domain, ForwardPath, ReversePath, visible::is_visible};
use posta_mime::convert::{Converter, HeaderSections, Survey, Unconvertible};
use posta_smtp::{
    command::SmtpCommand,
    reply::{ReplyError, ReplyReader},
};

pub(crate) fn command(octets: &[u8]) {
    match SmtpCommand::parse(octets) {
        Ok(SmtpCommand::Hello(_, name)) => {
            assert!(!name.contains(['\r', '\n', ' ', '(', ')']), "the name goes into Received");
        }
        Err(refusal) => {
            assert!(refusal.code.is_permanent(), "{refusal}");
            assert!(!refusal.text.contains(['\r', '\n']), "{refusal}");
        }
        Ok(_) => {}
    }
    let _ = posta_pop3::command::Pop3Command::parse(octets);
}

pub(crate) fn address(octets: &[u8]) {
    if let Ok(text) = str::from_utf8(octets) {
        if let Ok(address) = text.parse::<Address>() {
            assert_eq!(address.to_string().parse().as_ref(), Ok(&address));
            assert_eq!(address.folded().folded(), address.folded());
            assert!(!address.as_str().contains(['\r', '\n', '\0']), "{address}");
        }
        if let Ok(domain) = text.parse::<Domain>() {
            assert_eq!(domain.to_string().parse(), Ok(domain));
        }
    }
    if let Ok((path, rest)) = ReversePath::parse(octets) {
        assert!(rest.len() < octets.len());
        assert_eq!(ReversePath::parse(path.to_string().as_bytes()), Ok((path, &b""[..])));
    }
    if let Ok((path, rest)) = ForwardPath::parse(octets) {
        assert!(rest.len() < octets.len());
        assert_eq!(ForwardPath::parse(path.to_string().as_bytes()), Ok((path, &b""[..])));
    }
}

pub(crate) fn reply(octets: &[u8]) {
    let mut whole = ReplyReader::default();
    let mut piecemeal = ReplyReader::default();
    let mut rest = octets;
    // The octets are lent one at a time, after the remaining input: the replies and errors must be the
    // same.
    let (mut start, mut end) = (0, 0);
    loop {
        let expected = whole.next(&mut rest);
        let found = loop {
            let mut lent = &octets[start..end];
            let found = piecemeal.next(&mut lent);
            start = end - lent.len();
            if end == octets.len() || !matches!(found, Ok(None)) {
                break found;
            }
            end += 1;
        };
        assert_eq!(expected, found);
        match expected {
            Ok(Some(reply)) => {
                assert!((200..600).contains(&reply.code.get()));
                assert!(!reply.text.contains(|c: char| !is_visible(c) && c != '\n'), "{reply}");
            }
            Ok(None) | Err(ReplyError::Malformed | ReplyError::TooLong) => return,
        }
    }
}

pub(crate) fn convert(octets: &[u8]) {
    let Some((&size, message)) = octets.split_first() else { return };
    let whole = converted(message, message.len().max(1));
    assert_eq!(whole, converted(message, usize::from(size).max(1)), "however it is cut");
    let needs = need_utf8(message, message.len().max(1));
    assert_eq!(needs, need_utf8(message, usize::from(size).max(1)), "however it is cut");
    let Ok(converted_once) = whole else { return };
    assert!(converted_once.is_ascii() && !converted_once.contains(&0));
    let text = String::from_utf8_lossy(&converted_once).replace("\r\n", "");
    assert!(!text.contains(['\r', '\n']), "nothing but CRLF ends a line");
    let again = converted(&converted_once, converted_once.len().max(1));
    assert_eq!(again.as_ref(), Ok(&converted_once), "there is nothing more to convert");
}

fn need_utf8(message: &[u8], size: usize) -> bool {
    let mut sections = HeaderSections::default();
    message.chunks(size).for_each(|piece| sections.push(piece));
    sections.need_utf8()
}

fn converted(message: &[u8], size: usize) -> Result<Vec<u8>, Unconvertible> {
    let mut survey = Survey::default();
    message.chunks(size).for_each(|piece| survey.push(piece));
    let mut converter = Converter::new(survey.finish()?);
    let mut converted = Vec::new();
    message.chunks(size).for_each(|piece| converter.push(piece, &mut converted));
    converter.finish(&mut converted);
    Ok(converted)
}

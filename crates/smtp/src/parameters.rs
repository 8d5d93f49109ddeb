//! The parameters of MAIL and RCPT (RFC 5321 §4.1.2), each extension's read once.

use crate::words::bad_argument;
use posta_mail::{
    Reply, Timestamp,
    envelope::{
        Body, DeliverBy, Hold, Late, MailParameters, Notify, RecipientParameters, Return,
        from_xtext,
    },
};

/// Octets in an ENVID (RFC 3461 §4.4).
const ENVELOPE_ID: usize = 100;

/// Octets in an ORCPT (RFC 3461 §4.2).
const ORIGINAL: usize = 500;

/// Digits in a number of seconds: RFC 4865 §4 and RFC 2852 §4 both say 9.
const SECONDS_DIGITS: usize = 9;

/// Reads what follows MAIL's path.
pub(crate) fn mail(rest: &[u8]) -> Result<MailParameters, Reply> {
    let mut parameters = MailParameters::default();
    let mut said_body = None;
    for (keyword, value) in split(rest)? {
        match (keyword.to_ascii_uppercase().as_str(), value) {
            ("SIZE", value) => once(&mut parameters.size, size(value)?)?,
            ("BODY", value) => once(&mut said_body, body(value)?)?,
            ("SMTPUTF8", None) => parameters.utf8 = true,
            // RFC 4954 §5: who submitted it first. We trust no client to say so, and pass it on to
            // nobody.
            ("AUTH", Some(_)) => {}
            ("RET", Some(value)) => once(&mut parameters.ret, ret(value)?)?,
            ("ENVID", Some(value)) => once(&mut parameters.envelope_id, envelope_id(value)?)?,
            ("REQUIRETLS", None) => parameters.require_tls = true,
            ("HOLDFOR", Some(value)) => {
                let seconds = seconds(value).and_then(|seconds| u32::try_from(seconds).ok());
                let hold = seconds.map(Hold::For);
                once(&mut parameters.hold, hold.ok_or_else(|| bad("HOLDFOR is seconds"))?)?;
            }
            ("HOLDUNTIL", Some(value)) => {
                let time: Option<Timestamp> = value.parse().ok();
                let hold = time.map(Hold::Until);
                once(&mut parameters.hold, hold.ok_or_else(|| bad("HOLDUNTIL is a date-time"))?)?;
            }
            ("BY", Some(value)) => once(&mut parameters.by, by(value)?)?,
            ("MT-PRIORITY", Some(value)) => once(&mut parameters.priority, priority(value)?)?,
            _ => return Err(unknown()),
        }
    }
    parameters.body = said_body.unwrap_or_default();
    Ok(parameters)
}

/// Reads what follows RCPT's path.
pub(crate) fn recipient(rest: &[u8]) -> Result<RecipientParameters, Reply> {
    let mut parameters = RecipientParameters::default();
    for (keyword, value) in split(rest)? {
        match (keyword.to_ascii_uppercase().as_str(), value) {
            ("NOTIFY", Some(value)) => once(&mut parameters.notify, notify(value)?)?,
            ("ORCPT", Some(value)) => once(&mut parameters.original, original(value)?)?,
            _ => return Err(unknown()),
        }
    }
    Ok(parameters)
}

/// RFC 5321 §4.1.1.11: 555 for parameters not recognised or not implemented.
pub(crate) fn unknown() -> Reply {
    Reply::new(555, (5, 5, 4), "Parameter not recognised")
}

fn bad(text: &'static str) -> Reply {
    bad_argument(text)
}

fn split(rest: &[u8]) -> Result<impl Iterator<Item = (&str, Option<&str>)>, Reply> {
    if !rest.is_empty() && rest[0] != b' ' {
        return Err(bad("A space belongs between the path and its parameters"));
    }
    let text = str::from_utf8(rest).map_err(|_| bad("A parameter is not UTF-8"))?;
    let words = text.split(' ').filter(|parameter| !parameter.is_empty());
    Ok(words.map(|word| match word.split_once('=') {
        Some((keyword, value)) => (keyword, Some(value)),
        None => (word, None),
    }))
}

/// A keyword stands once (RFC 3461 §4.1 and others): which of two would count? Where both say the same,
/// as some clients do, there is no such question.
fn once<T: PartialEq>(slot: &mut Option<T>, value: T) -> Result<(), Reply> {
    if slot.as_ref().is_some_and(|said| *said != value) {
        return Err(bad("A parameter stands twice"));
    }
    *slot = Some(value);
    Ok(())
}

/// RFC 1870 §4: `size-value` is 1 to 20 digits.
fn size(value: Option<&str>) -> Result<u64, Reply> {
    value.and_then(number).ok_or_else(|| bad("SIZE is a number of octets"))
}

pub(crate) fn number(digits: &str) -> Option<u64> {
    Some(digits).filter(|digits| digits.bytes().all(|digit| digit.is_ascii_digit()))?.parse().ok()
}

fn seconds(digits: &str) -> Option<u64> {
    Some(digits).filter(|digits| digits.len() <= SECONDS_DIGITS).and_then(number)
}

fn body(value: Option<&str>) -> Result<Body, Reply> {
    match value.unwrap_or_default().to_ascii_uppercase().as_str() {
        "7BIT" => Ok(Body::SevenBit),
        "8BITMIME" => Ok(Body::EightBitMime),
        "BINARYMIME" => Ok(Body::BinaryMime),
        _ => Err(bad("BODY is 7BIT, 8BITMIME or BINARYMIME")),
    }
}

fn ret(value: &str) -> Result<Return, Reply> {
    match value.to_ascii_uppercase().as_str() {
        "FULL" => Ok(Return::Full),
        "HDRS" => Ok(Return::Headers),
        _ => Err(bad("RET is FULL or HDRS")),
    }
}

fn envelope_id(value: &str) -> Result<String, Reply> {
    let fits = value.len() <= ENVELOPE_ID && value.is_ascii() && from_xtext(value).is_some();
    if fits { Ok(value.to_owned()) } else { Err(bad("ENVID is xtext of up to 100 octets")) }
}

fn original(value: &str) -> Result<String, Reply> {
    let is_type = |name: &str| {
        !name.is_empty() && name.bytes().all(|octet| octet.is_ascii_alphanumeric() || octet == b'-')
    };
    match value.split_once(';') {
        Some((name, address))
            if value.len() <= ORIGINAL && is_type(name) && from_xtext(address).is_some() =>
        {
            Ok(value.to_owned())
        }
        _ => Err(bad("ORCPT is type;address, the address in xtext")),
    }
}

fn notify(value: &str) -> Result<Notify, Reply> {
    let wrong = || bad("NOTIFY is NEVER, or SUCCESS, FAILURE and DELAY");
    if value.eq_ignore_ascii_case("NEVER") {
        return Ok(Notify::NEVER);
    }
    let mut notify = Notify::NEVER;
    for word in value.split(',') {
        match word.to_ascii_uppercase().as_str() {
            "SUCCESS" => notify.success = true,
            "FAILURE" => notify.failure = true,
            "DELAY" => notify.delay = true,
            // NEVER excludes the others (RFC 3461 §4.1).
            _ => return Err(wrong()),
        }
    }
    Ok(notify)
}

/// RFC 2852 §4: seconds, `;`, R or N, and T to have it traced, which we do always.
fn by(value: &str) -> Result<DeliverBy, Reply> {
    let wrong = || bad("BY is seconds;R or seconds;N");
    let (number, mode) = value.split_once(';').ok_or_else(wrong)?;
    let (sign, digits) = match number.strip_prefix('-') {
        Some(digits) => (-1, digits),
        None => (1, number.strip_prefix('+').unwrap_or(number)),
    };
    let seconds = seconds(digits).filter(|_| !digits.is_empty()).ok_or_else(wrong)?;
    let seconds = sign * i64::try_from(seconds).map_err(|_| wrong())?;
    let late = match mode.to_ascii_uppercase().as_str() {
        "R" | "RT" => Late::Return,
        "N" | "NT" => Late::Notify,
        _ => return Err(wrong()),
    };
    if late == Late::Return && seconds <= 0 {
        // RFC 2852 §4: it could only ever fail.
        return Err(bad("BY with R needs time that is left"));
    }
    Ok(DeliverBy { seconds, late })
}

fn priority(value: &str) -> Result<i8, Reply> {
    let known = value.parse().ok().filter(|priority| (-9..=9).contains(priority));
    known.filter(|_| !value.starts_with('+')).ok_or_else(|| bad("MT-PRIORITY is -9 to 9"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn parameters_are_read() {
        let read = mail(
            b" SIZE=5 BODY=8bitmime SMTPUTF8 RET=hdrs ENVID=a+2Bb REQUIRETLS HOLDFOR=60 BY=120;RT MT-PRIORITY=-3",
        );
        let read = read.unwrap();
        assert_eq!((read.size, read.body, read.utf8), (Some(5), Body::EightBitMime, true));
        assert_eq!((read.ret, read.require_tls), (Some(Return::Headers), true));
        assert_eq!(read.envelope_id.as_deref(), Some("a+2Bb"));
        assert_eq!(read.hold, Some(Hold::For(60)));
        assert_eq!(read.by, Some(DeliverBy { seconds: 120, late: Late::Return }));
        assert_eq!(read.priority, Some(-3));
        let until = mail(b" HOLDUNTIL=2027-01-01T00:00:00Z").unwrap().hold;
        assert_eq!(until, Some(Hold::Until("2027-01-01T00:00:00Z".parse().unwrap())));
        let read = recipient(b" NOTIFY=success,DELAY ORCPT=rfc822;Ana@x.test").unwrap();
        assert_eq!(read.notify.unwrap().to_string(), "SUCCESS,DELAY");
        assert_eq!(read.original.as_deref(), Some("rfc822;Ana@x.test"));
        assert_eq!(recipient(b" NOTIFY=NEVER").unwrap().notify, Some(Notify::NEVER));
    }

    #[test]
    fn what_is_wrong_is_refused() {
        for wrong in [
            "SIZE=1",
            " SIZE=-1",
            " SIZE=1 SIZE=2",
            " BODY=9BIT",
            " BODY",
            " BODY=7BIT BODY=8BITMIME",
            " RET=FULL RET=HDRS",
            " RET=ALL",
            " ENVID=a+2",
            " ENVID=a=b",
            " ENVID=+0A",
            " HOLDFOR=1234567890",
            " HOLDFOR=-1",
            " HOLDFOR=1 HOLDUNTIL=2027-01-01T00:00:00Z",
            " HOLDUNTIL=tomorrow",
            " BY=5",
            " BY=;R",
            " BY=0;R",
            " BY=-1;R",
            " BY=5;X",
            " MT-PRIORITY=10",
            " MT-PRIORITY=+1",
            " MT-PRIORITY=x",
        ] {
            assert_eq!(mail(wrong.as_bytes()).unwrap_err().code.get(), 501, "{wrong}");
        }
        for unknown in [" X=1", " SMTPUTF8=1", " REQUIRETLS=yes", " ="] {
            assert_eq!(mail(unknown.as_bytes()).unwrap_err().code.get(), 555, "{unknown}");
        }
        for wrong in [
            " NOTIFY=",
            " NOTIFY=NEVER,SUCCESS",
            " NOTIFY=MAYBE",
            " ORCPT=ana@x.test",
            " ORCPT=;a",
            " ORCPT=rfc822;a+0D",
            " NOTIFY=DELAY NOTIFY=NEVER",
        ] {
            assert_eq!(recipient(wrong.as_bytes()).unwrap_err().code.get(), 501, "{wrong}");
        }
        assert_eq!(recipient(b" SIZE=1").unwrap_err().code.get(), 555);
        assert!(mail(format!(" ENVID={}", "a".repeat(101)).as_bytes()).is_err());
        assert!(mail(b" BY=-5;N").is_ok(), "late already, and to be told");
        let twice = mail(b" SIZE=5 BODY=8BITMIME SMTPUTF8 size=5 body=8bitmime SMTPUTF8").unwrap();
        assert_eq!((twice.size, twice.body, twice.utf8), (Some(5), Body::EightBitMime, true));
        assert!(recipient(b" NOTIFY=DELAY NOTIFY=delay ORCPT=rfc822;a ORCPT=rfc822;a").is_ok());
    }

    proptest! {
        #[test]
        fn anything_is_read_or_refused(rest: Vec<u8>) {
            let _ = (mail(&rest), recipient(&rest));
        }
    }
}

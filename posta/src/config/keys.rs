//! Every key of the configuration: where it stands, what it takes, and an example.
//!
//! The file is checked against this table before it is read, so that whoever writes a wrong word, a word of
//! the wrong kind or a value without brackets is told the line, what is wanted there, and how it is written.

use super::{
    login::LOOPBACK_WORDS,
    values::{Octets, Span, name_server, network},
};
use posta_mail::Domain;
use posta_net::transport::Endpoint;
use std::{net::IpAddr, ops::Range};
use toml::de::{DeTable, DeValue};

/// What a key takes.
enum Kind {
    /// Text, as the example; what is wrong with other texts, if anything.
    Text(&'static str, Check),
    /// A list of such texts.
    Texts(&'static str, Check),
    /// One of these words, with what each means.
    Word(&'static [(&'static str, &'static str)]),
    /// `true` or `false`.
    Flag,
    /// The same, or one of these words, with what each means.
    FlagOr(&'static [(&'static str, &'static str)]),
    /// A number: of what, and an example.
    Number(&'static str, &'static str),
    /// A number of octets or a size with a unit, as the example.
    Size(&'static str),
    /// `[name]`.
    Table,
    /// `[[name]]`, as often as needed; and what that is for.
    Tables(&'static str),
}

/// Returns what is wrong with a text, and how it is written.
type Check = fn(&str) -> Result<(), String>;

type Key = (&'static str, Kind);

use Kind::{Flag, FlagOr, Number, Size, Table, Tables, Text, Texts, Word};

const SPAN: Check = |text| text.parse::<Span>().map(drop);
const NETWORK: Check = |text| network(text).map(drop);
const PATH: Check = |_| Ok(());
const ANY: Check = |_| Ok(());
const DOMAIN: Check = |text| {
    let wrong = |_| format!("{text:?} is no host name, such as \"mail.example.org\"");
    text.parse::<Domain>().map(drop).map_err(wrong)
};

const SCHEDULE: &[&str] = &["1m", "5m", "15m", "1h"];

/// How a smarthost is spoken to.
const PROTECTION: Kind = Word(&[
    ("none", "no TLS"),
    ("opportunistic", "TLS if it is offered, with any certificate"),
    ("starttls", "TLS by STARTTLS, and a certificate that is checked"),
    ("implicit", "TLS from the start, as on port 465, and a certificate that is checked"),
]);

/// The tables, by their names; `""` is the top of the file.
const KEYS: &[(&str, &[Key])] = &[
    (
        "",
        &[
            ("hostname", Text("mail.example.org", DOMAIN)),
            ("data", Text("/var/lib/posta", PATH)),
            ("key-file", Text("/etc/posta-keys/store.keys", PATH)),
            ("tls", Table),
            ("limits", Table),
            ("smtp", Table),
            ("submission", Table),
            ("pop3", Table),
            ("proxy", Table),
            ("dns", Table),
            ("relay", Table),
            ("oauth", Table),
            ("mta-sts", Table),
            ("log", Table),
            ("listen", Tables("for each socket")),
        ],
    ),
    (
        "tls",
        &[
            ("certificate", Text("/etc/posta/cert.pem", PATH)),
            ("key", Text("/etc/posta/key.pem", PATH)),
            ("also", Tables("for each further certificate")),
            ("authorities", Texts("/etc/posta/authority.pem", PATH)),
            ("channel-binding", Flag),
        ],
    ),
    (
        "tls.also",
        &[
            ("certificate", Text("/etc/posta/other.cert.pem", PATH)),
            ("key", Text("/etc/posta/other.key.pem", PATH)),
        ],
    ),
    (
        "limits",
        &[
            ("message-size", Size("50MiB")),
            ("sessions", Number("sessions", "20000")),
            ("sessions-per-client", Number("sessions", "50")),
            ("sessions-per-account", Number("sessions", "20")),
            ("failed-logins", Number("failed logins", "20")),
            ("recipients", Number("recipients", "1000")),
            ("commands", Number("commands", "100000")),
            ("bad-commands", Number("commands", "20")),
            ("command-time", Text("5m", SPAN)),
            ("session-time", Text("1d", SPAN)),
            ("submissions", Number("recipients an hour", "1000")),
            ("hold", Text("30d", SPAN)),
            ("minimum-rate", Size("128B")),
            ("memory", Size("64MiB")),
        ],
    ),
    (
        "smtp",
        &[
            (
                "bare-newlines",
                Word(&[
                    ("refuse", "the message is refused"),
                    ("normalise", "each of them becomes CRLF"),
                ]),
            ),
            ("verify", Flag),
        ],
    ),
    ("submission", &[("trust-loopback", FlagOr(&LOOPBACK_WORDS))]),
    (
        "pop3",
        &[
            ("autologout", Text("10m", SPAN)),
            ("login-delay", Text("0s", SPAN)),
            ("expire", Number("days", "30")),
            ("apop", Flag),
        ],
    ),
    (
        "proxy",
        &[("networks", Texts("192.168.1.5", NETWORK)), ("xclient", Texts("192.168.1.5", NETWORK))],
    ),
    (
        "dns",
        &[
            ("servers", Texts("127.0.0.1", |text| name_server(text).map(drop))),
            ("dnssec", Flag),
            ("trust-anchor", Text("/etc/posta/anchor", PATH)),
        ],
    ),
    (
        "relay",
        &[
            ("retry", Texts("5m", SPAN)),
            ("give-up", Text("5d", SPAN)),
            ("delay-notice", Text("4h", SPAN)),
            ("smarthost", Text("smtp.example.net:587", ANY)),
            ("user", Text("ana", ANY)),
            ("password-file", Text("/etc/posta/smarthost", PATH)),
            ("tls", PROTECTION),
            ("networks", Texts("192.168.1.0/24", NETWORK)),
            ("timeout", Text("10m", SPAN)),
            ("connections", Number("connections", "20")),
            ("rate", Number("messages a minute", "600")),
            ("source", Texts("192.0.2.1", ip)),
            (
                "private-addresses",
                Word(&[
                    ("refuse", "mail is sent to public addresses only"),
                    ("allow", "mail is sent to any address that DNS names"),
                ]),
            ),
            ("domain", Tables("for each domain that is treated differently")),
        ],
    ),
    (
        "relay.domain",
        &[
            ("name", Text("example.org", ANY)),
            ("retry", Texts("5m", SPAN)),
            ("give-up", Text("5d", SPAN)),
            ("delay-notice", Text("4h", SPAN)),
            ("smarthost", Text("smtp.example.net:587", ANY)),
            ("user", Text("ana", ANY)),
            ("password-file", Text("/etc/posta/smarthost", PATH)),
            ("tls", PROTECTION),
            ("rate", Number("messages a minute", "600")),
        ],
    ),
    (
        "log",
        &[(
            "level",
            Word(&[
                ("error", "what keeps the server from its work"),
                ("warn", "also what somebody has to look after"),
                ("info", "also each message and each login"),
                ("debug", "also what explains the rest"),
            ]),
        )],
    ),
    (
        "mta-sts",
        &[
            (
                "mode",
                Word(&[
                    ("enforce", "others send in TLS or not at all"),
                    ("testing", "others send, and report what failed"),
                    ("none", "there is no policy any more"),
                ]),
            ),
            ("mx", Texts("mail.example.org", ANY)),
            ("max-age", Text("7d", SPAN)),
        ],
    ),
    (
        "oauth",
        &[
            ("introspection", Text("https://auth.example.net/introspect", uri)),
            ("client", Text("posta", ANY)),
            ("secret-file", Text("/etc/posta/oauth-secret", PATH)),
            ("audience", Text("https://mail.example.org", ANY)),
            ("allowed-clients", Texts("thunderbird", ANY)),
            ("scope", Text("mail", ANY)),
            ("claim", Text("email", ANY)),
        ],
    ),
    (
        "listen",
        &[
            (
                "protocol",
                Word(&[
                    ("smtp", "mail from other servers, port 25"),
                    ("submission", "mail from mail programs, ports 587 and 465"),
                    ("lmtp", "mail from a server in front"),
                    ("pop3", "mail programs that collect, ports 110 and 995"),
                    ("https", "the MTA-STS policy"),
                ]),
            ),
            ("address", Text("0.0.0.0:25", endpoint)),
            (
                "tls",
                Word(&[
                    ("none", "no TLS"),
                    ("starttls", "TLS when the client asks for it"),
                    ("implicit", "TLS from the start, as on ports 465 and 995"),
                ]),
            ),
        ],
    ),
];

/// The keys that a table cannot do without.
const NEEDED: [(&str, &[&str]); 4] = [
    ("listen", &["protocol", "address"]),
    ("tls.also", &["certificate", "key"]),
    ("relay.domain", &["name"]),
    ("oauth", &["introspection"]),
];

/// What people look for under another name.
const OTHER_WORDS: [(&str, &str); 9] = [
    ("imap", "there is no IMAP server in Posta; mail programs collect by POP3"),
    ("imaps", "there is no IMAP server in Posta; mail programs collect by POP3"),
    ("pop3s", "that is protocol = \"pop3\" with tls = \"implicit\""),
    ("pop", "that is protocol = \"pop3\""),
    ("smtps", "that is protocol = \"submission\" with tls = \"implicit\""),
    ("submissions", "that is protocol = \"submission\" with tls = \"implicit\""),
    ("http", "only the MTA-STS policy is served, by https"),
    ("ssl", "that is tls = \"implicit\""),
    ("stls", "that is tls = \"starttls\""),
];

/// How far a word may be from a key for that to be suggested (Jaro-Winkler, 1 is equal).
const SIMILAR: f64 = 0.8;

/// A mistake, and where it begins in the file.
#[derive(Debug)]
pub(super) struct Mistake {
    pub(super) at: usize,
    pub(super) words: String,
}

type Checked = Result<(), Mistake>;

fn mistake(at: &Range<usize>, words: String) -> Checked {
    Err(Mistake { at: at.start, words })
}

/// Checks a file.
pub(super) fn check(text: &str) -> Checked {
    let parsed = DeTable::parse(text).map_err(|error| {
        let at = error.span().map_or(0, |span| span.start);
        Mistake { at, words: format!("this is not TOML: {}", error.message()) }
    })?;
    check_table("", parsed.get_ref(), &parsed.span())
}

fn check_table(table: &str, found: &DeTable<'_>, at: &Range<usize>) -> Checked {
    let known = keys(table);
    for (key, value) in found {
        let name = key.get_ref();
        match known.iter().find(|(known, _)| known == name) {
            Some((name, kind)) => check_key(table, name, kind, value.get_ref(), &value.span())?,
            None => return mistake(&key.span(), unknown(table, name)),
        }
    }
    let needed = NEEDED.iter().find(|(name, _)| *name == table).map_or(&[][..], |(_, keys)| keys);
    let is_missing = |name: &&&str| !found.iter().any(|(key, _)| key.get_ref() == **name);
    if let Some(name) = needed.iter().find(is_missing) {
        let kind = known.iter().find(|(known, _)| known == name).map(|(_, kind)| kind);
        let example =
            kind.map_or_else(String::new, |kind| format!(", as {name} = {}", example(kind)));
        let brackets = if table == "oauth" { "[oauth]".into() } else { format!("[[{table}]]") };
        return mistake(at, format!("{brackets} needs {name}{example}"));
    }
    Ok(())
}

/// The keys of a table.
fn keys(table: &str) -> &'static [Key] {
    KEYS.iter().find(|(name, _)| *name == table).map_or(&[], |(_, keys)| keys)
}

/// Returns what the keys of a table are called.
pub(super) fn names(table: &str) -> Vec<&'static str> {
    keys(table).iter().map(|(name, _)| *name).collect()
}

fn unknown(table: &str, name: &str) -> String {
    let place = if table.is_empty() { String::new() } else { format!(" in [{table}]") };
    let likeness = |candidate: &str| strsim::jaro_winkler(candidate, name);
    let names = names(table);
    let nearest = names.iter().max_by(|a, b| likeness(a).total_cmp(&likeness(b)));
    if let Some(nearest) = nearest.filter(|nearest| likeness(nearest) >= SIMILAR) {
        return format!("unknown key {name:?}{place}: did you mean {nearest:?}?");
    }
    // A key that is right in another table stands under the wrong heading.
    let holds = |(_, keys): &&(&str, &[Key])| keys.iter().any(|(known, _)| *known == name);
    match KEYS.iter().find(holds) {
        Some(("", _)) => format!(
            "unknown key {name:?}{place}: it belongs at the top of the file, before the first [table]"
        ),
        Some((other, _)) => format!("unknown key {name:?}{place}: it belongs in [{other}]"),
        None => {
            format!("unknown key {name:?}{place}: it may be one of {}", names.join(", "))
        }
    }
}

/// Checks the value of a key.
fn check_key(
    table: &str,
    name: &str,
    kind: &Kind,
    value: &DeValue<'_>,
    at: &Range<usize>,
) -> Checked {
    let path = if table.is_empty() { name.to_owned() } else { format!("{table}.{name}") };
    let wanted =
        |what: &str| mistake(at, format!("{path} is {what}, as {name} = {}", example(kind)));
    match (kind, value) {
        (Table, DeValue::Table(inner)) => check_table(name, inner, at),
        (Table, _) => {
            mistake(at, format!("{path} is a table: write [{path}], with its keys below it"))
        }
        (Tables(_), DeValue::Array(tables)) => {
            tables.iter().try_for_each(|inner| match inner.get_ref() {
                DeValue::Table(table) => check_table(&path, table, &inner.span()),
                _ => mistake(&inner.span(), format!("write [[{path}]], with its keys below it")),
            })
        }
        (Tables(what), _) => {
            mistake(at, format!("write [[{path}]], in two pairs of brackets, {what}"))
        }
        (Flag | FlagOr(_), DeValue::Boolean(_)) => Ok(()),
        (Flag, _) => mistake(at, format!("{path} is true or false, without quotation marks")),
        (FlagOr(words), DeValue::String(text)) if words.iter().any(|(word, _)| word == text) => {
            Ok(())
        }
        (FlagOr(words), _) => {
            let words: Vec<_> =
                words.iter().map(|(word, means)| format!("{word:?} ({means})")).collect();
            let flag = "true or false, without quotation marks";
            mistake(at, format!("{path} is {flag}, or {}", words.join(", ")))
        }
        (Number(..), DeValue::Integer(number)) if number.as_str().parse::<u32>().is_ok() => Ok(()),
        (Number(of, _), DeValue::Integer(_)) => {
            wanted(&format!("a number of {of}, at most {}", u32::MAX))
        }
        (Number(of, _), _) => wanted(&format!("a number of {of}, without unit or quotation marks")),
        (Size(_), DeValue::Integer(number)) if number.as_str().parse::<u64>().is_ok() => Ok(()),
        (Size(_), DeValue::String(text)) => right(&path, at, text.parse::<Octets>().map(drop)),
        (Size(_), _) => wanted("a size with its unit"),
        (Word(words), DeValue::String(text)) => check_word(&path, words, text, at),
        (Word(words), _) => mistake(at, one_of(&path, words)),
        (Text(_, check), DeValue::String(text)) => check_text(&path, *check, text, at),
        (Text(_, check), _) if check("5m").is_ok() && check("5").is_err() => {
            wanted("a span of time with its unit")
        }
        (Text(..), _) => wanted("text in quotation marks"),
        (Texts(_, check), DeValue::Array(texts)) => {
            texts.iter().try_for_each(|text| match text.get_ref() {
                DeValue::String(inner) => check_text(&path, *check, inner, &text.span()),
                _ => wanted("a list of texts in quotation marks"),
            })
        }
        (Texts(_, check), DeValue::String(text)) if check(text).is_ok() => {
            mistake(at, format!("{path} is a list: {name} = [{text:?}]"))
        }
        (Texts(..), _) => wanted("a list"),
    }
}

fn check_text(path: &str, check: Check, text: &str, at: &Range<usize>) -> Checked {
    if text.trim().is_empty() {
        return mistake(
            at,
            format!("{path} is empty: leave it out for the default, or fill it in"),
        );
    }
    right(path, at, check(text))
}

fn right(path: &str, at: &Range<usize>, checked: Result<(), String>) -> Checked {
    checked.or_else(|words| mistake(at, format!("{path}: {words}")))
}

fn check_word(path: &str, words: &[(&str, &str)], text: &str, at: &Range<usize>) -> Checked {
    if words.iter().any(|(word, _)| *word == text) {
        return Ok(());
    }
    let lower = text.to_ascii_lowercase();
    let other = OTHER_WORDS.iter().find(|(other, _)| *other == lower);
    let other = match other {
        Some((_, meant)) if meant.starts_with("that is") => {
            return mistake(at, format!("{path} = {text:?}: {meant}"));
        }
        Some((_, meant)) => format!("{meant}; "),
        None => String::new(),
    };
    mistake(at, format!("{path} = {text:?}: {other}{}", one_of(path, words)))
}

fn one_of(path: &str, words: &[(&str, &str)]) -> String {
    let words: Vec<_> = words.iter().map(|(word, means)| format!("{word:?} ({means})")).collect();
    format!("{path} is one of {}", words.join(", "))
}

/// How a value of this kind is written.
fn example(kind: &Kind) -> String {
    match kind {
        Text(example, _) | Size(example) => format!("{example:?}"),
        Texts("5m", _) => format!("{SCHEDULE:?}"),
        Texts(example, _) => format!("[{example:?}]"),
        Word(words) => format!("{:?}", words.first().map_or("", |(word, _)| word)),
        Number(_, example) => (*example).to_owned(),
        Flag | FlagOr(_) => "true".to_owned(),
        Table | Tables(_) => String::new(),
    }
}

fn ip(text: &str) -> Result<(), String> {
    let wrong = |_| format!("{text:?} is no IP address, such as \"192.0.2.1\" or \"2001:db8::1\"");
    text.parse::<IpAddr>().map(drop).map_err(wrong)
}

fn uri(text: &str) -> Result<(), String> {
    text.parse::<hyper::Uri>()
        .map(drop)
        .map_err(|_| format!("{text:?} is no address of a web page"))
}

fn endpoint(text: &str) -> Result<(), String> {
    if text.parse::<Endpoint>().is_ok() {
        return Ok(());
    }
    let port = text.strip_prefix(':').unwrap_or(text).strip_prefix("*:").unwrap_or(text);
    let port = port.trim_start_matches([':', '*']);
    if port.parse::<u16>().is_ok() {
        return Err(format!(
            "{text:?} has no address: \"0.0.0.0:{port}\" listens on all of IPv4, \"[::]:{port}\" on all \
             of IPv6, \"127.0.0.1:{port}\" for this machine alone"
        ));
    }
    match (text.parse::<IpAddr>(), text.rsplit_once(':')) {
        (Ok(IpAddr::V4(ip)), _) => Err(format!("{text:?} has no port: \"{ip}:25\"")),
        (Ok(IpAddr::V6(ip)), _) => Err(format!("{text:?} has no port: \"[{ip}]:25\"")),
        (_, Some((_, port))) if !port.is_empty() && port.parse::<u16>().is_err() => {
            Err(format!("{text:?}: {port:?} is no port: a number from 1 to 65535"))
        }
        _ => Err(format!(
            "{text:?} is no address to listen on: an IP address and a port, such as \"0.0.0.0:25\" or \
             \"[::]:25\", or \"unix:/path\" for lmtp"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn examples_are_right() {
        for (table, keys) in KEYS {
            for (name, kind) in *keys {
                if let Text(text, check) | Texts(text, check) = kind {
                    assert_eq!(check(text), Ok(()), "{table}.{name}");
                }
            }
        }
    }
}

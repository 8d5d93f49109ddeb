//! The configuration file: TOML, in which an unknown key is an error that suggests the nearest one.
//!
//! `options.rs` defines every option, once, and `words.rs` the words that are values of options. `read.rs`, `values.rs`
//! and their neighbours read a file into the types generated from the definitions, `survey.rs` finds the file's keys, and
//! `sense.rs` and `relay.rs` refuse valid values that would do harm, or do not go together. All mistakes of a file are
//! told at once (`mistakes.rs`).

#[macro_use]
mod definition;
#[macro_use]
mod read;
pub(crate) mod find;
mod log;
mod mistakes;
mod networks;
mod options;
mod relay;
mod routes;
mod sense;
mod source;
mod survey;
mod text;
mod values;
mod words;

pub(crate) use log::Level;
pub(crate) use options::{Acme, Certificate, Config, Filter, Listen, OAuth};
pub(crate) use source::{Origin, Setting, Source};
pub(crate) use values::{DnsList, Octets, Span};
pub(crate) use words::{BareNewlines, CheckPolicy, LogFormat, Protocol, StoreEngine, TlsMode};

use posta_mail::Domain;
use read::Table;
use std::path::{Path, PathBuf};

/// The data directory of the machine's server.
const MACHINE_DATA: &str = "/var/lib/posta";

/// The spool of the machine's server.
pub(crate) const SPOOL: &str = "/var/spool/posta";

impl Config {
    /// Returns the server's name for itself.
    pub(crate) fn hostname(&self) -> Domain {
        self.hostname.clone().unwrap_or_else(system_hostname)
    }

    /// Returns the directory into which `posta sendmail` puts messages, if there is one. The one of the machine is used by
    /// default only for the machine's server, not for one that somebody tries out.
    pub(crate) fn spool(&self) -> Option<PathBuf> {
        let of_machine = || (self.data == Path::new(MACHINE_DATA)).then(|| PathBuf::from(SPOOL));
        self.spool.clone().or_else(of_machine)
    }

    /// Returns the options that differ in `new` and cannot be changed while the server runs.
    pub(crate) fn fixed(&self, new: &Self) -> Vec<String> {
        let mut found = Vec::new();
        self.fixed_options(new, &mut found);
        found
    }
}

fn system_hostname() -> Domain {
    let name = gethostname::gethostname().to_string_lossy().into_owned();
    #[expect(clippy::expect_used, reason = "the constant is a valid name")]
    name.parse().unwrap_or_else(|_| "localhost".parse().expect("a valid name"))
}

#[cfg(test)]
mod tests {
    use super::{
        definition::Section,
        options::{REMOVED, SECTIONS},
        values::LoopbackTrust,
        *,
    };
    use posta_mail::limits;

    const FULL: &str = r#"
        hostname = "Mail.example.test"
        data = "/var/lib/posta"
        user = "posta"
        key-file = "/var/lib/posta-keys/store.keys"
        spool = "/var/spool/mail-for-posta"
        tag-separators = "+-"
        [store]
        engine = "postgres"
        url = "postgresql://posta@db.example.test/posta"
        password-file = "/etc/posta/database"
        connections = 8
        [store.objects]
        endpoint = "http://objects.example.test:9000"
        bucket = "mail"
        region = "garage"
        key-id = "posta"
        secret-file = "/etc/posta/object-key"
        [tls]
        certificate = "/etc/posta/cert.pem"
        key         = "/etc/posta/key.pem"
        authorities = ["/etc/posta/authority.pem"]
        channel-binding = true
        [[tls.also]]
        certificate = "/etc/posta/other.cert.pem"
        key         = "/etc/posta/other.key.pem"
        [acme]
        enabled = true
        contact = "ana@example.test"
        directory = "https://authority.example.test/directory"
        [limits]
        message-size = "50MiB"
        sessions = 10
        sessions-per-client = 0
        sessions-per-account = 5
        failed-logins = 10
        recipients = 100
        session-time = "1h"
        submissions = 100
        hold = "7d"
        memory = "1GiB"
        [smtp]
        bare-newlines = "normalise"
        [checks]
        enabled = true
        policy = "mark"
        trusted-sealers = ["lists.example.org"]
        dmarc-reports = false
        [door]
        block-lists = ["bl.example.org"]
        allow-lists = ["wl.example.org"]
        network-recipients = 10000
        sender-recipients = 1000
        greeting-delay = "5s"
        greylisting = true
        strict-hello = true
        reverse-dns = "confirmed"
        [submission]
        trust-loopback = false
        [[filters]]
        kind = "milter"
        address = "unix:/run/clamav/milter"
        mail = "all"
        time-limit = "1m"
        on-failure = "accept"
        [pop3]
        autologout = "30m"
        expire = 30
        apop = true
        [proxy]
        networks = ["192.0.2.0/24", "2001:db8::/32"]
        xclient = ["192.0.2.1/32"]
        [metrics]
        networks = ["127.0.0.1", "192.0.2.7"]
        [dns]
        servers = ["127.0.0.1:5353"]
        dnssec = true
        trust-anchor = "/etc/posta/anchor"
        [relay]
        retry = ["1m", "5m", "15m", "1h"]
        give-up = "5d"
        delay-notice = "4h"
        smarthost = "smtp.example.net:587"
        networks = ["127.0.0.1/32"]
        timeout = "10m"
        connections = 10
        rate = 600
        source = ["192.0.2.1", "2001:db8::1"]
        private-addresses = "allow"
        user = "posta"
        password-file = "/etc/posta/smarthost"
        tls = "starttls"
        [[relay.domain]]
        name = ".example.org"
        smarthost = "mx"
        retry = ["10m"]
        [dkim]
        sign = false
        rotate = "90d"
        [mta-sts]
        mode = "testing"
        mx = ["mail.example.test"]
        max-age = "1d"
        [oauth]
        introspection = "https://auth.example.net/introspect"
        client = "posta"
        secret-file = "/etc/posta/oauth"
        audience = "https://mail.example.test"
        allowed-clients = ["thunderbird"]
        scope = "mail"
        claim = "email"
        [log]
        level = "debug"
        format = "json"

        [[listen]]
        protocol = "smtp"
        address  = "127.0.0.1:2525"
        tls      = "none"
        [[listen]]
        protocol = "lmtp"
        address  = "unix:/run/posta/lmtp"
    "#;

    fn parse(text: &str) -> anyhow::Result<Config> {
        Source::parse(text.to_owned()).map(|source| source.config)
    }

    fn problem(text: &str) -> String {
        format!("{:#}", parse(text).unwrap_err())
    }

    fn section(path: &str) -> &'static Section {
        SECTIONS.iter().find(|section| section.path == path).unwrap()
    }

    #[test]
    fn tags_may_have_no_separator() {
        for separators in ["", "-", "+-"] {
            let config = parse(&format!("tag-separators = \"{separators}\"")).unwrap();
            assert_eq!(config.tag_separators.to_string(), separators);
        }
        assert!(problem("tag-separators = \"x\"").contains("\"x\" names no separators: some of "));
        assert!(problem("tag-separators = 1").contains("text in quotation marks"));
    }

    #[test]
    fn every_key_is_read() {
        let config = parse(FULL).unwrap();
        assert_eq!(config.hostname().as_str(), "mail.example.test");
        assert_eq!(config.limits.message_size, Octets(50 * 1024 * 1024));
        assert_eq!(config.limits.sessions_per_client, 0);
        assert_eq!(config.listen.len(), 2);
        assert_eq!(config.listen[1].tls, TlsMode::None);
        assert_eq!(config.limits.session_time.0.as_secs(), 60 * 60);
        assert_eq!(config.smtp.bare_newlines, BareNewlines::Normalise);
        let table: toml::Table = toml::from_str(FULL).unwrap();
        assert_eq!(table.len(), section("").options.len(), "every key is known");
        let limits = table["limits"].as_table().unwrap();
        assert_eq!(limits.len(), section("limits").options.len(), "those of the limits too");
    }

    /// Returns a configuration in which what needs PostgreSQL can be set.
    fn of_several_servers(text: &str) -> String {
        text.replace("\"embedded\"", "\"postgres\"")
    }

    /// Defaults and examples in the definitions parse as a file's values do.
    #[test]
    fn defaults_and_examples_are_values() {
        let mut text = String::new();
        for section in SECTIONS {
            let mut holders = SECTIONS.iter().flat_map(|holder| holder.options);
            let is_repeated = holders.any(|option| option.value == ["Vec", section.holder]);
            match (section.path, is_repeated) {
                ("", _) => {}
                (path, true) => text.push_str(&format!("[[{path}]]\n")),
                (path, false) => text.push_str(&format!("[{path}]\n")),
            }
            for option in section.options.iter().filter(|option| !option.example().contains('{')) {
                if !SECTIONS.iter().any(|inner| option.value.contains(&inner.holder)) {
                    text.push_str(&format!("{} = {}\n", option.name(), option.example()));
                }
            }
        }
        let config = parse(&of_several_servers(&text)).unwrap();
        assert_eq!(config.relay.retry.waits().len(), 4);
        Source::defaults().unwrap();
        for section in SECTIONS {
            for option in section.options {
                let is_table = SECTIONS.iter().any(|inner| option.value.contains(&inner.holder));
                assert!(is_table || !option.documentation[0].is_empty(), "{}", option.name());
                assert!(is_table || !option.example().is_empty(), "{}", option.name());
                let is_optional = option.value[0] == "Option";
                assert!(!(is_optional && option.default.is_some()), "{}", option.name());
            }
        }
    }

    /// A configuration with options that no longer exist still works.
    #[test]
    fn options_that_are_gone_are_told_and_ignored() {
        let text = "[limits]\ncommands = 5\nsessions = 7\n[pop3]\nlogin-delay = '1m'\n";
        let source = Source::parse(text.to_owned()).unwrap();
        assert_eq!(source.config.limits.sessions, 7);
        let remarks: Vec<_> = source.outdated().collect();
        assert_eq!(
            remarks,
            [
                "line 2: limits.commands is no option any more: an SMTP session may have 100,000 commands. \
                 The line can be deleted",
                "line 5: pop3.login-delay is no option any more: an account may log in again at once. The \
                 line can be deleted",
            ]
        );
        for (name, number) in [
            ("commands", "100,000"),
            ("bad-commands", &limits::SMTP_BAD_COMMANDS.to_string()),
            ("command-time", &(limits::SMTP_SERVER_PATIENCE.as_secs() / 60).to_string()),
            ("minimum-rate", &limits::SMTP_MINIMUM_RATE.to_string()),
        ] {
            let (_, _, instead) = REMOVED.iter().find(|(_, gone, _)| *gone == name).unwrap();
            assert!(instead.contains(number), "{name}: {instead}");
        }
        assert_eq!(limits::SMTP_COMMANDS, 100_000);
        for (table, name, _) in REMOVED {
            assert!(section(table).options.iter().all(|option| option.name() != *name), "{name}");
        }
    }

    #[test]
    fn settings_tell_where_they_come_from() {
        let text = "data = '/d'\n[limits]\nsessions = 7\n[[listen]]\nprotocol = 'lmtp'\naddress = '[::1]:24'";
        let settings = Source::parse(text.to_owned()).unwrap().settings();
        let found = |option: &str| {
            let setting = settings.iter().find(|setting| setting.option == option)?;
            Some((setting.value.as_deref().unwrap_or("-"), &setting.origin))
        };
        assert_eq!(found("data"), Some(("'/d'", &Origin::Line(1))));
        assert_eq!(found("limits.sessions"), Some(("7", &Origin::Line(3))));
        assert_eq!(found("limits.hold"), Some(("\"30d\"", &Origin::Default)));
        assert_eq!(found("listen[0].address"), Some(("'[::1]:24'", &Origin::Line(6))));
        assert_eq!(found("listen[0].tls"), Some(("\"none\"", &Origin::Default)));
        assert_eq!(found("oauth"), Some(("-", &Origin::Unset("no login with tokens"))));
        assert_eq!(found("relay.rate"), Some(("-", &Origin::Unset("any number"))));
        assert_eq!(found("limits"), None, "tables are no options");
        let settings = Source::defaults().unwrap().settings();
        let listening: Vec<_> =
            settings.iter().filter(|setting| setting.option.starts_with("listen[")).collect();
        assert_eq!(listening.len(), 9, "{listening:?}");
        assert_eq!(listening[1].value.as_deref(), Some("\"127.0.0.1:2525\""));
    }

    #[test]
    fn what_needs_a_restart_is_named() {
        let old = parse("").unwrap();
        let new =
            "hostname = 'x.test'\n[dns]\ndnssec = true\n[relay]\nsource = ['192.0.2.1']\nrate = 5";
        assert_eq!(old.fixed(&parse(new).unwrap()), ["hostname", "dns", "relay.source"]);
        assert!(old.fixed(&old).is_empty());
    }

    #[test]
    fn this_machine_is_trusted_as_far_as_it_says() {
        for (value, trust) in [
            ("true", Some(LoopbackTrust::Anywhere)),
            ("\"local\"", Some(LoopbackTrust::Local)),
            ("false", Some(LoopbackTrust::Nothing)),
            ("\"yes\"", None),
            ("1", None),
        ] {
            let read = parse(&format!("[submission]\ntrust-loopback = {value}"));
            assert_eq!(read.ok().map(|read| read.submission.trust_loopback), trust, "{value}");
        }
        assert_eq!(parse("").unwrap().submission.trust_loopback, LoopbackTrust::Anywhere);
    }

    /// Returns the first block of TOML in a document.
    fn shown(document: &str) -> &str {
        let (_, shown) = document.split_once("```toml\n").unwrap();
        shown.split_once("```").unwrap().0
    }

    #[test]
    fn the_readme_does_not_err() {
        let config = parse(shown(include_str!("../../README.md"))).unwrap();
        assert_eq!(config.listen.len(), 4);
    }

    /// docs/configuration.md: what is set there is the default, and what begins with `#` an example.
    #[test]
    fn every_option_is_documented_with_its_default_or_an_example() {
        let shown = shown(include_str!("../../docs/configuration.md"));
        let documented = parse(shown).unwrap();
        assert_eq!(format!("{documented:#?}"), format!("{:#?}", parse("").unwrap()));
        let whole: Vec<_> =
            shown.lines().map(|line| line.strip_prefix("# ").unwrap_or(line)).collect();
        let whole = of_several_servers(&whole.join("\n"));
        parse(&whole).unwrap();
        let table: toml::Table = toml::from_str(&whole).unwrap();
        for option in section("").options {
            let name = option.name();
            let Some(section) = SECTIONS.iter().find(|section| section.path == name) else {
                assert!(table.contains_key(&name), "{name}");
                continue;
            };
            let inner = match &table[&name] {
                toml::Value::Array(tables) => tables[0].as_table().unwrap(),
                table => table.as_table().unwrap(),
            };
            for key in section.options {
                assert!(inner.contains_key(&key.name()), "{name}.{}", key.name());
            }
        }
    }

    #[test]
    fn addresses_are_short_for_networks_and_name_servers() {
        let config = parse(
            "[relay]\nnetworks = ['192.168.1.5', 'fd00::1', '10.0.0.0/8']\n\
             [dns]\nservers = ['127.0.0.1', '::1', '[::1]:5353']",
        );
        let config = config.unwrap();
        let networks: Vec<_> =
            config.relay.networks.iter().map(|network| network.0.to_string()).collect();
        assert_eq!(networks, ["192.168.1.5/32", "fd00::1/128", "10.0.0.0/8"]);
        let servers: Vec<_> =
            config.dns.servers.iter().map(|server| server.0.to_string()).collect();
        assert_eq!(servers, ["127.0.0.1:53", "[::1]:53", "[::1]:5353"]);
    }

    #[test]
    fn what_is_left_out_has_a_default() {
        let config = parse("").unwrap();
        assert_eq!(config.listen.len(), 3);
        assert_eq!(config.limits.sessions_per_client, 50);
    }

    #[test]
    fn values_have_units() {
        for (text, seconds) in
            [("90s", 90), ("1h 30m", 5_400), ("30 days", 2_592_000), ("2w", 1_209_600)]
        {
            assert_eq!(text.parse::<Span>().unwrap().0.as_secs(), seconds, "{text}");
        }
        for text in ["", "5", "-5m", "1.5s", "500ms", "1y", "99999999999999999999d"] {
            assert!(text.parse::<Span>().is_err(), "{text}");
        }
        for (text, octets) in
            [("50MiB", 50 << 20), ("1.5 GiB", 3 << 29), ("70000", 70_000), ("12B", 12)]
        {
            assert_eq!(text.parse(), Ok(Octets(octets)), "{text}");
        }
        for text in ["", "50MB", "50mib", "-1KiB", "KiB", "1.2.3MiB", "99999999999GiB"] {
            assert!(text.parse::<Octets>().is_err(), "{text}");
        }
    }

    #[test]
    fn errors_name_the_key_and_the_cure() {
        for (text, words) in [
            ("hostnme = 'x'", "did you mean \"hostname\""),
            ("[limits]\nmessagesize = 1", "did you mean \"message-size\""),
            ("[[filters]]\nkind = 'spamd'\naddress = 'a:1'", "is one of \"rspamd\""),
            ("[[filters]]\nkind = 'milter'\naddress = '11333'", "\"127.0.0.1:11333\""),
            ("[[listen]]\nport = 25", "it may be one of protocol, address, tls"),
            ("hostname = 'a b'", "hostname"),
            ("[limits]\nmessage-size = '50MB'", "the units are B, KiB, MiB and GiB"),
            ("[limits]\nmessage-size = '99999999999GiB'", "no size"),
            ("[proxy]\nnetworks = ['192.0.2.0/33']", "networks"),
            ("[limits]\nsession-time = '5'", "such as \"30s\""),
            ("[limits]\nsession-time = '-5m'", "such as \"30s\""),
            ("[limits]\nsession-time = '1mo'", "such as \"30s\""),
            ("[limits]\nmessage-size = 50", "write the unit that is meant, such as \"50MiB\""),
            ("[limits]\nmessage-size = '50'", "50 without a unit would be 50 octets"),
            ("[limits]\nmemory = 1", "1 without a unit would be 1 octet:"),
            ("[[listen]]\nprotocol = 'imap'\naddress = '127.0.0.1:1'", "there is no IMAP server"),
            ("[[listen]]\nprotocol = 'smtp'\naddress = 'localhost'", "0.0.0.0:25"),
            ("[[listen]]\nprotocol = 'smtp'\naddress = 'unix:/x'", "only lmtp"),
            ("[door]\nblock-lists = ['[192.0.2.1]']", "no DNS list"),
            ("[tls]\nkey = 'x'", "belong together"),
            ("[relay]\nretry = []", "at least one"),
            ("[oauth]\nintrospection = 'http://a.test/'", "https://"),
            ("[oauth]\nintrospection = 'https://a.test/'\nclient = 'x'", "belong together"),
            ("[oauth]\nintrospection = 'https://a.test/'", "Set oauth.audience"),
            ("[oauth]\nintrospection = 'https://a.test/'\naudience = ''", "is empty"),
            ("[oauth]\nintrospection = 'https://a.test/'\nscope = 'mail'", "oauth.allowed-clients"),
            ("[relay]\nsmarthost = 'smtp.example.net'", "host:port"),
            ("[relay]\ngiveup = '5d'", "did you mean \"give-up\""),
            ("[relay]\nuser = 'x'", "name one"),
            ("[relay]\nsmarthost = 'a:25'\nuser = 'x'", "belong together"),
            ("[relay]\nsource = ['127.0.0.1', '127.0.0.2']", "one IPv4"),
            ("[[relay.domain]]\nname = 'a b'", "is no domain"),
            ("[[relay.domain]]\nnam = 'x.test'", "did you mean \"name\""),
            ("[dns]\nservers = ['localhost']", "servers"),
            ("[pop3]\nautologout = '5m'", "at least 10 minutes"),
            ("[pop3]\nauto-logout = '15m'", "did you mean \"autologout\""),
        ] {
            assert!(problem(text).contains(words), "{text}: {}", problem(text));
        }
    }
}

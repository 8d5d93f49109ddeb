//! Mistakes in the configuration.

use super::{Mistake, make};

/// Returns the mistake of a configuration that every command refuses.
const fn written(configuration: &'static str, says: &'static str, code: &'static str) -> Mistake {
    Mistake { configuration, command: &["account", "list"], input: "", says, code, status: 1 }
}

#[test]
fn a_configuration_that_is_wrong_is_told_with_its_cure() {
    let directory = tempfile::tempdir().unwrap();
    make(MISTAKES, directory.path(), &[]);
}

const MISTAKES: &[Mistake] = &[
    written(
        "hostnme = 'x.test'",
        "posta: the configuration DIR/mistake.toml: line 2: unknown key \"hostnme\": did you mean \
         \"hostname\"?",
        "config-unknown-key",
    ),
    written(
        "hostname = 'a b'",
        "posta: the configuration DIR/mistake.toml: line 2: hostname: \"a b\" is no host name, such as \
         \"mail.example.org\"",
        "config-value",
    ),
    written(
        "hostname = ''",
        "posta: the configuration DIR/mistake.toml: line 2: hostname is empty: leave it out for the \
         default, or fill it in",
        "config-value",
    ),
    written(
        "hostname mail.x.test",
        "posta: the configuration DIR/mistake.toml: line 2: this is not TOML: key with no value, expected \
         `=`",
        "config-syntax",
    ),
    written(
        "[tls]\nmessage-size = '1MiB'",
        "posta: the configuration DIR/mistake.toml: line 3: unknown key \"message-size\" in [tls]: it \
         belongs in [limits]",
        "config-unknown-key",
    ),
    written(
        "[limits]\nhostname = 'x.test'",
        "posta: the configuration DIR/mistake.toml: line 3: unknown key \"hostname\" in [limits]: it \
         belongs at the top of the file, before the first [table]",
        "config-unknown-key",
    ),
    written(
        "[limits]\nnosuchthing = 1",
        "posta: the configuration DIR/mistake.toml: line 3: unknown key \"nosuchthing\" in [limits]: it may \
         be one of message-size, sessions, sessions-per-client, sessions-per-account, failed-logins, \
         recipients, session-time, submissions, hold, memory",
        "config-unknown-key",
    ),
    written(
        "[limits]\nmessage-size = '50MB'",
        "posta: the configuration DIR/mistake.toml: line 3: limits.message-size: \"50MB\": the units are B, \
         KiB, MiB and GiB: \"50MiB\"",
        "config-value",
    ),
    written(
        "[limits]\nmessage-size = 50",
        "posta: the configuration DIR/mistake.toml: line 3: limits.message-size: 50 without a unit would be \
         50 octets: write the unit that is meant, such as \"50MiB\"",
        "config-value",
    ),
    written(
        "[limits]\nmessage-size = 'big'",
        "posta: the configuration DIR/mistake.toml: line 3: limits.message-size: \"big\" is no size: a \
         number and a unit, such as \"50MiB\"",
        "config-value",
    ),
    written(
        "[limits]\nmessage-size = '0B'",
        "posta: the configuration DIR/mistake.toml: line 3: limits.message-size: 0 would refuse all mail: \
         leave it out for 50MiB, or name a size",
        "config-value",
    ),
    written(
        "[limits]\nsessions = '50'",
        "posta: the configuration DIR/mistake.toml: line 3: limits.sessions is a number of sessions, \
         without unit or quotation marks, as sessions = 20000",
        "config-value",
    ),
    written(
        "[limits]\nsessions = -1",
        "posta: the configuration DIR/mistake.toml: line 3: limits.sessions is a number of sessions, at \
         most 4294967295, as sessions = 20000",
        "config-value",
    ),
    written(
        "[limits]\nsession-time = '0s'",
        "posta: the configuration DIR/mistake.toml: line 3: limits.session-time: nothing would work with 0: \
         leave it out for 1d, or name more",
        "config-value",
    ),
    written(
        "[limits]\nhold = '30 moons'",
        "posta: the configuration DIR/mistake.toml: line 3: limits.hold: \"30 moons\" is no span of time: a \
         number and a unit, such as \"30s\", \"5m\", \"1h\" or \"7d\"",
        "config-value",
    ),
    written(
        "[limits]\nhold = 30",
        "posta: the configuration DIR/mistake.toml: line 3: limits.hold is a span of time with its unit, as \
         hold = \"30d\"",
        "config-value",
    ),
    written(
        "[pop3]\napop = 'yes'",
        "posta: the configuration DIR/mistake.toml: line 3: pop3.apop is true or false, without quotation \
         marks",
        "config-value",
    ),
    written(
        "[submission]\ntrust-loopback = 'yes'",
        "posta: the configuration DIR/mistake.toml: line 3: submission.trust-loopback is true or false, \
         without quotation marks, or \"local\" (programs on this machine submit mail for here only)",
        "config-value",
    ),
    written(
        "tls = true",
        "posta: the configuration DIR/mistake.toml: line 2: tls is a table: write [tls], with its keys \
         below it",
        "config-value",
    ),
    written(
        "[pop3]\nexpire = '30d'",
        "posta: the configuration DIR/mistake.toml: line 3: pop3.expire is a number of days, without unit \
         or quotation marks, as expire = 30",
        "config-value",
    ),
    written(
        "[pop3]\nautologout = '5m'",
        "posta: the configuration DIR/mistake.toml: line 3: pop3.autologout: mail programs count on at least \
         10 minutes (RFC 1939 §3), \"10m\"",
        "config-value",
    ),
    written(
        "[relay]\nretry = '5m'",
        "posta: the configuration DIR/mistake.toml: line 3: relay.retry is a list: retry = [\"5m\"]",
        "config-value",
    ),
    written(
        "[relay]\nretry = 300",
        "posta: the configuration DIR/mistake.toml: line 3: relay.retry is a list, as retry = [\"1m\", \
         \"5m\", \"15m\", \"1h\"]",
        "config-value",
    ),
    written(
        "[relay]\nretry = []",
        "posta: the configuration DIR/mistake.toml: line 3: relay.retry: at least one time to wait is needed, \
         such as [\"5m\"]",
        "config-value",
    ),
    written(
        "[relay]\nretry = ['0s']",
        "posta: the configuration DIR/mistake.toml: line 3: relay.retry: 0 would try without a pause: leave \
         it out, or name a time to wait, such as \"1m\"",
        "config-value",
    ),
    written(
        "[relay]\nnetworks = ['192.168.1']",
        "posta: the configuration DIR/mistake.toml: line 3: relay.networks: \"192.168.1\" is no network, \
         such as \"192.168.1.0/24\" or \"2001:db8::/32\", or an address, such as \"192.168.1.5\"",
        "config-value",
    ),
    written(
        "[relay]\nnetworks = ['0.0.0.0/0']",
        "posta: the configuration DIR/mistake.toml: line 3: relay.networks: 0.0.0.0/0 would let everybody on the \
         internet send to everybody through this server (an open relay): name your own networks, such as \
         \"192.168.1.0/24\"; who is elsewhere logs in, by protocol = \"submission\"",
        "config-value",
    ),
    written(
        "[relay]\nnetworks = '192.168.1.5'",
        "posta: the configuration DIR/mistake.toml: line 3: relay.networks is a list: networks = \
         [\"192.168.1.5\"]",
        "config-value",
    ),
    written(
        "[proxy]\nnetworks = ['::/0']",
        "posta: the configuration DIR/mistake.toml: line 3: proxy.networks: ::/0 would let everybody say that they \
         come from anywhere: name the address of the load balancer in front, such as \"192.168.1.5\"",
        "config-value",
    ),
    written(
        "[relay]\nsmarthost = 'smtp.example.net'",
        "posta: the configuration DIR/mistake.toml: line 3: relay.smarthost: \"smtp.example.net\" is no \
         server: it has the form host:port, such as \"smtp.example.net:587\"",
        "config-value",
    ),
    written(
        "[relay]\ntls = 'ssl'\nsmarthost = 'a:25'",
        "posta: the configuration DIR/mistake.toml: line 3: relay.tls = \"ssl\": that is tls = \"implicit\"",
        "config-value",
    ),
    written(
        "[relay]\nsmarthost = 'a:25'\nuser = 'ana'",
        "posta: the configuration DIR/mistake.toml: line 4: relay.user and relay.password-file belong \
         together: set both, or neither",
        "config-missing-key",
    ),
    written(
        "[relay]\nsource = ['mail.x.test']",
        "posta: the configuration DIR/mistake.toml: line 3: relay.source: \"mail.x.test\" is no IP address, \
         such as \"192.0.2.1\" or \"2001:db8::1\"",
        "config-value",
    ),
    written(
        "[dns]\nservers = ['localhost']",
        "posta: the configuration DIR/mistake.toml: line 3: dns.servers: \"localhost\" is no name server: \
         an IP address, such as \"127.0.0.1\", or one with a port, such as \"127.0.0.1:5353\"",
        "config-value",
    ),
    written(
        "[tls]\ncertificate = '/x.pem'",
        "posta: the configuration DIR/mistake.toml: line 3: tls.certificate and tls.key belong together: set \
         both, or neither",
        "config-missing-key",
    ),
    written(
        "[log]\nlevel = 'verbose'",
        "posta: the configuration DIR/mistake.toml: line 3: log.level = \"verbose\": log.level is one of \
         \"error\" (what keeps the server from its work), \"warn\" (also what somebody has to look \
         after), \"info\" (also each message and each login), \"debug\" (also what explains the rest)",
        "config-value",
    ),
    written(
        "[mta-sts]\nmode = true",
        "posta: the configuration DIR/mistake.toml: line 3: mta-sts.mode is one of \"enforce\" (others send \
         in TLS or not at all), \"testing\" (others send, and report what failed), \"none\" (there is no \
         policy any more)",
        "config-value",
    ),
    written(
        "listen = []",
        "posta: the configuration DIR/mistake.toml: line 2: listen = [] serves nobody: leave it out to listen on \
         this machine (SMTP 2525, submission 2587, POP3 2110), or write a [[listen]] for each socket",
        "config-conflict",
    ),
    written(
        "[listen]\nprotocol = 'smtp'\naddress = '127.0.0.1:0'",
        "posta: the configuration DIR/mistake.toml: line 2: write [[listen]], in two pairs of brackets, for \
         each socket",
        "config-value",
    ),
    written(
        "[[listen]]\nprotocol = 'smtp'",
        "posta: the configuration DIR/mistake.toml: line 2: [[listen]] needs address, as address = \
         \"0.0.0.0:25\"",
        "config-missing-key",
    ),
    written(
        "[[listen]]\nprotocol = 'imap'\naddress = '127.0.0.1:0'",
        "posta: the configuration DIR/mistake.toml: line 3: listen.protocol = \"imap\": there is no IMAP \
         server in Posta; mail programs collect by POP3; listen.protocol is one of \"smtp\" (mail from \
         other servers, port 25), \"submission\" (mail from mail programs, ports 587 and 465), \"lmtp\" \
         (mail from a server in front), \"pop3\" (mail programs that collect, ports 110 and 995), \
         \"https\" (the MTA-STS policy, settings for mail programs, the HTTP interface; port 443), \"http\" (the checks of the ACME authority, port 80; all else is sent to \
         https)",
        "config-value",
    ),
    written(
        "[[listen]]\nprotocol = 'pop3s'\naddress = '127.0.0.1:0'",
        "posta: the configuration DIR/mistake.toml: line 3: listen.protocol = \"pop3s\": that is protocol = \
         \"pop3\" with tls = \"implicit\"",
        "config-value",
    ),
    written(
        "[[listen]]\nprotocol = 'smtp'\naddress = '127.0.0.1:0'\ntls = true",
        "posta: the configuration DIR/mistake.toml: line 5: listen.tls is one of \"none\" (no TLS), \
         \"starttls\" (TLS when the client asks for it), \"implicit\" (TLS from the start, as on ports \
         465 and 995)",
        "config-value",
    ),
    written(
        "[[listen]]\nprotocol = 'smtp'\naddress = '127.0.0.1:smtp'",
        "posta: the configuration DIR/mistake.toml: line 4: listen.address: \"127.0.0.1:smtp\": \"smtp\" is \
         no port: a number from 1 to 65535",
        "config-value",
    ),
    written(
        "[[listen]]\nprotocol = 'smtp'\naddress = ':25'",
        "posta: the configuration DIR/mistake.toml: line 4: listen.address: \":25\" has no address: \
         \"0.0.0.0:25\" listens on all of IPv4, \"[::]:25\" on all of IPv6, \"127.0.0.1:25\" for this \
         machine alone",
        "config-value",
    ),
    written(
        "[[listen]]\nprotocol = 'smtp'\naddress = '127.0.0.1'",
        "posta: the configuration DIR/mistake.toml: line 4: listen.address: \"127.0.0.1\" has no port: \
         \"127.0.0.1:25\"",
        "config-value",
    ),
    written(
        "[[listen]]\nprotocol = 'smtp'\naddress = 'mail.x.test:25'",
        "posta: the configuration DIR/mistake.toml: line 4: listen.address: \"mail.x.test:25\" is no \
         address to listen on: an IP address and a port, such as \"0.0.0.0:25\" or \"[::]:25\", or \
         \"unix:/path\" for lmtp",
        "config-value",
    ),
    written(
        "[[listen]]\nprotocol = 'smtp'\naddress = 25",
        "posta: the configuration DIR/mistake.toml: line 4: listen.address is text in quotation marks, as \
         address = \"0.0.0.0:25\"",
        "config-value",
    ),
    written(
        "[[listen]]\nprotocol = 'pop3'\naddress = 'unix:/run/x'",
        "posta: the configuration DIR/mistake.toml: line 4: listen.address: only lmtp may listen on a Unix \
         socket",
        "config-conflict",
    ),
    written(
        "[[listen]]\nprotocol = 'http'\naddress = '127.0.0.1:80'\ntls = 'implicit'",
        "posta: the configuration DIR/mistake.toml: line 5: listen.tls: http is without TLS; with TLS it is protocol = \
         \"https\"",
        "config-conflict",
    ),
    written(
        "[acme]\ndirectory = 'http://authority.test/'",
        "posta: the configuration DIR/mistake.toml: line 3: acme.directory: \"http://authority.test/\" is no address that \
         begins with https://",
        "config-value",
    ),
    written(
        "[acme]\ncontact = 'ana'",
        "posta: the configuration DIR/mistake.toml: line 3: acme.contact: \"ana\" is no e-mail address: it needs the form \
         local-part@domain",
        "config-value",
    ),
    written(
        "[[listen]]\nprotocol = 'https'\naddress = '127.0.0.1:443'",
        "posta: the configuration DIR/mistake.toml: line 2: listen.tls: https needs tls = \"implicit\"",
        "config-conflict",
    ),
    written(
        "[[listen]]\nprotocol = 'smtp'\naddress = '127.0.0.1:2525'\n\
         [[listen]]\nprotocol = 'pop3'\naddress = '127.0.0.1:2525'",
        "posta: the configuration DIR/mistake.toml: line 7: 127.0.0.1:2525 is listened on twice, for smtp and pop3: \
         give one another port",
        "config-conflict",
    ),
    written(
        "[[listen]]\nprotocol = 'smtp'\naddress = '0.0.0.0:2525'\n\
         [[listen]]\nprotocol = 'smtp'\naddress = '[::]:2525'",
        "posta: the configuration DIR/mistake.toml: line 7: 0.0.0.0:2525 for smtp takes in [::]:2525 for smtp, too: \
         leave one out, or give it another port",
        "config-conflict",
    ),
    written(
        "[limits]\nsession = 5\n[relay]\nsmarthost = 'mx'\nuser = 'ana'\n[log]\nlevel = 'all'",
        "posta: the configuration DIR/mistake.toml: 4 mistakes:\n  \
         line 3: unknown key \"session\" in [limits]: did you mean \"sessions\"? [config-unknown-key]\n  \
         line 5: relay.smarthost: \"mx\" is no server: it has the form host:port, such as \
         \"smtp.example.net:587\" [config-value]\n  \
         line 6: relay.user and relay.password-file belong together: set both, or neither [config-missing-key]\n  \
         line 8: log.level = \"all\": log.level is one of \"error\" (what keeps the server from its work), \
         \"warn\" (also what somebody has to look after), \"info\" (also each message and each login), \
         \"debug\" (also what explains the rest) [config-value]",
        "config-mistakes",
    ),
    written(
        "[limits]\nhold = '1d'\n[limits]\nsessions = 5",
        "posta: the configuration DIR/mistake.toml: line 4: this is not TOML: duplicate key",
        "config-syntax",
    ),
];

//! Mistakes on the command line, while no server runs.

use super::{Mistake, make};
use posta_tests::{PASSWORD, posta};
use std::{
    io::{Read, Write},
    net::TcpListener,
    thread,
    time::Duration,
};

#[test]
fn a_command_that_is_wrong_is_told_with_its_cure() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    for address in ["ana@x.test", "bob@x.test"] {
        let add = ["account", "add", address, "--password-stdin", "--data", data.to_str().unwrap()];
        assert!(posta(&add, PASSWORD).status.success());
    }
    let names = [
        ("SILENT", server("", 1)),
        ("PLAIN", server("220 mail.y.test\r\n", 8)),
        ("NEITHER", server("220 mail.y.test\r\n250-mail.y.test\r\n250 SIZE\r\n221 Bye\r\n", 8)),
    ];
    make(MISTAKES, directory.path(), &names);
}

/// Starts a server that accepts connections, sends a line in answer to each line, and closes a
/// connection after `turns` of them.
fn server(lines: &'static str, turns: usize) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
            let mut lines = lines.split_inclusive("\r\n");
            for _ in 0..turns {
                let mut said = String::new();
                for line in lines.by_ref() {
                    said.push_str(line);
                    if line.as_bytes()[3] == b' ' {
                        break;
                    }
                }
                let _ = stream.write_all(said.as_bytes());
                if turns == 1 || stream.read(&mut [0; 4096]).unwrap_or(0) == 0 {
                    break;
                }
            }
        }
    });
    address
}

const fn typed(
    command: &'static [&'static str],
    input: &'static str,
    status: i32,
    says: &'static str,
    code: &'static str,
) -> Mistake {
    Mistake { configuration: "", command, input, says, code, status }
}

const MISTAKES: &[Mistake] = &[
    typed(
        &["acount", "list"],
        "",
        2,
        "error: unrecognized subcommand 'acount'\n\
         \n\
           \x20 tip: a similar subcommand exists: 'account'\n\
         \n\
         Usage: posta [OPTIONS] <COMMAND>\n\
         \n\
         For more information, try '--help'.",
        "unknown-command",
    ),
    typed(
        &["account", "list", "--config", "DIR/nosuch.toml"],
        "",
        1,
        "posta: there is no configuration file DIR/nosuch.toml: give its path with --config",
        "config-not-found",
    ),
    typed(
        &["account", "add", "ana", "--password-stdin"],
        "seven blue lamps",
        1,
        "posta: \"ana\" is not valid: it needs the form local-part@domain",
        "invalid-address",
    ),
    typed(
        &["account", "add", "eva@x.test"],
        "",
        1,
        "posta: a password is needed: run this on a terminal, or give it with --password-stdin",
        "password-needed",
    ),
    typed(
        &["account", "add", "eva@x.test", "--password-stdin"],
        "\n",
        1,
        "posta: a password has 1 to 240 octets, and no line ends or NUL",
        "password-refused",
    ),
    typed(
        &["account", "add", "ana@x.test", "--password-stdin"],
        "seven blue lamps",
        1,
        "posta: the account ana@x.test exists already; `posta account password` changes its password",
        "account-exists",
    ),
    typed(
        &["account", "password", "an@x.test", "--password-stdin"],
        "seven blue lamps",
        1,
        "posta: there is no account an@x.test: did you mean ana@x.test?",
        "no-such-account",
    ),
    typed(
        &["account", "quota", "eva@y.test", "1GiB"],
        "",
        1,
        "posta: there is no account eva@y.test: `posta account list` shows all",
        "no-such-account",
    ),
    typed(
        &["account", "quota", "ana@x.test", "0"],
        "",
        1,
        "posta: a mailbox that may hold nothing refuses all mail: give a size such as 1GiB, or none for \
         no limit",
        "quota-of-nothing",
    ),
    typed(
        &["account", "quota", "ana@x.test", "50"],
        "",
        1,
        "posta: 50 without a unit would be 50 octets: write the unit that is meant, such as \"50MiB\"",
        "invalid-size",
    ),
    typed(
        &["account", "quota", "ana@x.test", "10GB"],
        "",
        1,
        "posta: \"10GB\": the units are B, KiB, MiB and GiB: \"10GiB\"",
        "invalid-size",
    ),
    typed(
        &["account", "remove", "ana@x.test"],
        "",
        1,
        "posta: say --yes to remove ana@x.test and its mail: there is no terminal to ask on",
        "confirmation-needed",
    ),
    typed(
        &["account", "undelete", "ana@x.test", "--since", "yesterday"],
        "",
        1,
        "posta: \"yesterday\" is neither a time such as 2026-11-24T08:00:00Z nor a span such as 2h",
        "invalid-time",
    ),
    typed(
        &["account", "undelete", "ana@x.test", "--since", "2026-13-01"],
        "",
        1,
        "posta: \"2026-13-01\" is neither a time such as 2026-11-24T08:00:00Z nor a span such as 2h",
        "invalid-time",
    ),
    typed(
        &["import", "maildir", "ana@x.test", "DIR/nosuch"],
        "",
        1,
        "posta: ana@x.test: DIR/nosuch: No such file or directory (os error 2)",
        "file-not-found",
    ),
    typed(
        &["account", "allow", "ana@x.test", "--from", "everybody"],
        "",
        1,
        "posta: \"everybody\" is not an address to send as: name an address, @example.org for a whole domain, or \
         any",
        "invalid-sender",
    ),
    typed(
        &["alias", "add", "info@x.test", "ana@x.test, bob@x.test"],
        "",
        1,
        "posta: \"ana@x.test, bob@x.test\" holds several addresses: give each as an argument of its own",
        "invalid-address",
    ),
    typed(
        &["alias", "add", "info@y.test", "ana@x.test"],
        "",
        1,
        "posta: y.test is no local domain; `posta domain add y.test` makes it one",
        "no-such-domain",
    ),
    typed(
        &["alias", "remove", "info@x.test"],
        "",
        1,
        "posta: there is no alias info@x.test; `posta alias list` shows all",
        "no-such-alias",
    ),
    typed(
        &["domain", "remove", "nosuch.example"],
        "",
        1,
        "posta: nosuch.example is no local domain: `posta domain list` shows all",
        "no-such-domain",
    ),
    typed(
        &["domain", "remove", "x.tst"],
        "",
        1,
        "posta: x.tst is no local domain: did you mean x.test?",
        "no-such-domain",
    ),
    typed(
        &["domain", "remove", "x.test"],
        "",
        1,
        "posta: x.test has accounts or aliases, or other domains stand for it; remove them first (`posta \
         account list`, `posta alias list`, `posta domain list`)",
        "domain-in-use",
    ),
    typed(
        &["domain", "add", "x y"],
        "",
        1,
        "posta: \"x y\" is no domain, such as example.org",
        "invalid-domain",
    ),
    typed(
        &["queue", "remove"],
        "",
        1,
        "posta: say which: ids, --domain, --sender, --older, or --all for everything in the queue",
        "no-selection",
    ),
    typed(
        &["queue", "retry", "--domain", "y.test"],
        "",
        1,
        "posta: nothing in the queue matches; `posta queue list` shows what is there",
        "nothing-in-queue",
    ),
    typed(
        &["queue", "list", "--older", "yesterday"],
        "",
        2,
        "error: invalid value 'yesterday' for '--older <TIME>': \"yesterday\" is no span of time: a \
         number and a unit, such as \"30s\", \"5m\", \"1h\" or \"7d\"\n\
         \n\
         For more information, try '--help'.",
        "invalid-value",
    ),
    typed(
        &["queue", "show", "1.2.3"],
        "",
        1,
        "posta: nothing in the queue matches; `posta queue list` shows what is there",
        "nothing-in-queue",
    ),
    typed(
        &["lockout", "lift", "192.0.2.1"],
        "",
        1,
        "posta: 192.0.2.1 is not locked out; `posta lockout list` names who is",
        "no-such-lockout",
    ),
    typed(
        &["collect", "run", "7"],
        "",
        1,
        "posta: there is no source 7; `posta collect list` names them",
        "no-such-source",
    ),
    typed(
        &["collect", "remove", "7"],
        "",
        1,
        "posta: there is no source 7; `posta collect list` names them",
        "no-such-source",
    ),
    typed(
        &[
            "collect",
            "add",
            "ana@x.test",
            "--server",
            "pop.x.test:995",
            "--user",
            "ana",
            "--every",
            "5s",
        ],
        "",
        1,
        "posta: --every: at least a minute, such as --every 10m",
        "interval-too-short",
    ),
    typed(
        &["explain", "9.9.9"],
        "",
        1,
        "posta: an enhanced status code begins with 2, 4 or 5, as 4.2.2 does",
        "unknown-code",
    ),
    typed(
        &["send", "--from", "ana@x.test", "--to", "bob@x.test,ana@x.test", "--body", "Hi"],
        "",
        2,
        "error: invalid value 'bob@x.test,ana@x.test' for '--to <ADDRESS>': it holds several addresses: \
         give the option once for each\n\
         \n\
         For more information, try '--help'.",
        "invalid-value",
    ),
    typed(
        &[
            "send",
            "--server",
            "127.0.0.1:1",
            "--from",
            "a@x.test",
            "--to",
            "b@x.test",
            "--body",
            "Hi",
        ],
        "",
        1,
        "posta: cannot connect to 127.0.0.1:1: no server listens there: is it the right port, and does \
         the server run?",
        "cannot-connect",
    ),
    typed(
        &[
            "send",
            "--server",
            "mail.x.test",
            "--from",
            "a@x.test",
            "--to",
            "b@x.test",
            "--body",
            "Hi",
        ],
        "",
        1,
        "posta: \"mail.x.test\" has no port in digits: write host:port, such as mail.example.org:587",
        "cannot-connect",
    ),
    typed(
        &[
            "send",
            "--server",
            "127.0.0.1:smtp",
            "--from",
            "a@x.test",
            "--to",
            "b@x.test",
            "--body",
            "Hi",
        ],
        "",
        1,
        "posta: \"127.0.0.1:smtp\" has no port in digits: write host:port, such as mail.example.org:587",
        "cannot-connect",
    ),
    typed(
        &["send", "--server", "SILENT", "--from", "a@x.test", "--to", "b@x.test", "--body", "Hi"],
        "",
        1,
        "posta: the server said nothing: if TLS comes first on that port, as on 465 and 995, use --tls \
         implicit",
        "server-silent",
    ),
    typed(
        &[
            "send", "--server", "PLAIN", "--tls", "implicit", "--from", "a@x.test", "--to",
            "b@x.test", "--body", "Hi",
        ],
        "",
        1,
        "posta: TLS with 127.0.0.1 failed: what it sent is not TLS; TLS comes first at ports 465 and 995: \
         elsewhere use --tls starttls to send, --tls stls to fetch, no --tls to talk",
        "tls-failed",
    ),
    typed(
        &[
            "send", "--server", "NEITHER", "--tls", "starttls", "--from", "a@x.test", "--to",
            "b@x.test", "--body", "Hi",
        ],
        "",
        1,
        "posta: the server offers no STARTTLS: --tls implicit where TLS comes first, as at port 465; \
         --tls none for a server on this machine",
        "tls-failed",
    ),
    typed(
        &[
            "send",
            "--server",
            "NEITHER",
            "--user",
            "ana",
            "--password-stdin",
            "--from",
            "a@x.test",
            "--to",
            "b@x.test",
            "--body",
            "Hi",
        ],
        "parola",
        1,
        "posta: the server offers no login on this port: mail programs log in at port 587 with --tls \
         starttls, or at 465 with --tls implicit; without --user nobody logs in",
        "no-login-offered",
    ),
    typed(
        &["fetch", "--server", "SILENT", "--user", "ana", "--password-stdin", "--stdout"],
        "parola",
        1,
        "posta: the connection broke off: the server said nothing: if TLS comes first on that port, as on \
         465 and 995, use --tls implicit",
        "server-silent",
    ),
    typed(
        &[
            "fetch",
            "--server",
            "PLAIN",
            "--tls",
            "implicit",
            "--user",
            "ana",
            "--password-stdin",
            "--stdout",
        ],
        "parola",
        1,
        "posta: TLS with PLAIN failed: what it sent is not TLS; TLS comes first at ports 465 and 995: \
         elsewhere use --tls starttls to send, --tls stls to fetch, no --tls to talk",
        "tls-failed",
    ),
    typed(
        &["fetch", "--server", "PLAIN", "--user", "ana", "--password-stdin", "--stdout"],
        "parola",
        1,
        "posta: the server does not speak POP3: a response begins with neither +OK nor -ERR",
        "not-a-mail-server",
    ),
    typed(
        &["fetch", "--server", "127.0.0.1:1", "--user", "ana", "--password-stdin", "--stdout"],
        "parola",
        1,
        "posta: cannot connect to 127.0.0.1:1: no server listens there: is it the right port, and does \
         the server run?",
        "cannot-connect",
    ),
    typed(
        &["fetch", "--user", "ana", "--password-stdin"],
        "parola",
        2,
        "error: the following required arguments were not provided:\n\
           \x20 <--maildir <DIR>|--mbox <FILE>|--stdout|--lmtp <WHERE>|--account <ADDRESS>|--accounts <FILE>>\n\
         \n\
         Usage: posta fetch --user <NAME> --password-stdin --config <FILE> <--maildir <DIR>|--mbox \
         <FILE>|--stdout|--lmtp <WHERE>|--account <ADDRESS>|--accounts <FILE>>\n\
         \n\
         For more information, try '--help'.",
        "missing-argument",
    ),
];

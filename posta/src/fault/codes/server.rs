//! The server: its configuration, its start, its certificates, its neighbours in a cluster.

use super::Code;

pub(super) const CODES: &[Code] = &[
    Code("ambiguous-node", "Several nodes have the name.", "Name one by its id."),
    Code(
        "cannot-listen",
        "A socket could not be opened.",
        "The message names the cause: a port in use, a port below 1024, an address that this machine lacks.",
    ),
    Code(
        "certificate",
        "A certificate or its key cannot be used.",
        "Look at the files that [tls] names: both in PEM, and made for each other.",
    ),
    Code(
        "certificate-not-issued",
        "The authority issued no certificate.",
        "`posta check` tells what the world sees of the server; the log tells what the authority answered.",
    ),
    Code(
        "config-conflict",
        "Two values of the configuration do not go together.",
        "Change one of them; docs/configuration.md describes both.",
    ),
    Code(
        "config-missing-key",
        "The configuration lacks a key that another one needs.",
        "Add it, or remove the one that needs it.",
    ),
    Code(
        "config-mistakes",
        "The configuration has several mistakes.",
        "Each line tells its own cause and cure; `posta config check` reads the file again.",
    ),
    Code(
        "config-not-found",
        "The configuration file does not exist.",
        "Name an existing file with --config or POSTA_CONFIG.",
    ),
    Code(
        "config-of-another-user",
        "The file in this directory belongs to another user, who could redirect mail with it.",
        "Name it with --config if it is meant.",
    ),
    Code(
        "config-refused",
        "The server refused the changed configuration as a whole and goes on with the earlier one.",
        "Mend what the message names; `posta config check` reads the file without applying it.",
    ),
    Code("config-syntax", "The configuration is not TOML.", "Mend the line that is named."),
    Code(
        "config-unknown-key",
        "The configuration has a key that does not exist.",
        "The message suggests the nearest one; docs/configuration.md lists all.",
    ),
    Code(
        "config-unreadable",
        "The configuration file cannot be read.",
        "Run the command as the server's user or as root.",
    ),
    Code(
        "config-value",
        "A value in the configuration is wrong.",
        "The message gives an example; docs/configuration.md describes the option.",
    ),
    Code(
        "invalid-request",
        "A field of the request is missing, unknown or of the wrong type.",
        "The message names it; docs/openapi.json describes every field.",
    ),
    Code(
        "locked-out",
        "Too many logins or tokens from this network were wrong.",
        "Wait, or have the operator end it: `posta lockout list`, `posta lockout lift`.",
    ),
    Code(
        "no-authority",
        "The server gets no certificates from an authority.",
        "Set enabled = true under [acme], and restart the server.",
    ),
    Code("no-server", "No server runs that could do this.", "Start it with `posta serve`."),
    Code("no-such-node", "The cluster has no such node.", "`posta cluster status` shows all."),
    Code(
        "no-such-operation",
        "The HTTP interface has no such operation.",
        "docs/openapi.json lists all.",
    ),
    Code(
        "no-such-user",
        "The user of the option `user` does not exist on this machine.",
        "The message shows the command that makes it.",
    ),
    Code("node-is-live", "The node lives and takes work.", "Drain it first, or stop its server."),
    Code(
        "not-ready",
        "The server runs, but would take no mail now.",
        "The message tells why: it stops, is drained, lacks room, or cannot write. The log says more.",
    ),
    Code("one-node", "The store is not shared.", "docs/cluster.md shows one that is."),
    Code(
        "other-version",
        "The server does not understand this command, or the command not the server.",
        "Restart the server, so that both are of one version.",
    ),
    Code(
        "renewal-failed",
        "A certificate could not be renewed.",
        "The message has the authority's own words; `posta check` tells what the world sees.",
    ),
    Code(
        "service-failed",
        "The service could not be installed or started.",
        "The message has the words of the command that failed; `journalctl -u posta` tells more.",
    ),
    Code("stopping", "The server is stopping.", "Try again once it runs."),
    Code("too-large", "A request has at most 1 MiB.", "Send it in parts."),
    Code(
        "too-slow",
        "The request did not arrive within 30 seconds.",
        "Send it again; look for a slow network or a proxy that waits.",
    ),
    Code(
        "trust-anchor",
        "The file of DNSSEC's trust anchors cannot be read.",
        "It holds DNSKEY records as in a zone file.",
    ),
    Code(
        "unknown-socket",
        "A socket was handed over that no [[listen]] has.",
        "Add one to the configuration, or remove its ListenStream= from posta.socket.",
    ),
    Code("user-is-root", "The server must not run as root.", "Name a user of its own."),
    Code(
        "wrong-method",
        "The operation cannot be asked for with this HTTP method.",
        "POST its fields as a JSON object; GET is for operations that only read.",
    ),
];

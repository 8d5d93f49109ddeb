//! Reply codes.

use super::{Meaning, meaning};

/// Reply codes (RFC 5321 §4.2.3 and the extensions).
pub(in super::super) const CODES: &[(u16, Meaning)] = &[
    (
        211,
        meaning(
            "System status, or an answer to HELP.",
            "by a server, to HELP or STAT",
            "Nothing.",
            "RFC 5321 §4.2.2",
        ),
    ),
    (214, meaning("Help follows.", "by a server, to HELP", "Read it.", "RFC 5321 §4.1.1.8")),
    (
        220,
        meaning(
            "The service is ready.",
            "by a server when a connection opens, and to STARTTLS when the handshake may begin",
            "Say EHLO; after STARTTLS, negotiate TLS.",
            "RFC 5321 §4.3.1, RFC 3207 §4",
        ),
    ),
    (
        221,
        meaning(
            "The server closes the connection.",
            "by a server, to QUIT",
            "Nothing: this is how a session ends.",
            "RFC 5321 §4.1.1.10",
        ),
    ),
    (
        235,
        meaning(
            "The authentication succeeded.",
            "by a submission server, to AUTH",
            "Go on and send.",
            "RFC 4954 §6",
        ),
    ),
    (
        250,
        meaning(
            "The command is done. To the end of the data: the server has taken responsibility for the message.",
            "by a server, to most commands",
            "Nothing. Posta sends it to the end of the data only when the message is on disk and in every mailbox.",
            "RFC 5321 §4.2.2",
        ),
    ),
    (
        251,
        meaning(
            "The user is not local; the server forwards the message.",
            "by a server, to RCPT or VRFY",
            "Note the new address.",
            "RFC 5321 §3.4",
        ),
    ),
    (
        252,
        meaning(
            "The server will not say whether the user exists, but will take mail for it.",
            "by a server, to VRFY",
            "Send the message and see.",
            "RFC 5321 §3.5.3",
        ),
    ),
    (
        334,
        meaning(
            "The server expects the next step of the authentication; the text is base64.",
            "by a submission server, within AUTH",
            "Answer the challenge, or cancel with *.",
            "RFC 4954 §4",
        ),
    ),
    (
        354,
        meaning(
            "The content may come.",
            "by a server, to DATA",
            "Send it, and end it with a line that holds a single dot.",
            "RFC 5321 §4.1.1.4",
        ),
    ),
    (
        421,
        meaning(
            "The service is not available and the connection closes.",
            "by a server at any time: it stops, is too busy, or has waited too long",
            "Try again later; a sender's queue does so by itself.",
            "RFC 5321 §3.8",
        ),
    ),
    (
        432,
        meaning(
            "The password must be changed before this mechanism can be used.",
            "by a submission server, to AUTH",
            "Set the password again, then log in.",
            "RFC 4954 §6",
        ),
    ),
    (
        450,
        meaning(
            "The mailbox is not available now: busy, or refused for a while (greylisting).",
            "by a server, to RCPT",
            "Try again later; a sender's queue does so by itself.",
            "RFC 5321 §4.2.2",
        ),
    ),
    (
        451,
        meaning(
            "The server failed within itself, and the command did nothing.",
            "by a server, often to the end of the data",
            "Try again later. On your own server: look at its log and its disk.",
            "RFC 5321 §4.2.2",
        ),
    ),
    (
        452,
        meaning(
            "There is no room now: too many recipients in one transaction, a mailbox over its quota, or a full disk.",
            "by a server, to MAIL, RCPT or the end of the data",
            "Send the rest of the recipients in another transaction; or make room.",
            "RFC 5321 §4.5.3.1.10",
        ),
    ),
    (
        454,
        meaning(
            "TLS or authentication is not available for the moment.",
            "by a server, to STARTTLS or AUTH",
            "Try again later. On your own server: look at its certificate and its log.",
            "RFC 3207 §4, RFC 4954 §6",
        ),
    ),
    (
        455,
        meaning(
            "The server cannot honour a parameter of the command now.",
            "by a server, to MAIL or RCPT",
            "Try again later, or without the parameter.",
            "RFC 5321 §4.1.1.11",
        ),
    ),
    (
        500,
        meaning(
            "The command is not understood, or its line is too long.",
            "by a server",
            "Look at what was sent: a program speaks another protocol, or lines are not ended by CRLF.",
            "RFC 5321 §4.2.2",
        ),
    ),
    (
        501,
        meaning(
            "The command's argument is malformed.",
            "by a server",
            "Correct it: addresses stand in angle brackets, as in MAIL FROM:<ana@example.test>.",
            "RFC 5321 §4.2.2",
        ),
    ),
    (
        502,
        meaning(
            "The command is known, but not implemented here.",
            "by a server",
            "Do without it.",
            "RFC 5321 §4.2.4",
        ),
    ),
    (
        503,
        meaning(
            "The command is out of order.",
            "by a server",
            "First EHLO, then MAIL, RCPT, DATA; AUTH before MAIL.",
            "RFC 5321 §4.1.4",
        ),
    ),
    (
        504,
        meaning(
            "The parameter is not implemented: for AUTH, the mechanism is not offered.",
            "by a server",
            "Use one that the answer to EHLO lists.",
            "RFC 5321 §4.2.2, RFC 4954 §4",
        ),
    ),
    (
        521,
        meaning(
            "The host accepts no mail at all.",
            "by a server when a connection opens",
            "Send elsewhere; this host never receives.",
            "RFC 7504 §2",
        ),
    ),
    (
        525,
        meaning(
            "The account is disabled.",
            "by a submission server, to AUTH with the right password",
            "Ask whoever runs the server; here, `posta account enable ADDRESS` ends it.",
            "RFC 5248 (registry)",
        ),
    ),
    (
        530,
        meaning(
            "Something must come first: authentication, or STARTTLS.",
            "by a submission server",
            "Log in, or begin TLS.",
            "RFC 4954 §6, RFC 3207 §4",
        ),
    ),
    (
        534,
        meaning(
            "The mechanism is too weak for this account.",
            "by a submission server, to AUTH",
            "Use a stronger mechanism, such as SCRAM-SHA-256.",
            "RFC 4954 §6",
        ),
    ),
    (
        535,
        meaning(
            "Name or password is wrong.",
            "by a submission server, to AUTH",
            "Correct them; the name is the full address.",
            "RFC 4954 §6",
        ),
    ),
    (
        538,
        meaning(
            "The mechanism is only offered in TLS.",
            "by a submission server, to AUTH",
            "Begin TLS first.",
            "RFC 4954 §6",
        ),
    ),
    (
        550,
        meaning(
            "The mailbox does not exist, or policy refuses the message.",
            "by a server, to RCPT, or to the end of the data",
            "Correct the address. The status after the code tells which: 5.1.1 is an unknown user, 5.7.1 a refusal.",
            "RFC 5321 §4.2.2",
        ),
    ),
    (
        551,
        meaning(
            "The user is not local, and the server does not forward.",
            "by a server, to RCPT",
            "Send to the address that it names.",
            "RFC 5321 §3.4",
        ),
    ),
    (
        552,
        meaning(
            "The message is too large, or the mailbox over its quota for good.",
            "by a server, to MAIL or the end of the data",
            "Send less, or a link; or have the quota raised.",
            "RFC 5321 §4.2.2, RFC 1870 §6.1",
        ),
    ),
    (
        553,
        meaning(
            "The address is not allowed: malformed, or not yours to send from.",
            "by a server, to MAIL or RCPT",
            "Correct it; on submission send from your own address or an alias of it.",
            "RFC 5321 §4.2.2",
        ),
    ),
    (
        554,
        meaning(
            "The transaction failed; when a connection opens: no service for you.",
            "by a server",
            "Read the text behind it.",
            "RFC 5321 §3.1, §4.2.2",
        ),
    ),
    (
        555,
        meaning(
            "A parameter of MAIL or RCPT is not recognised.",
            "by a server, to MAIL or RCPT",
            "Leave it out; use only what the answer to EHLO lists.",
            "RFC 5321 §4.1.1.11",
        ),
    ),
    (
        556,
        meaning(
            "The domain accepts no mail: it says so in DNS.",
            "by a server, to RCPT",
            "Correct the domain.",
            "RFC 7504 §4, RFC 7505 §4",
        ),
    ),
];

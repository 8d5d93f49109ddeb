//! What codes mean: tables, in the order of their numbers.

/// What is said of a code.
pub(super) struct Meaning {
    pub(super) what: &'static str,
    /// By whom, to what.
    pub(super) who: &'static str,
    /// What a person does about it.
    pub(super) cure: &'static str,
    pub(super) source: &'static str,
}

const fn meaning(
    what: &'static str,
    who: &'static str,
    cure: &'static str,
    source: &'static str,
) -> Meaning {
    Meaning { what, who, cure, source }
}

/// Reply codes (RFC 5321 §4.2.3 and the extensions).
pub(super) const CODES: &[(u16, Meaning)] = &[
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

/// Enhanced status codes without their class (RFC 3463 §3 and its registry).
pub(super) const DETAILS: &[(&str, Meaning)] = &[
    (
        "0.0",
        meaning(
            "Nothing more is known.",
            "with any code",
            "Read the text behind it.",
            "RFC 3463 §3.1",
        ),
    ),
    (
        "1.0",
        meaning("Something is wrong with an address.", "to RCPT", "Correct it.", "RFC 3463 §3.2"),
    ),
    (
        "1.1",
        meaning(
            "There is no such mailbox.",
            "to RCPT",
            "Correct the local-part of the address.",
            "RFC 3463 §3.2",
        ),
    ),
    (
        "1.2",
        meaning(
            "There is no such domain.",
            "to RCPT, or in a report",
            "Correct the domain of the address.",
            "RFC 3463 §3.2",
        ),
    ),
    (
        "1.3",
        meaning("The recipient's address is malformed.", "to RCPT", "Correct it.", "RFC 3463 §3.2"),
    ),
    ("1.5", meaning("The recipient's address is good.", "to RCPT", "Nothing.", "RFC 3463 §3.2")),
    (
        "1.6",
        meaning(
            "The mailbox has moved and left no address.",
            "to RCPT",
            "Ask for the new address.",
            "RFC 3463 §3.2",
        ),
    ),
    (
        "1.7",
        meaning("The sender's address is malformed.", "to MAIL", "Correct it.", "RFC 3463 §3.2"),
    ),
    (
        "1.8",
        meaning(
            "The sender's domain does not exist.",
            "to MAIL",
            "Correct it, or its DNS.",
            "RFC 3463 §3.2",
        ),
    ),
    (
        "1.10",
        meaning(
            "The recipient's domain accepts no mail.",
            "to RCPT, or in a report",
            "Correct the domain.",
            "RFC 7505 §4.2",
        ),
    ),
    (
        "2.0",
        meaning(
            "Something is wrong with the mailbox.",
            "to RCPT",
            "Read the text behind it.",
            "RFC 3463 §3.3",
        ),
    ),
    ("2.1", meaning("The mailbox is disabled.", "to RCPT", "Ask its owner.", "RFC 3463 §3.3")),
    (
        "2.2",
        meaning(
            "The mailbox is full.",
            "to RCPT",
            "Try later; its owner must make room.",
            "RFC 3463 §3.3",
        ),
    ),
    (
        "2.3",
        meaning(
            "The message is too large for the mailbox.",
            "to MAIL or the end of the data",
            "Send less.",
            "RFC 3463 §3.3",
        ),
    ),
    (
        "2.4",
        meaning("A mailing list cannot be expanded.", "to RCPT", "Ask its owner.", "RFC 3463 §3.3"),
    ),
    (
        "3.0",
        meaning(
            "Something is wrong with the receiving system.",
            "at any time",
            "Try later. On your own server: look at its log.",
            "RFC 3463 §3.4",
        ),
    ),
    (
        "3.1",
        meaning(
            "The receiving system has no room.",
            "to MAIL or the end of the data",
            "Try later. On your own server: make room on the disk.",
            "RFC 3463 §3.4",
        ),
    ),
    (
        "3.2",
        meaning(
            "The receiving system takes no mail now.",
            "when a connection opens, or at any time",
            "Try later.",
            "RFC 3463 §3.4",
        ),
    ),
    (
        "3.3",
        meaning(
            "The receiving system cannot do what the message needs.",
            "to MAIL",
            "Send it without that.",
            "RFC 3463 §3.4",
        ),
    ),
    (
        "3.4",
        meaning(
            "The message is too large for the receiving system.",
            "to MAIL or the end of the data",
            "Send less.",
            "RFC 3463 §3.4",
        ),
    ),
    (
        "4.1",
        meaning(
            "The host does not answer.",
            "in a report",
            "Wait: the queue tries again.",
            "RFC 3463 §3.5",
        ),
    ),
    (
        "4.2",
        meaning(
            "The connection broke or waited too long.",
            "at any time",
            "Try again.",
            "RFC 3463 §3.5",
        ),
    ),
    (
        "4.3",
        meaning(
            "The directory cannot be asked.",
            "in a report",
            "Wait: the queue tries again. On your own server: look at DNS.",
            "RFC 3463 §3.5",
        ),
    ),
    (
        "4.4",
        meaning(
            "There is no way to the destination.",
            "in a report",
            "Correct the domain, or its DNS.",
            "RFC 3463 §3.5",
        ),
    ),
    (
        "4.6",
        meaning(
            "The message goes round in a loop.",
            "to the end of the data, or in a report",
            "Look at the Received fields for the servers that send it to each other.",
            "RFC 3463 §3.5",
        ),
    ),
    (
        "4.7",
        meaning(
            "The message was not delivered in time.",
            "in a report",
            "Send it again, or ask the destination.",
            "RFC 3463 §3.5",
        ),
    ),
    (
        "5.0",
        meaning(
            "Something is wrong with the protocol.",
            "to any command",
            "Look at what was sent.",
            "RFC 3463 §3.6",
        ),
    ),
    (
        "5.1",
        meaning(
            "The command is out of order, or not implemented.",
            "to any command",
            "First EHLO, then MAIL, RCPT, DATA.",
            "RFC 3463 §3.6",
        ),
    ),
    ("5.2", meaning("The command is malformed.", "to any command", "Correct it.", "RFC 3463 §3.6")),
    (
        "5.3",
        meaning(
            "There are too many recipients.",
            "to RCPT",
            "Send the rest in another transaction.",
            "RFC 3463 §3.6",
        ),
    ),
    (
        "5.4",
        meaning(
            "The argument or a parameter of the command is wrong.",
            "to any command",
            "Correct it.",
            "RFC 3463 §3.6",
        ),
    ),
    (
        "6.0",
        meaning(
            "Something is wrong with the content.",
            "to the end of the data",
            "Correct the message.",
            "RFC 3463 §3.7",
        ),
    ),
    (
        "6.1",
        meaning(
            "Content of this type is not taken.",
            "to the end of the data",
            "Send another type.",
            "RFC 3463 §3.7",
        ),
    ),
    (
        "6.3",
        meaning(
            "The content would have to be converted, and cannot be.",
            "in a report",
            "Send it in seven bits.",
            "RFC 3463 §3.7",
        ),
    ),
    (
        "6.7",
        meaning(
            "An address outside ASCII is not allowed here.",
            "to MAIL or RCPT",
            "Use SMTPUTF8, or an address in ASCII.",
            "RFC 6531 §3.5",
        ),
    ),
    (
        "7.0",
        meaning(
            "Something is wrong with the authorisation.",
            "to any command",
            "Read the text behind it.",
            "RFC 3463 §3.8",
        ),
    ),
    (
        "7.1",
        meaning(
            "The message is refused by policy: relaying, or sending as somebody else.",
            "to MAIL, RCPT or the end of the data",
            "Log in first; send from your own address; ask the destination.",
            "RFC 3463 §3.8",
        ),
    ),
    (
        "7.4",
        meaning(
            "TLS is required, and the other server does not offer it.",
            "in a report",
            "Nothing, if you are the sender; whoever runs that server has to offer STARTTLS.",
            "RFC 3463 §3.8",
        ),
    ),
    (
        "7.5",
        meaning(
            "TLS with the other server failed, as for its certificate, which the text tells.",
            "in a report",
            "Whoever runs that server has to mend it. A certificate of one's own is listed in `tls.authorities`.",
            "RFC 3463 §3.8",
        ),
    ),
    ("7.8", meaning("Name or password is wrong.", "to AUTH", "Correct them.", "RFC 4954 §6")),
    ("7.9", meaning("The mechanism is too weak.", "to AUTH", "Use a stronger one.", "RFC 4954 §6")),
    ("7.11", meaning("The mechanism needs TLS.", "to AUTH", "Begin TLS first.", "RFC 4954 §6")),
    (
        "7.12",
        meaning(
            "The password must be changed first.",
            "to AUTH",
            "Set the password again.",
            "RFC 4954 §6",
        ),
    ),
    (
        "7.13",
        meaning(
            "The account is disabled.",
            "to AUTH",
            "Ask whoever runs the server; here, `posta account enable ADDRESS` ends it.",
            "RFC 5248 (registry)",
        ),
    ),
    (
        "7.30",
        meaning(
            "The message requires TLS all the way, and there is none.",
            "in a report",
            "Ask the destination to offer TLS.",
            "RFC 8689 §5",
        ),
    ),
];

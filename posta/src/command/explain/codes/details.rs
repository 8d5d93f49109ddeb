//! Enhanced status codes.

use super::{Meaning, meaning};

/// Enhanced status codes without their class (RFC 3463 §3 and its registry).
pub(in super::super) const DETAILS: &[(&str, Meaning)] = &[
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
        "7.20",
        meaning(
            "No signature (DKIM) of the message passed.",
            "to RCPT or the end of the data",
            "The sender's server has to sign its mail: here, `posta domain keys list` shows which records are missing.",
            "RFC 7372 §3",
        ),
    ),
    (
        "7.21",
        meaning(
            "No signature (DKIM) of the message is acceptable, as for what it covers.",
            "to RCPT or the end of the data",
            "Whoever runs the sender's server has to mend its signatures.",
            "RFC 7372 §3",
        ),
    ),
    (
        "7.22",
        meaning(
            "No signature (DKIM) is by the domain in From.",
            "to RCPT or the end of the data",
            "The domain in From has to sign: here, `posta domain keys list` shows its keys.",
            "RFC 7372 §3",
        ),
    ),
    (
        "7.23",
        meaning(
            "SPF does not let this server send for the sender's domain.",
            "to RCPT or the end of the data",
            "Name the server in the SPF record: `posta check` shows what is missing.",
            "RFC 7372 §3",
        ),
    ),
    (
        "7.24",
        meaning(
            "The SPF record of the sender's domain is wrong, or could not be asked.",
            "to RCPT or the end of the data",
            "Mend the record: `posta check` shows what is wrong.",
            "RFC 7372 §3",
        ),
    ),
    (
        "7.25",
        meaning(
            "The address of the sending server has no name in DNS that leads back to it.",
            "to RCPT or the end of the data",
            "Set the reverse name (PTR) at the provider of the address; `posta check` shows whether it is right.",
            "RFC 7372 §3",
        ),
    ),
    (
        "7.26",
        meaning(
            "The message passed none of the checks of its sender (SPF, DKIM, DMARC).",
            "to RCPT or the end of the data",
            "Publish the records that `posta domain dns` prints; `posta check` shows which are missing.",
            "RFC 7372 §3",
        ),
    ),
    (
        "7.27",
        meaning(
            "The sender's domain accepts no mail, so nobody could answer.",
            "to MAIL or RCPT",
            "Send from a domain that receives mail.",
            "RFC 7505 §4.2",
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

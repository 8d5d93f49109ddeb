//! Other servers, as a client meets them.

use super::Code;

pub(super) const CODES: &[Code] = &[
    Code(
        "cannot-connect",
        "No connection to the server could be made.",
        "Look at the host's name, the port and the firewall; `posta talk` shows the dialogue.",
    ),
    Code(
        "impostor",
        "The server could not prove that it knows the password.",
        "Look at its name and its certificate: somebody may be in between.",
    ),
    Code(
        "line-too-long",
        "The other side sends a line without an end.",
        "It is no mail server, or a broken one.",
    ),
    Code(
        "login-refused",
        "The server refused the login.",
        "Look at the user's name, which is often the whole address, and at the password.",
    ),
    Code(
        "no-login-offered",
        "The server offers no login that is safe on this port.",
        "Log in at port 587 with --tls starttls, or at 465 with --tls implicit.",
    ),
    Code(
        "not-a-mail-server",
        "The other side does not speak the protocol.",
        "Look at the port; `posta talk` shows the dialogue.",
    ),
    Code("own-server", "The address belongs to this server.", "Name the other server."),
    Code(
        "recipients-refused",
        "The server refused some of the recipients.",
        "The lines before name each and why.",
    ),
    Code(
        "replies-differ",
        "The server's replies differ from the script.",
        "The lines before show the differences.",
    ),
    Code(
        "server-closed",
        "The server closed the connection.",
        "Try again later; `posta talk` shows the dialogue.",
    ),
    Code(
        "server-refused",
        "The server refused the message.",
        "The message has the server's own words; `posta explain` explains its code.",
    ),
    Code(
        "server-silent",
        "The server did not answer.",
        "Where TLS comes first, as at ports 465 and 995, use --tls implicit.",
    ),
    Code(
        "sessions-failed",
        "Some sessions of the measurement ended with an error.",
        "The lines before count each.",
    ),
    Code(
        "tls-failed",
        "TLS with the server failed.",
        "The message names the cause: no TLS on this port, or a certificate that cannot be trusted.",
    ),
    Code(
        "tls-injection",
        "The server spoke on before TLS had begun, as somebody in between would.",
        "Do not use this connection.",
    ),
];

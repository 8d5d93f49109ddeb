"""Python's own mail clients against the server: python3 interop.py PASSWORD CASE ADDRESS..."""

import base64
import email.message
import hashlib
import hmac
import poplib
import smtplib
import ssl
import sys

poplib._MAXLINE = 10_000_000  # its own limit on lines is shorter than what servers may send

CONTENTS = [
    b"Subject: plain\r\n\r\nbody\r\n",
    b"Subject: dots\r\n\r\n.\r\n..\r\n.a\r\n\r\n.\r\n",
    b"Subject: eight bits\r\n\r\n" + bytes(range(128, 256)) + b"\r\n",
    b"Subject: NUL\r\n\r\na\0b\r\n",
    b"Subject: long line\r\n\r\n" + b"x" * 20_000 + b"\r\n",
    b"Subject: no body\r\n\r\n",
    b"Subject: large\r\n\r\n" + b"line of text\r\n" * 50_000,
]


def host_port(address):
    host, port = address.rsplit(":", 1)
    return host, int(port)


def trusting():
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def below_trace(message):
    """The message without what the server put above it."""
    at = message.index(b"\r\nSubject: ") + 2
    header = message[:at]
    for field in (b"Return-Path: <s@y.test>\r\n", b"Delivered-To: ", b"\r\nReceived: from "):
        assert field in header, header
    return message[at:]


def collect(client, name, password, expected):
    client.user(name)
    client.pass_(password)
    count, octets = client.stat()
    assert count == len(expected), (count, len(expected))
    sizes = [int(line.split()[1]) for line in client.list()[1]]
    assert sum(sizes) == octets
    assert len({line.split()[1] for line in client.uidl()[1]}) == count
    for number, content in enumerate(expected, 1):
        lines = client.retr(number)[1]
        message = b"".join(line + b"\r\n" for line in lines)
        assert len(message) == sizes[number - 1], number
        assert below_trace(message) == content, number
        top = client.top(number, 0)[1]
        assert top[-1] == b"" and top == lines[: len(top)], number
    return count


def plain(password, smtp, pop3):
    with smtplib.SMTP(*host_port(smtp)) as client:
        client.ehlo()
        assert client.has_extn("size") and client.has_extn("8bitmime") and client.has_extn("pipelining")
        for content in CONTENTS:
            client.sendmail("s@y.test", ["ana@x.test", "bob@x.test"], content, ["BODY=8BITMIME"])
        try:
            client.sendmail("s@y.test", ["nobody@x.test"], b"Subject: x\r\n\r\n")
        except smtplib.SMTPRecipientsRefused as refused:
            assert refused.recipients["nobody@x.test"][0] == 550
        else:
            raise AssertionError("an unknown user was accepted")
    client = poplib.POP3(*host_port(pop3))
    assert "TOP" in client.capa() and "STLS" in client.capa()
    collect(client, "ana", password, CONTENTS)
    client.dele(2)
    client.rset()
    client.dele(1)
    client.quit()
    client = poplib.POP3(*host_port(pop3))
    assert collect(client, "ana@x.test", password, CONTENTS[1:]) == len(CONTENTS) - 1
    client.quit()
    client = poplib.POP3(*host_port(pop3))
    try:
        client.user("ana")
        client.pass_("wrong")
    except poplib.error_proto as refused:
        assert b"[AUTH]" in refused.args[0]
    else:
        raise AssertionError("a wrong password was accepted")


def tls(password, smtp, submission, pop3):
    with smtplib.SMTP(*host_port(smtp)) as client:
        client.starttls(context=trusting())
        client.ehlo()
        assert not client.has_extn("starttls")
        client.sendmail("s@y.test", ["bob@x.test"], CONTENTS[0])
    with smtplib.SMTP_SSL(*host_port(submission), context=trusting()) as client:
        client.sendmail("s@y.test", ["bob@x.test"], CONTENTS[1])
    client = poplib.POP3(*host_port(pop3))
    client.stls(context=trusting())
    client.user("bob")
    client.pass_(password)
    count = client.stat()[0]
    assert count == len(CONTENTS) + 2, count
    for number, protocol in ((count - 1, b"with ESMTPS id"), (count, b"with ESMTPS id")):
        assert protocol in b"\r\n".join(client.retr(number)[1])
    client.dele(count)
    client.dele(count - 1)
    client.quit()


def xor(one, other):
    return bytes(a ^ b for a, b in zip(one, other))


def scram(client, user, password, plus=False):
    """SCRAM-SHA-256 (RFC 7677) as a client, written from the RFC; bound to the server's certificate."""
    header, channel = b"n,,", b""
    if plus:
        header = b"p=tls-server-end-point,,"
        channel = hashlib.sha256(client.sock.getpeercert(binary_form=True)).digest()
    bare = b"n=" + user.encode() + b",r=clientnonce"
    first = base64.b64encode(header + bare).decode()
    mechanism = "SCRAM-SHA-256-PLUS" if plus else "SCRAM-SHA-256"
    code, text = client.docmd("AUTH", f"{mechanism} {first}")
    if code != 334:
        return code
    challenge = base64.b64decode(text)
    fields = dict(field.split(b"=", 1) for field in challenge.split(b","))
    salt, rounds = base64.b64decode(fields[b"s"]), int(fields[b"i"])
    assert fields[b"r"].startswith(b"clientnonce") and rounds >= 4096
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, rounds)
    key = hmac.digest(salted, b"Client Key", "sha256")
    last = b"c=" + base64.b64encode(header + channel) + b",r=" + fields[b"r"]
    signed = b",".join([bare, challenge, last])
    proof = xor(key, hmac.digest(hashlib.sha256(key).digest(), signed, "sha256"))
    code, text = client.docmd(base64.b64encode(last + b",p=" + base64.b64encode(proof)).decode())
    if code != 334:
        return code
    server = hmac.digest(hmac.digest(salted, b"Server Key", "sha256"), signed, "sha256")
    assert base64.b64decode(text) == b"v=" + base64.b64encode(server), "the server knows the account"
    return client.docmd("")[0]


def auth(password, submission, pop3):
    def connect():
        client = smtplib.SMTP_SSL(*host_port(submission), context=trusting())
        client.ehlo()
        return client

    for mechanism in ("auth_plain", "auth_login"):
        with connect() as client:
            client.user, client.password = "ana@x.test", password
            client.auth(mechanism[5:].upper(), getattr(client, mechanism))
            client.sendmail("ana@x.test", ["bob@x.test"], CONTENTS[0])
            client.sendmail("info@x.test", ["bob@x.test"], CONTENTS[0])
            try:
                client.sendmail("bob@x.test", ["bob@x.test"], CONTENTS[0])
            except smtplib.SMTPSenderRefused as refused:
                assert refused.smtp_code == 553, refused
            else:
                raise AssertionError("ana sent as bob")
    with connect() as client:
        # It chooses the mechanism, and says SMTPUTF8 only where an address needs it.
        client.login("ana@x.test", password)
        note = email.message.EmailMessage()
        note["From"], note["To"], note["Subject"] = "ana@x.test", "bob@x.test", "Bun\u0103 ziua"
        note.set_content("\u00een Rom\u00e2nia\n")
        assert client.send_message(note) == {}
    for plus in (False, True):
        with connect() as client:
            # Not offered, and taken all the same.
            assert "SCRAM-SHA-256 " in client.esmtp_features["auth"] and "-PLUS" not in client.esmtp_features["auth"]
            assert scram(client, "ana@x.test", password, plus) == 235, plus
            client.sendmail("ana@x.test", ["bob@x.test"], CONTENTS[0])
        for user, wrong in (("ana@x.test", "wrong"), ("nobody@x.test", password)):
            with connect() as client:
                assert scram(client, user, wrong, plus) == 535, (user, plus)
    client = poplib.POP3(*host_port(pop3))
    client.stls(context=trusting())
    client.user("bob")
    client.pass_(password)
    count = client.stat()[0]
    message = b"\r\n".join(client.retr(count)[1])
    assert b"with ESMTPSA id" in message and b"\ttls TLS_" in message, message
    for number in range(count, count - 7, -1):
        client.dele(number)
    client.quit()


def pop3s(password, lmtp, pop3):
    client = poplib.POP3_SSL(*host_port(pop3), context=trusting())
    # `tls.channel-binding = true`.
    assert client.capa()["SASL"][:2] == ["SCRAM-SHA-256-PLUS", "SCRAM-SHA-256"], client.capa()
    collect(client, "bob", password, CONTENTS)
    client.quit()
    with smtplib.LMTP(*host_port(lmtp)) as client:
        # One recipient: smtplib does not read a reply for each (RFC 2033 §4.2).
        client.sendmail("s@y.test", ["bob@x.test"], CONTENTS[0])


if __name__ == "__main__":
    password, case, *addresses = sys.argv[1:]
    {"plain": plain, "tls": tls, "auth": auth, "pop3s": pop3s}[case](password, *addresses)

"""Debian's mail programs deliver to the server:
python3 programs.py PASSWORD SMTP SUBMISSION SUBMISSIONS POP3 CERTIFICATE

SMTP offers STARTTLS, SUBMISSION offers STARTTLS and AUTH, SUBMISSIONS is in TLS from its start. Each
program sends a message with an attachment over each of them, as fits; what arrives is compared.
"""

import atexit
import base64
import email
import email.message
import os
import poplib
import shutil
import ssl
import subprocess
import sys
import tempfile
import time

poplib._MAXLINE = 10_000_000
ATTACHMENT = bytes(range(256)) * 40 + b"\n.\n..\nFrom the end\n"


def message():
    made = email.message.EmailMessage()
    made["From"] = "ana@x.test"
    made["To"] = "bob@x.test"
    made["Subject"] = "Bun\u0103 ziua"
    made["Date"] = "Thu, 15 Jan 2004 12:38:50 -0500"
    made["Message-ID"] = "<1@x.test>"
    made.set_content("text\n.\n..dots\n.\nlast line\n")
    made.add_attachment(ATTACHMENT, maintype="application", subtype="octet-stream", filename="a.bin")
    return bytes(made).replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")


def run(command, text=b"", environment=None):
    ran = subprocess.run(
        command,
        input=text,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=60,
        env={**os.environ, **(environment or {})},
    )
    return ran.returncode, ran.stdout


def deliver(command, text=b"", environment=None):
    code, said = run(command, text, environment)
    assert code == 0, (command, said.decode(errors="replace"))


class Server:
    def __init__(self, password, smtp, submission, submissions, pop3, certificate=None):
        self.certificate = certificate
        self.password, self.smtp, self.submission = password, smtp, submission
        self.submissions, self.pop3 = submissions, pop3
        self.directory = tempfile.mkdtemp(prefix="posta-programs-")
        atexit.register(shutil.rmtree, self.directory, ignore_errors=True)
        self.content = message()
        self.unix = self.content.replace(b"\r\n", b"\n")
        self.file = self.write("message.eml", self.content)
        self.attachment = self.write("a.bin", ATTACHMENT)

    def write(self, name, text):
        path = os.path.join(self.directory, name)
        with open(path, "wb") as file:
            file.write(text)
        os.chmod(path, 0o600)
        return path

    def log_in(self):
        host, port = self.pop3.split(":")
        client = poplib.POP3(host, int(port))
        client.user("bob")
        client.pass_(self.password)
        return client

    def wait(self):
        """Until a message has arrived."""
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            client = self.log_in()
            count = client.stat()[0]
            client.quit()
            if count > 0:
                return
            time.sleep(0.1)
        raise AssertionError("nothing arrived")

    def collect(self):
        client = self.log_in()
        count = client.stat()[0]
        assert count == 1, f"{count} messages arrived"
        arrived = b"".join(line + b"\r\n" for line in client.retr(1)[1])
        client.dele(1)
        client.quit()
        return arrived

    def arrived(self, name, recipient="bob@x.test"):
        """The whole message, byte for byte, below the trace."""
        got = self.collect()
        at = got.index(b"\r\nFrom: ") + 2
        if got[at:] != self.content:
            pairs = zip(got[at:], self.content)
            first = next((i for i, (a, b) in enumerate(pairs) if a != b), len(self.content))
            raise AssertionError((name, first, got[at:][first : first + 80], len(got) - at, len(self.content)))
        start = f"Return-Path: <ana@x.test>\r\nDelivered-To: {recipient}\r\nReceived: "
        assert got.startswith(start.encode()), (name, got[:200])
        print(f"{name}: byte-identical")

    def arrived_parts(self, name):
        """A program that composes by itself: its attachment, byte for byte."""
        got = email.message_from_bytes(self.collect())
        parts = [part.get_payload(decode=True) for part in got.walk() if part.get_filename() == "a.bin"]
        assert parts == [ATTACHMENT], (name, got.as_string()[:2000])
        print(f"{name}: attachment byte-identical")


def swaks(server):
    # swaks ends the last line by itself.
    file = server.write("message.swaks", server.unix.removesuffix(b"\n"))
    base = ["swaks", "--from", "ana@x.test", "--to", "bob@x.test", "--data", "@" + file]
    login = ["--auth-user", "ana@x.test", "--auth-password", server.password]
    for name, more in {
        "swaks 25": ["--server", server.smtp],
        "swaks 25 STARTTLS": ["--server", server.smtp, "-tls"],
        "swaks 587 PLAIN": ["--server", server.submission, "-tls", "--auth", "PLAIN", *login],
        "swaks 587 LOGIN": ["--server", server.submission, "-tls", "--auth", "LOGIN", *login],
        "swaks 465": ["--server", server.submissions, "--tls-on-connect", "--auth", "PLAIN", *login],
    }.items():
        deliver(base + more)
        server.arrived(name)


def msmtp(server):
    for name, address, more in [
        ("msmtp 25", server.smtp, ["--tls=off"]),
        ("msmtp 587", server.submission, ["--tls=on", "--tls-starttls=on", "--auth=plain"]),
        ("msmtp 587 SCRAM", server.submission, ["--tls=on", "--auth=scram-sha-256"]),
        ("msmtp 587 by itself", server.submission, ["--tls=on", "--auth=on"]),
        ("msmtp 465", server.submissions, ["--tls=on", "--tls-starttls=off", "--auth=on"]),
    ]:
        host, port = address.split(":")
        options = [f"--host={host}", f"--port={port}", "--from=ana@x.test", "--tls-certcheck=off", *more]
        if "25" not in name:
            options += ["--user=ana@x.test", f"--passwordeval=echo {server.password}"]
        deliver(["msmtp", *options, "bob@x.test"], server.unix)
        server.arrived(name)


def curl(server):
    base = ["curl", "-sS", "--insecure", "--mail-from", "ana@x.test", "--mail-rcpt", "bob@x.test"]
    base += ["--upload-file", server.file]
    login = ["--user", f"ana@x.test:{server.password}"]
    deliver([*base, f"smtp://{server.smtp}/c.test"])
    server.arrived("curl 25")
    deliver([*base, "--ssl-reqd", f"smtp://{server.smtp}/c.test"])
    server.arrived("curl 25 STARTTLS")
    deliver([*base, *login, "--ssl-reqd", f"smtp://{server.submission}/c.test"])
    server.arrived("curl 587")
    deliver([*base, *login, f"smtps://{server.submissions}/c.test"])
    server.arrived("curl 465")


def s_nail(server):
    login = f"ana%40x.test:{server.password}@"
    for name, url, more in [
        ("s-nail 25", f"smtp://{server.smtp}", ["-S", "smtp-auth=none"]),
        ("s-nail 587", f"smtp://{login}{server.submission}", ["-S", "smtp-use-starttls"]),
        ("s-nail 465", f"smtps://{login}{server.submissions}", []),
    ]:
        options = ["-:/", "-S", "v15-compat=yes", "-S", "tls-verify=ignore", "-S", "from=ana@x.test", "-S", f"mta={url}"]
        command = ["s-nail", *options, *more, "-S", "sendwait", "-r", "ana@x.test"]
        deliver([*command, "-s", "hello", "-a", server.attachment, "bob@x.test"], b"text\n.\n")
        server.arrived_parts(name)


def mutt(server, program="mutt"):
    """It chooses the mechanism: the strongest that is offered."""
    login = f"ana%40x.test:{server.password}@"
    for name, url, more in [
        ("25", f"smtp://{server.smtp}", "ssl_starttls=no ssl_force_tls=no"),
        ("25 STARTTLS", f"smtp://{server.smtp}", "ssl_starttls=yes ssl_force_tls=yes"),
        ("587", f"smtp://{login}{server.submission}", "ssl_starttls=yes ssl_force_tls=yes"),
        ("465", f"smtps://{login}{server.submissions}", "ssl_starttls=no"),
    ]:
        config = server.write(
            "muttrc",
            f"set {more}\nset certificate_file={server.certificate} ssl_verify_host=no ssl_verify_dates=no\n"
            f"set smtp_url={url}\nset from=ana@x.test use_from=yes use_envelope_from=yes copy=no hostname=x.test\n".encode(),
        )
        command = [program, "-n", "-F", config, "-s", "hello", "-a", server.attachment, "--", "bob@x.test"]
        deliver(command, b"text\n.\n..dots\n", {"HOME": server.directory})
        server.arrived_parts(f"{program} {name}")


def neomutt(server):
    mutt(server, "neomutt")


GO = r"""
package main

import (
	"crypto/tls"
	"log"
	"net"
	"net/smtp"
	"os"
)

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

func main() {
	how, address, name, password := os.Args[1], os.Args[2], os.Args[3], os.Args[4]
	content, err := os.ReadFile(os.Args[5])
	check(err)
	config := &tls.Config{ServerName: name, InsecureSkipVerify: true}
	connection, err := net.Dial("tcp", address)
	check(err)
	if how == "465" {
		connection = tls.Client(connection, config)
	}
	client, err := smtp.NewClient(connection, name)
	check(err)
	check(client.Hello("c.test"))
	if how == "587" || how == "25 STARTTLS" {
		check(client.StartTLS(config))
	}
	if how == "587" || how == "465" {
		check(client.Auth(smtp.PlainAuth("", "ana@x.test", password, name)))
	}
	check(client.Mail("ana@x.test"))
	check(client.Rcpt("bob@x.test"))
	data, err := client.Data()
	check(err)
	_, err = data.Write(content)
	check(err)
	check(data.Close())
	check(client.Quit())
}
"""


def go(server):
    """net/smtp says SMTPUTF8 and BODY=8BITMIME wherever they are offered."""
    source = server.write("deliver.go", GO.encode())
    program = os.path.join(server.directory, "deliver")
    cache = {"HOME": server.directory, "GOCACHE": server.directory + "/go-cache", "GO111MODULE": "off"}
    deliver(["go", "build", "-o", program, source], environment=cache)
    for name, address in {
        "25": server.smtp, "25 STARTTLS": server.smtp, "587": server.submission, "465": server.submissions,
    }.items():
        deliver([program, name, address, "mail.x.test", server.password, server.file])
        server.arrived(f"Go's net/smtp {name}")


def openssl(server):
    stuffed = server.content.replace(b"\r\n.", b"\r\n..")
    plain = base64.b64encode(b"\0ana@x.test\0" + server.password.encode())
    for name, address, more in [
        ("openssl 587", server.submission, ["-starttls", "smtp"]),
        ("openssl 465", server.submissions, []),
    ]:
        command = ["openssl", "s_client", "-quiet", "-crlf", "-connect", address, *more]
        client = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        # -crlf makes CRLF of each LF.
        lines = [b"EHLO c.test", b"AUTH PLAIN " + plain, b"MAIL FROM:<ana@x.test>", b"RCPT TO:<bob@x.test>", b"DATA"]
        for line in lines + [stuffed.replace(b"\r\n", b"\n") + b".", b"quit"]:
            client.stdin.write(line + b"\n")
            client.stdin.flush()
            time.sleep(0.1)
        said = client.communicate(timeout=20)[0]
        assert b"250 2.0.0 Ok: kept as" in said, said
        server.arrived(name)


if __name__ == "__main__":
    server = Server(*sys.argv[1:])
    for program in (swaks, msmtp, curl, s_nail, mutt, neomutt, go, openssl):
        program(server)

"""Debian's mail programs collect a mailbox: python3 collect.py PASSWORD SMTP POP3 POP3S CERTIFICATE PROGRAM

POP3 offers STLS and APOP. The mailbox of bob@x.test is filled with messages of every kind; each program
collects all of them, in plaintext, by STLS and in TLS from the start, as far as it can; what it
collected is compared octet by octet with what was sent.
"""

import atexit
import os
import poplib
import pty
import re
import select
import shutil
import signal
import smtplib
import ssl
import subprocess
import sys
import tempfile
import time

poplib._MAXLINE = 10_000_000
COUNT = 200
HEADER = "From: ana@x.test\r\nTo: bob@x.test\r\nDate: Thu, 15 Jan 2004 12:38:50 -0500\r\nMessage-ID: <%d@x.test>\r\nSubject: %s\r\n"


def bodies():
    """One of each kind."""
    attachment = "".join("%s\r\n" % ("QUJD" * 18) for _ in range(400))
    yield "plain", "text\r\n"
    yield "dots", ".\r\n..\r\n.leading\r\n...\r\nlast.\r\n.\r\n"
    yield "empty", ""
    yield "blank lines", "\r\n\r\n\r\n"
    yield "=?utf-8?q?Bun=C4=83_ziua?=", "8 bit: bun\u0103 ziua, \u00e7a va, \u65e5\u672c\r\n"
    yield "Ro\u0219u \u00een antet", "UTF-8 in the header section\r\n"
    yield "long lines", "x" * 5000 + "\r\n" + "." + "y" * 3000 + "\r\n"
    yield "attachment", "MIME\r\n\r\n" + attachment
    yield "From", "From here on\r\n>From there\r\n From within\r\n"
    yield "spaces", "trailing spaces   \r\n\ttab\r\n \r\n"


def messages():
    kinds = list(bodies())
    for number in range(COUNT):
        subject, body = kinds[number % len(kinds)]
        yield (HEADER % (number, subject) + "\r\n" + body).encode()


def run(command, text=b"", environment=None, cwd=None, codes=(0,), seconds=120):
    ran = subprocess.run(
        command, input=text, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        timeout=seconds, env={**os.environ, **(environment or {})}, cwd=cwd,
    )
    assert ran.returncode in codes, (command, ran.returncode, ran.stdout[-2000:].decode(errors="replace"))
    return ran.stdout


class Place:
    def __init__(self, password, smtp, pop3, pop3s, certificate, program):
        self.password, self.certificate, self.program = password, certificate, program
        self.smtp, self.pop3, self.pop3s = (place.split(":") for place in (smtp, pop3, pop3s))
        self.home = tempfile.mkdtemp(prefix="posta-collect-")
        atexit.register(shutil.rmtree, self.home, ignore_errors=True)
        self.made = 0
        self.expected = None

    def write(self, name, text):
        path = os.path.join(self.home, name)
        with open(path, "w") as file:
            file.write(text)
        os.chmod(path, 0o600)
        return path

    def maildir(self):
        self.made += 1
        path = os.path.join(self.home, "maildir-%d" % self.made)
        for part in ("cur", "new", "tmp"):
            os.makedirs(os.path.join(path, part))
        return path

    def deliverer(self, maildir):
        """A program that puts its input into a Maildir."""
        path = self.write("deliver", "#!/bin/sh\ncat > $(mktemp %s/new/XXXXXXXXXX)\n" % maildir)
        os.chmod(path, 0o700)
        return path

    def fill(self):
        client = smtplib.SMTP(self.smtp[0], int(self.smtp[1]))
        client.ehlo()
        for message in messages():
            client.sendmail("ana@x.test", ["bob@x.test"], message, ["SMTPUTF8", "BODY=8BITMIME"])
        client.quit()

    def log_in(self):
        client = poplib.POP3(self.pop3[0], int(self.pop3[1]))
        client.user("bob")
        client.pass_(self.password)
        return client

    def read(self):
        """What the server has, by poplib, with the octet counts compared."""
        client = self.log_in()
        got = []
        for number in range(1, COUNT + 1):
            octets = int(client.list(number).split()[2])
            _, lines, _ = client.retr(number)
            message = b"".join(line + b"\r\n" for line in lines)
            assert len(message) == octets, (number, len(message), octets)
            got.append(message)
        client.quit()
        sent = list(messages())
        assert all(got[i].endswith(sent[i]) for i in range(COUNT)), "what was sent is what is kept"
        self.expected = sorted(got)

    def compare(self, what, got, its_own=None):
        """Line ends aside, and the field that the program itself writes."""
        assert len(got) == COUNT, (what, len(got))

        def plain(text):
            text = text.replace(b"\r\n", b"\n")
            return re.sub(its_own, b"", text, count=1) if its_own else text

        got = sorted(plain(text) for text in got)
        expected = sorted(plain(text) for text in self.expected)
        for one, other in zip(got, expected):
            assert one == other, (what, one[:600], other[:600])
        print("%s: %d messages" % (what, COUNT), flush=True)

    def files(self, maildir):
        for part in ("new", "cur"):
            for name in os.listdir(os.path.join(maildir, part)):
                with open(os.path.join(maildir, part, name), "rb") as file:
                    yield file.read()


def by_poplib(place):
    context = ssl.create_default_context(cafile=place.certificate)
    context.check_hostname = False
    plain = poplib.POP3(*place.pop3)
    assert "SASL" in plain.capa() and "UTF8" in plain.capa()
    secured = poplib.POP3(*place.pop3)
    secured.stls(context)
    for how, client in [("STLS", secured), ("POP3S", poplib.POP3_SSL(*place.pop3s, context=context))]:
        client.user("bob@x.test")
        client.pass_(place.password)
        uids = [line.split()[1] for line in client.uidl()[1]]
        assert len(set(uids)) == COUNT
        got = [b"\r\n".join(client.retr(n)[1]) + b"\r\n" for n in range(1, COUNT + 1)]
        client.quit()
        place.compare("poplib, " + how, got)


def by_curl(place):
    for how, url, flags in [
        ("plaintext", "pop3://%s:%s" % tuple(place.pop3), []),
        ("STLS", "pop3://%s:%s" % tuple(place.pop3), ["--ssl-reqd", "--insecure"]),
        ("POP3S", "pop3s://%s:%s" % tuple(place.pop3s), ["--insecure"]),
    ]:
        user = ["--user", "bob@x.test:" + place.password]
        command = ["curl", "--silent", "--show-error", "--fail", *flags, *user]
        out = place.maildir()
        command += [url + "/[1-%d]" % COUNT, "--output", out + "/new/#1"]
        run(command)
        place.compare("curl, " + how, list(place.files(out)))


def by_fetchmail(place):
    for how, (host, port), options in [
        ("plaintext", place.pop3, "sslproto ''"),
        ("STLS", place.pop3, "sslproto 'TLS1.2+' no sslcertck"),
        ("POP3S", place.pop3s, "ssl no sslcertck"),
    ]:
        out = place.maildir()
        deliverer = place.deliverer(out)
        config = place.write(
            "fetchmailrc",
            "set invisible\npoll 127.0.0.1 protocol pop3 port %s: user 'bob@x.test' password '%s' %s "
            "fetchall keep no rewrite no mimedecode mda '%s'\n" % (port, place.password, options, deliverer),
        )
        run(["fetchmail", "--fetchmailrc", config, "--pidfile", place.home + "/pid", "--nosyslog"],
            environment={"HOME": place.home, "FETCHMAILHOME": place.home})
        place.compare("fetchmail, " + how, list(place.files(out)), rb"\AFrom .*\n|(?<=\n)Status: .*\n")


def by_getmail(place):
    for how, (host, port), kind in [("plaintext", place.pop3, "SimplePOP3Retriever"), ("POP3S", place.pop3s, "SimplePOP3SSLRetriever")]:
        # Once in some thousand messages it waits for ever for a child that has ended, with nothing left to read from
        # us: it misses the signal.
        for attempt in range(4):
            out = place.maildir()
            config = place.write(
                "getmailrc",
                "[retriever]\ntype = %s\nserver = 127.0.0.1\nport = %s\nusername = bob@x.test\npassword = %s\n"
                "[destination]\ntype = MDA_external\npath = %s\nallow_root_commands = true\n"
                "[options]\nread_all = true\ndelete = false\ndelivered_to = false\nreceived = false\nverbose = 0\n"
                % (kind, port, place.password, place.deliverer(out)),
            )
            try:
                run(["getmail", "--getmaildir", place.home, "--rcfile", config], seconds=60)
                break
            except subprocess.TimeoutExpired:
                assert attempt < 3, "it hangs every time"
        place.compare("getmail, " + how, list(place.files(out)), rb"\AReturn-Path: .*\n")


def by_mpop(place):
    for how, (host, port), options in [
        ("plaintext", place.pop3, "tls off"),
        ("STLS", place.pop3, "tls on\ntls_starttls on\ntls_certcheck off"),
        ("POP3S", place.pop3s, "tls on\ntls_starttls off\ntls_certcheck off"),
    ]:
        for auth in ("on", "user", "plain", "scram-sha-256"):
            out = place.maildir()
            config = place.write(
                "mpoprc",
                "account default\nhost 127.0.0.1\nport %s\nuser bob@x.test\npassword %s\nauth %s\n%s\nkeep on\n"
                "received_header off\nuidls_file %s/uidls\ndelivery maildir %s\n"
                % (port, place.password, auth, options, out, out),
            )
            run(["mpop", "--file=" + config, "--quiet"])
            place.compare("mpop, %s, %s" % (how, auth), list(place.files(out)))


def by_neomutt(place):
    by_mutt(place, "neomutt")


def by_mutt(place, program="mutt"):
    """It chooses the mechanism: the strongest that is offered."""
    for how, scheme, port, starttls in [
        ("plaintext", "pop", place.pop3[1], "ssl_starttls=no ssl_force_tls=no"),
        ("STLS", "pop", place.pop3[1], "ssl_starttls=yes ssl_force_tls=yes"),
        ("POP3S", "pops", place.pop3s[1], "ssl_starttls=no"),
    ]:
        out = place.maildir()
        config = place.write(
            "muttrc",
            "set %s\nset certificate_file=%s\nset ssl_verify_host=no ssl_verify_dates=no\n"
            "set mbox_type=Maildir\nset auto_tag=yes confirmappend=no delete=no wait_key=no\n"
            "set pop_delete=no pop_checkinterval=0 folder=%s header_cache=\"\" message_cachedir=\"\"\n"
            % (starttls, place.certificate, place.home),
        )
        url = "%s://bob%%40x.test:%s@127.0.0.1:%s" % (scheme, place.password, port)
        copy_all(place, program, config, url, out)
        its_own = rb"(?<=\n)Content-Length: \d+\nLines: \d+\n"
        place.compare("%s, %s" % (program, how), list(place.files(out)), its_own)


def copy_all(place, program, config, folder, out):
    """Copies what a mutt finds in a folder into a Maildir."""
    keys = "push '<tag-pattern>~A<enter><tag-prefix><copy-message>%s<enter><exit>'" % out
    in_a_terminal([program, "-n", "-F", config, "-f", folder, "-e", keys], place.home)


def by_posta(place):
    """What `posta fetch` writes into an mbox is found there by mutt and neomutt."""
    mbox = os.path.join(place.home, "mbox")
    command = [place.program, "fetch", "--server", ":".join(place.pop3), "--user", "bob@x.test", "--password-stdin"]
    run([*command, "--all", "--tls", "none", "--mbox", mbox], place.password.encode())
    for program in ("mutt", "neomutt"):
        out = place.maildir()
        config = place.write("muttrc", "set mbox_type=Maildir auto_tag=yes confirmappend=no delete=no move=no folder=%s\n" % place.home)
        copy_all(place, program, config, mbox, out)
        found = list(place.files(out))
        ids = {re.search(rb"(?m)^Message-ID: (<\d+@x.test>)$", text).group(1) for text in found}
        assert len(found) == len(ids) == COUNT, (program, len(found), len(ids))
        print("posta fetch --mbox, %s: %d messages" % (program, COUNT), flush=True)


def in_a_terminal(command, home, seconds=60):
    """Runs a program that wants a terminal: what it shows is read, and nobody types."""
    child, terminal = pty.fork()
    if child == 0:
        os.chdir(home)
        os.execvpe(command[0], command, {**os.environ, "TERM": "vt100", "HOME": home, "LINES": "24", "COLUMNS": "80"})
    shown, deadline = b"", time.monotonic() + seconds
    try:
        while time.monotonic() < deadline:
            if not select.select([terminal], [], [], 1)[0]:
                continue
            try:
                octets = os.read(terminal, 65536)
            except OSError:
                # Its other end is closed.
                octets = b""
            if not octets:
                break
            shown = (shown + octets)[-4000:]
        else:
            os.kill(child, signal.SIGKILL)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    finally:
        os.close(terminal)
    assert status == 0, (command, status, shown.decode(errors="replace"))


def by_s_nail(place):
    for how, url, options in [
        ("plaintext", "pop3://bob%%40x.test:%s@127.0.0.1:%s" % (place.password, place.pop3[1]), []),
        ("STLS", "pop3://bob%%40x.test:%s@127.0.0.1:%s" % (place.password, place.pop3[1]), ["-S", "pop3-use-starttls"]),
        ("POP3S", "pop3s://bob%%40x.test:%s@127.0.0.1:%s" % (place.password, place.pop3s[1]), []),
    ]:
        out = os.path.join(place.maildir(), "mbox")
        command = ["s-nail", "-:/", "-R", "-S", "v15-compat", "-S", "tls-verify=ignore", "-S", "pop3-auth=plain", "-S", "pop3-no-apop", *options, "-f", url]
        run(command, ("copy * %s\nxit\n" % out).encode(), {"HOME": place.home})
        with open(out, "rb") as file:
            text = file.read()
        count = len(re.findall(rb"^Message-ID: <\d+@x.test>$", text, re.M))
        assert count == COUNT, (how, count)
        # An mbox quotes lines that begin with From, not so that it could be undone: that aside.
        plain = lambda text: re.sub(rb"(?m)^>*From", b"From", text.replace(b"\r\n", b"\n"))
        text = plain(text)
        for message in messages():
            body = plain(message).split(b"\n\n", 1)[1]
            assert body in text, (how, body[:200])
        print("s-nail, %s: %d messages" % (how, COUNT), flush=True)


def by_openssl(place):
    dialogue = ["USER bob@x.test", "PASS " + place.password]
    for how, (host, port), flags in [("STLS", place.pop3, ["-starttls", "pop3"]), ("POP3S", place.pop3s, [])]:
        command = ["openssl", "s_client", "-quiet", "-verify_quiet", "-connect", "%s:%s" % (host, port), *flags]
        lines = dialogue + ["RETR %d" % n for n in range(1, COUNT + 1)] + ["QUIT"]
        said = run(command, "".join(line + "\r\n" for line in lines).encode(), codes=(0, 1))
        got = re.findall(rb"^\+OK \d+ octets\r\n(.*?)^\.\r\n", said, re.M | re.S)
        place.compare("openssl, " + how, [re.sub(rb"(?m)^\.\.", b".", text) for text in got])


PERL = r"""
use strict; use Net::POP3;
my ($port, $how, $ssl, $password, $out) = @ARGV;
my $pop = Net::POP3->new('127.0.0.1', Port => $port, Timeout => 60, $ssl eq 'pop3s' ? (SSL => 1, SSL_verify_mode => 0) : ()) or die "no connection: $@";
if ($ssl eq 'stls') { $pop->starttls(SSL_verify_mode => 0) or die 'no TLS: ' . $pop->message; }
my $count = $how eq 'apop' ? $pop->apop('ana@x.test', $password) : $pop->login('bob@x.test', $password);
defined $count or die 'no login: ' . $pop->message;
for my $n (1 .. $count) {
    my $lines = $pop->get($n) or die 'no message ' . $n;
    open my $file, '>:raw', "$out/new/$n" or die $!;
    print $file @$lines;
    close $file;
}
$pop->quit;
print "$count\n";
"""


def by_perl(place):
    script = place.write("collect.pl", PERL)
    for how, (host, port), ssl_mode in [
        ("plaintext", place.pop3, "none"), ("STLS", place.pop3, "stls"), ("POP3S", place.pop3s, "pop3s"),
    ]:
        out = place.maildir()
        run(["perl", script, port, "login", ssl_mode, place.password, out])
        place.compare("Net::POP3, " + how, list(place.files(out)))


def perl_apop(place):
    script = place.write("collect.pl", PERL)
    said = run(["perl", script, place.pop3[1], "apop", "none", place.password, place.maildir()])
    assert said.strip() == b"0E0", said
    run(["perl", script, place.pop3[1], "apop", "none", "wrong", place.maildir()], codes=range(1, 256))
    greeting = poplib.POP3(*place.pop3).getwelcome()
    assert re.search(rb"<\S+@\S+>$", greeting), greeting
    client = poplib.POP3(*place.pop3)
    client.apop("ana@x.test", place.password)
    client.quit()
    print("APOP: Net::POP3, poplib")


def main():
    place = Place(*sys.argv[1:])
    place.fill()
    place.read()
    programs = [by_poplib, by_curl, by_fetchmail, by_getmail, by_mpop, by_neomutt, by_mutt, by_posta, by_s_nail, by_openssl, by_perl, perl_apop]
    failed = []
    for program in programs:
        try:
            program(place)
        except (AssertionError, subprocess.TimeoutExpired) as error:
            failed.append((program.__name__, error))
            print("FAILED %s: %s" % (program.__name__, error), flush=True)
    assert not failed, [name for name, _ in failed]


main()

"""Debian's mail servers deliver to ours: python3 mtas.py PASSWORD SMTP SUBMISSION SUBMISSIONS POP3

Postfix, Exim and OpenSMTPD each relay a message with an attachment over each of the three; what
arrives is compared. Exits with 77 where this machine lets nobody make a root for them.
"""

import sys
import time

import peers
from programs import Server

# Bob's address says which way his mail is to take.
WAYS = {"25": "bob+25@x.test", "25 STARTTLS": "bob+tls@x.test", "587": "bob+587@x.test", "465": "bob+465@x.test"}


def port(address):
    return address.split(":")[1]


def postfix(server):
    peer = peers.Peer(["postfix", "libsasl2-modules", "libsasl2-2"])
    auth = "-o smtp_sasl_auth_enable=yes -o smtp_sasl_mechanism_filter=plain"
    services = {
        "plain": "-o smtp_tls_security_level=none",
        "starttls": "-o smtp_tls_security_level=encrypt",
        "submission-client": f"-o smtp_tls_security_level=encrypt {auth}",
        "submissions-client": f"-o smtp_tls_security_level=encrypt -o smtp_tls_wrappermode=yes {auth}",
    }
    addresses = (server.smtp, server.smtp, server.submission, server.submissions)
    routes = zip(WAYS.values(), services, addresses)
    peer.write("/etc/postfix/transport", "".join(f"{to} {name}:[127.0.0.1]:{port(at)}\n" for to, name, at in routes))
    logins = (f"[127.0.0.1]:{port(at)} ana@x.test:{server.password}\n" for at in (server.submission, server.submissions))
    peer.write("/etc/postfix/logins", "".join(logins))
    peer.write(
        "/etc/postfix/main.cf",
        "compatibility_level = 3.6\nmyhostname = relay.test\nmydestination =\nalias_maps =\n"
        "maillog_file = /dev/stdout\ntransport_maps = texthash:/etc/postfix/transport\n"
        "smtp_sasl_password_maps = texthash:/etc/postfix/logins\nsmtp_sasl_security_options = noanonymous\n"
        # Its own answers are not to be looked up anywhere.
        "smtp_host_lookup = native\ndisable_dns_lookups = yes\n",
    )
    # No listener: mail comes by its sendmail.
    master = [line for line in peer.run("cat", "/etc/postfix/master.cf").splitlines() if not line.startswith("smtp      inet")]
    master += [f"{name} unix - - n - - smtp {options}" for name, options in services.items()]
    # A root of its own is enough.
    peer.write("/etc/postfix/master.cf", "\n".join(master).replace("  y  ", "  n  ") + "\n")
    peer.start("postfix", "start-fg")
    deadline = time.monotonic() + 20
    while "daemon started" not in peer.said() and time.monotonic() < deadline:
        time.sleep(0.1)
    deliver(peer, server, "Postfix", ["sendmail", "-i", "-f", "ana@x.test"])


def exim(server):
    peer = peers.Peer(["exim4-daemon-light"])
    ways = [
        ("25", server.smtp, "hosts_avoid_tls = *"),
        ("tls", server.smtp, "hosts_require_tls = *"),
        ("587", server.submission, "hosts_require_tls = *\n hosts_require_auth = *"),
        ("465", server.submissions, "protocol = smtps\n hosts_require_auth = *"),
    ]
    routers = "".join(
        f"r{tag}:\n driver = manualroute\n local_parts = bob+{tag}\n transport = t{tag}\n"
        f" route_list = * 127.0.0.1 byname\n self = send\n"
        for tag, _, _ in ways
    )
    transports = "".join(
        f"t{tag}:\n driver = smtp\n port = {port(at)}\n allow_localhost\n {options}\n" for tag, at, options in ways
    )
    peer.write(
        "/etc/exim4/relay.conf",
        "primary_hostname = relay.test\nkeep_environment =\nlog_file_path = syslog\nsyslog_timestamp = no\n"
        f"begin routers\n{routers}begin transports\n{transports}"
        "begin authenticators\nplain:\n driver = plaintext\n public_name = PLAIN\n"
        f" client_send = ^ana@x.test^{server.password}\n",
    )
    deliver(peer, server, "Exim", ["exim4", "-C", "/etc/exim4/relay.conf", "-odi", "-i", "-f", "ana@x.test"])


def opensmtpd(server):
    peer = peers.Peer(["opensmtpd"])
    peer.write("/etc/smtpd/logins", f"bob ana@x.test:{server.password}\n")
    peer.write(
        "/etc/smtpd/relay.conf",
        "table logins file:/etc/smtpd/logins\nlisten on socket\n"
        f'action "25" relay host smtp+notls://127.0.0.1:{port(server.smtp)}\n'
        f'action "tls" relay host smtp+tls://127.0.0.1:{port(server.smtp)} tls no-verify\n'
        f'action "587" relay host smtp+tls://bob@127.0.0.1:{port(server.submission)} auth <logins> tls no-verify\n'
        f'action "465" relay host smtps://bob@127.0.0.1:{port(server.submissions)} auth <logins> tls no-verify\n'
        + "".join(f'match from any for rcpt-to "{to}" action "{to[4:-7]}"\n' for to in WAYS.values()),
    )
    peer.start("smtpd", "-d", "-f", "/etc/smtpd/relay.conf")
    time.sleep(1)
    deliver(peer, server, "OpenSMTPD", ["sendmail", "-f", "ana@x.test"])


def deliver(peer, server, name, command):
    for way, address in WAYS.items():
        try:
            peer.run(*command, address, text=server.unix)
            server.wait()
            server.arrived(f"{name} {way}", address)
        except (RuntimeError, AssertionError) as error:
            raise RuntimeError(f"{name} {way}: {error}\n{peer.said()}") from error
    peer.stop()


if __name__ == "__main__":
    if not peers.possible():
        print("no root of its own can be made for another server here: overlay mounts are not allowed")
        sys.exit(77)
    for run in (postfix, exim, opensmtpd):
        run(Server(*sys.argv[1:]))

"""A real name server, NSD.

`python3 names.py` serves one zone at a free port of 127.0.0.53, prints `ready ADDRESS:PORT` once it answers,
and serves until its standard input ends. It exits with 77 where this machine does not allow a root of its own.
"""

import re
import socket
import sys
import time

import peers

ZONE = """$ORIGIN test.
$TTL 60
@        SOA ns hostmaster 1 60 60 60 60
         NS  ns
ns       A   127.0.0.1
y        MX  20 backup.y
         MX  10 mx.y
mx.y     A   127.0.0.5
backup.y A   127.0.0.6
null     MX  0  .
bare     A   127.0.0.5
lost     MX  10 gone.lost
"""


class Names:
    """NSD with a zone `test`, signed or not."""

    def __init__(self, port, zone, signed=False, address="127.0.0.1"):
        self.peer = peers.Peer(["nsd", "ldnsutils"] if signed else ["nsd"])
        self.address, self.anchor = (address, int(port)), None
        self.peer.write("/etc/nsd/test.zone", zone)
        if signed:
            self.sign()
        self.peer.write(
            "/etc/nsd/nsd.conf",
            f"server:\n ip-address: {address}@{port}\n server-count: 1\n pidfile: \"\"\n username: root\n database: \"\"\n"
            "remote-control:\n control-enable: no\n"
            f"zone:\n name: test\n zonefile: /etc/nsd/test.zone{'.signed' if signed else ''}\n",
        )
        self.peer.start("nsd", "-d", "-c", "/etc/nsd/nsd.conf")
        self.wait()

    def sign(self):
        """Signs the zone; `anchor` is the key from which on it can be proved."""
        work = "cd /etc/nsd && "
        name = self.peer.run("sh", "-c", work + "ldns-keygen -a ECDSAP256SHA256 -k -r /dev/urandom test").split()[-1]
        self.peer.run("sh", "-c", work + f"ldns-signzone -n -o test test.zone {name}")
        with open(self.peer.path(f"/etc/nsd/{name}.key"), encoding="ascii") as file:
            self.anchor = re.sub(r";.*", "", file.read()).strip() + "\n"

    def forge(self, *changes):
        """Changes records behind their signatures' back: each a beginning of their lines, and what stands
        there and what in its place; none in its place takes the whole record out, with its signature."""
        path = self.peer.path("/etc/nsd/test.zone.signed")
        with open(path, encoding="ascii") as file:
            lines = file.read().splitlines()
        for name, before, after in changes:
            if after is None:
                changed = [line for line in lines if not (line.startswith(name) and before in line)]
            else:
                is_meant = lambda line: line.startswith(name) and "RRSIG" not in line
                changed = [line.replace(before, after) if is_meant(line) else line for line in lines]
            assert changed != lines, (name, before)
            lines = changed
        with open(path, "w", encoding="ascii") as file:
            file.write("\n".join(lines) + "\n")
        self.peer.end()
        self.peer.start("nsd", "-d", "-c", "/etc/nsd/nsd.conf")
        self.wait()

    def wait(self):
        # "SOA test" as a question, until it is answered.
        question = b"\0\1\0\0\0\1\0\0\0\0\0\0\4test\0\0\6\0\1"
        asking = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        asking.settimeout(0.2)
        for _ in range(100):
            try:
                asking.sendto(question, self.address)
                asking.recv(512)
                return
            except OSError:
                time.sleep(0.1)
        raise RuntimeError(self.peer.said())


def serve(address, zone):
    """Starts a name server at a free port of `address`. A port that is free now may be taken a moment later, so
    others are tried; nothing else listens at an address of the tests' own, so one attempt is nearly always enough."""
    attempts = 10
    while True:
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            probe.bind((address, 0))
            port = probe.getsockname()[1]
        attempts -= 1
        try:
            return Names(port, zone, address=address)
        except RuntimeError as error:
            if "Address already in use" not in str(error) or attempts == 0:
                raise


if __name__ == "__main__":
    if not peers.possible():
        print("no root of its own can be made for another server here: overlay mounts are not allowed")
        sys.exit(77)
    names = serve("127.0.0.53", ZONE)
    print("ready {}:{}".format(*names.address), flush=True)
    sys.stdin.read()

"""Certificates by ACME of two nodes, from Pebble: python3 acme_nodes.py POSTA

Two servers share a PostgreSQL. The authority always asks the node that did not order the certificate: http-01 leads to the
second, tls-alpn-01 to the first. Afterwards both show the new certificate, and either of them renews it when told to.
Exits with 77 where this machine lets nobody make a root for Pebble, or has no PostgreSQL.
"""

import json
import os
import shutil
import sys
import tempfile
import time

import acme
import databases
import peers
from serving import Serving

# acme.py may run at the same time. Of the two nodes, the second has the port for http-01, the first that for tls-alpn-01.
acme.DIRECTORY, acme.MANAGEMENT, acme.HTTP, acme.TLS, acme.DNS = 2961, 2962, 2963, 2964, 2965
acme.NAMES.update({"one.x.test": "127.0.0.1", "two.x.test": "127.0.0.1"})
SHARED = "mta-sts.x.test"
# A node takes a certificate that another one obtained within this time, in seconds.
TAKEN = 15


class Node(acme.Posta):
    """One of the servers."""

    def __init__(self, program, place, number, url):
        super().__init__(program, os.path.join(place, str(number)))
        self.hostname, self.url = ["one.x.test", "two.x.test"][number], url
        self.http, self.https, self.pop3 = [(2966, acme.TLS, 2967), (acme.HTTP, 2968, 2969)][number]
        self.authority, self.keys = os.path.join(place, "authority.pem"), os.path.join(place, "store.keys")
        os.mkdir(self.place)

    def configure(self, proof):
        listeners = [("pop3", self.pop3, "implicit"), ("https", self.https, "implicit")]
        listeners += [("http", self.http, "none")] if proof == "http" else []
        text = (
            f'hostname = "{self.hostname}"\ndata = "{self.place}/data"\nkey-file = "{self.keys}"\n'
            f'[store]\nengine = "postgres"\nurl = "{self.url}"\n'
            f'[acme]\nenabled = true\ndirectory = "https://localhost:{acme.DIRECTORY}/dir"\n'
            f'[tls]\nauthorities = ["{self.authority}"]\n[dns]\nservers = ["127.0.0.1:{acme.DNS}"]\ndnssec = false\n'
        )
        for protocol, port, tls in listeners:
            text += f'[[listen]]\nprotocol = "{protocol}"\naddress = "127.0.0.1:{port}"\ntls = "{tls}"\n'
        with open(self.config, "w", encoding="utf-8") as file:
            file.write(text)

    def start(self):
        self.server = Serving(self.program, self.config, self.pop3)

    def duties(self):
        listed, _ = self.run("cluster", "status", "--json")
        return next(node["duties"] for node in json.loads(listed) if node["name"] == self.hostname)


def both_show(nodes, name, root, is_right=lambda shown: True):
    """Waits until both nodes show the same certificate for a name, and returns it."""
    deadline = time.monotonic() + TAKEN
    while True:
        shown = [node.shown(node.pop3, name) for node in nodes]
        if shown[0] == shown[1] and is_right(shown[0]):
            break
        assert time.monotonic() < deadline, (name, [node.server.log() for node in nodes])
        time.sleep(0.2)
    for node in nodes:
        node.shown(node.pop3, name, root)
    return shown[0]


def obtain_by_http(nodes, root):
    """The second node answers for the first: the authority finds nobody else."""
    one, two = nodes
    for node in (two, one):
        node.configure("http")
        node.start()
        node.wait(node.hostname)
    assert "certificate of one.x.test" in one.duties(), one.duties()
    for node in nodes:
        both_show(nodes, node.hostname, root)
    one.run("account", "add", "ana@x.test", "--password-stdin", text="parola")
    two.wait(SHARED)
    both_show(nodes, SHARED, root)
    owners = [node for node in nodes if f"certificate of {SHARED}" in node.duties()]
    assert len(owners) == 1, [node.duties() for node in nodes]
    return owners[0]


def renew_at_either(nodes, owner, root):
    """Whichever node is asked, the one that looks after the certificate renews it, and both show it at once."""
    other = next(node for node in nodes if node is not owner)
    for asked in (owner, other):
        before = both_show(nodes, SHARED, root)
        said, _ = asked.run("certificate", "renew", SHARED)
        assert SHARED in said and "valid" in said, said
        after = both_show(nodes, SHARED, root, lambda shown: shown != before)
        assert asked.shown(asked.pop3, SHARED) == after
        (old, key), (new, same) = acme.serial_and_key(before), acme.serial_and_key(after)
        assert old != new and key == same, "another certificate of the same key"
    assert "a renewal that another node was asked for was tried" in owner.server.log()
    issued = [line for line in other.server.log().splitlines() if "a certificate was issued" in line and SHARED in line]
    assert not issued, issued
    return other


def take_new_keys(nodes, owner, other, root):
    pin = f"_25._tcp.{SHARED}"
    before = acme.serial_and_key(both_show(nodes, SHARED, root))[1]
    acme.PINNED[pin] = [before]
    _, why = other.run("certificate", "renew", SHARED, "--new-key", fails=True)
    assert f"{pin}. IN TLSA 3 1 1 " in why, why
    waiting = owner.certificates()[SHARED]["next-key-sha256"]
    assert waiting in why and waiting != before, (waiting, why)
    acme.PINNED[pin] = [before, waiting]
    said, _ = other.run("certificate", "renew", SHARED, "--new-key")
    assert "The key is a new one" in said, said
    shown = both_show(nodes, SHARED, root, lambda shown: acme.serial_and_key(shown)[1] != before)
    assert acme.serial_and_key(shown)[1] == waiting
    # The account is both nodes'.
    other.run("certificate", "new-account-key")
    before = both_show(nodes, owner.hostname, root)
    other.run("certificate", "renew", owner.hostname)
    both_show(nodes, owner.hostname, root, lambda shown: shown != before)


def renew_by_tls(nodes, root):
    """The first node answers for the second, in TLS."""
    one, two = nodes
    for node in nodes:
        node.stop()
    for node in nodes:
        node.configure("tls")
        node.start()
    before = both_show(nodes, two.hostname, root)
    two.run("certificate", "renew", two.hostname)
    assert "certificate of two.x.test" in two.duties(), two.duties()
    both_show(nodes, two.hostname, root, lambda shown: shown != before)


def main():
    if not peers.possible():
        print("no root of its own can be made for Pebble here: overlay mounts are not allowed")
        sys.exit(77)
    if not databases.programs():
        print("PostgreSQL 15 or newer is not installed")
        sys.exit(77)
    place = tempfile.mkdtemp(prefix="posta-acme-nodes-")
    # The database is another user's.
    os.chmod(place, 0o755)
    settings = ["fsync=off", "shared_buffers=32MB", "max_connections=50"]
    database = databases.Postgres(os.path.join(place, "postgres"), settings)
    nodes = []
    try:
        database.initialise().start()
        acme.serve_names()
        pebble = acme.Pebble(peers.Peer(["pebble", "openssl"]), place)
        pebble.start(validity=30 * 24 * 3600)
        root = pebble.root()
        nodes = [Node(sys.argv[1], place, number, database.url()) for number in range(2)]
        owner = obtain_by_http(nodes, root)
        other = renew_at_either(nodes, owner, root)
        take_new_keys(nodes, owner, other, root)
        renew_by_tls(nodes, root)
        for node in nodes:
            node.stop()
    finally:
        database.stop()
        shutil.rmtree(place, ignore_errors=True)
    print("certificates by ACME of two nodes: all well")


if __name__ == "__main__":
    main()

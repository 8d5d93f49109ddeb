"""A real name server, NSD, with one zone: python3 names.py PORT

Says `ready` once it answers, and serves until its standard input ends. Exits with 77 where this
machine lets nobody make a root for it.
"""

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


def main(port):
    peer = peers.Peer(["nsd"])
    peer.write("/etc/nsd/test.zone", ZONE)
    peer.write(
        "/etc/nsd/nsd.conf",
        f"server:\n ip-address: 127.0.0.1@{port}\n server-count: 1\n pidfile: \"\"\n username: root\n database: \"\"\n"
        "remote-control:\n control-enable: no\nzone:\n name: test\n zonefile: /etc/nsd/test.zone\n",
    )
    peer.start("nsd", "-d", "-c", "/etc/nsd/nsd.conf")
    # "SOA test" as a question, until it is answered.
    question = b"\0\1\0\0\0\1\0\0\0\0\0\0\4test\0\0\6\0\1"
    asking = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    asking.settimeout(0.2)
    for _ in range(100):
        try:
            asking.sendto(question, ("127.0.0.1", int(port)))
            asking.recv(512)
            break
        except OSError:
            time.sleep(0.1)
    else:
        raise RuntimeError(peer.said())
    print("ready", flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    if not peers.possible():
        print("no root of its own can be made for another server here: overlay mounts are not allowed")
        sys.exit(77)
    main(sys.argv[1])

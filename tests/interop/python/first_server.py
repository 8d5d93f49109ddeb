"""docs/first-server.md, word by word, in a fresh Debian system: python3 first_server.py POSTA

debootstrap makes the system. The commands run in it as root, in a network of its own where the usual ports are free,
and where a small name server has the domain's addresses. There is no systemd in it: a stand-in for systemctl does what
the unit file says about the user, the capabilities and the command. Exits with 77 where this machine lets nobody make
such a system.
"""

import os
import re
import shutil
import socket
import struct
import subprocess
import sys
import threading

import package
import peers

DOCUMENT = os.path.join(peers.ROOT, "docs/first-server.md")
# What a freshly installed Debian has, beyond what debootstrap must have.
PACKAGES = "passwd,util-linux,ca-certificates"
SYSTEMCTL = r"""#!/bin/sh
# A stand-in: starts the service as its unit file says.
unit=/etc/systemd/system/posta.service
case "$1" in
daemon-reload) exit 0 ;;
is-active) [ -e /run/posta.started ] && kill -0 "$(cat /run/posta.started)" 2>/dev/null ; exit ;;
enable)
    "$0" is-active && exit 0
    command=$(sed -n 's/^ExecStart=//p' $unit)
    user=$(sed -n 's/^User=//p' $unit)
    caps="+net_bind_service"
    setpriv --reuid="$user" --regid="$user" --init-groups --inh-caps=$caps --ambient-caps=$caps \
        --bounding-set=-all,$caps --no-new-privs $command >/var/log/posta.log 2>&1 &
    echo $! >/run/posta.started
    for _ in $(seq 100); do
        grep -q '^ready' /var/log/posta.log && exit 0
        sleep 0.2
    done
    cat /var/log/posta.log >&2
    exit 1 ;;
esac
exit 1
"""


def commands():
    """Returns the lines of the blocks of sh, in their order."""
    with open(DOCUMENT, encoding="utf-8") as file:
        blocks = re.findall(r"^```sh\n(.*?)^```$", file.read(), re.S | re.M)
    lines = [line for block in blocks for line in block.splitlines() if line.strip()]
    assert len(lines) >= 8, "the document has no commands any more"
    return lines


def serve_names():
    """Has the addresses of the document's names, on port 53 of this network."""
    asked = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    asked.bind(("127.0.0.1", 53))

    def answer():
        while True:
            question, client = asked.recvfrom(4096)
            at = 12
            while question[at]:
                at += 1 + question[at]
            name = question[12:at].lower()
            kind = struct.unpack("!H", question[at + 1 : at + 3])[0]
            is_ours = name.endswith(b"\x07example\x04test")
            records = b""
            if is_ours and kind == 1:
                records = b"\xc0\x0c\0\x01\0\x01\0\0\0\x01\0\x04\x7f\0\0\x01"
            counts = struct.pack("!HHHHH", 0x8580 if is_ours else 0x8583, 1, bool(records), 0, 0)
            asked.sendto(question[:2] + counts + question[12 : at + 5] + records, client)

    threading.Thread(target=answer, daemon=True).start()


def run(root, command):
    ran = subprocess.run(
        ["chroot", root, "/bin/sh", "-c", f"cd /root && {command}"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root"},
        timeout=120,
        check=False,
    )
    said = ran.stdout.decode(errors="replace")
    print(f"$ {command}\n{said}", flush=True)
    assert ran.returncode == 0, f"{command}: exit {ran.returncode}"
    return said


def main():
    if not peers.possible():
        print("no root of its own can be made here: overlay mounts are not allowed")
        sys.exit(77)
    if len(sys.argv) == 2:
        # Debian's packages come from the machine's network; everything after that has one of its own.
        _tools, root = package.fresh(PACKAGES)
        again = ["unshare", "--net", sys.executable, os.path.abspath(__file__), sys.argv[1], root]
        sys.exit(subprocess.run(again, check=False).returncode)
    program, root = sys.argv[1:]
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    serve_names()
    for folder in ("dev", "proc"):
        peers.call("mount", "--rbind", f"/{folder}", os.path.join(root, folder))
    write(root, "/etc/resolv.conf", "nameserver 127.0.0.1\n")
    write(root, "/usr/bin/systemctl", SYSTEMCTL, 0o755)
    os.makedirs(os.path.join(root, "run/systemd/system"), exist_ok=True)
    os.makedirs(os.path.join(root, "etc/systemd/system"), exist_ok=True)
    shutil.copy(program, os.path.join(root, "root/posta"))
    said = {}
    for command in commands():
        said.setdefault(command, []).append(run(root, command))
    setup = said["posta setup example.test --account ana --yes"]
    assert "made   account        ana@example.test" in setup[0], setup[0]
    assert "shown only now" in setup[0] and "shown only now" not in setup[1]
    assert "there  configuration" in setup[1] and "there  service" in setup[1], setup[1]
    assert "mail.example.test" in said["posta certificate list"][0]
    assert "Hello" in said["posta mail list ana@example.test"][0]
    owner = subprocess.run(["chroot", root, "stat", "-c", "%U %a", "/var/lib/posta"], stdout=subprocess.PIPE, check=True)
    assert owner.stdout == b"posta 700\n", owner.stdout
    print("docs/first-server.md was followed word by word")


def write(root, place, text, mode=0o644):
    path = os.path.join(root, place.lstrip("/"))
    if os.path.islink(path):
        os.unlink(path)
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
    os.chmod(path, mode)


if __name__ == "__main__":
    main()

"""The service under systemd itself: python3 booted.py POSTA

Installs the Debian package of the program POSTA in a Debian that systemd-nspawn boots, in a network of its own: the
server is set up, reloaded, restarted behind sockets that systemd keeps open, upgraded and booted again, within the
sandbox of its unit. Exits with 77 where this machine lets nobody boot such a system.
"""

import atexit
import os
import re
import shutil
import subprocess
import sys
import time

import package
import peers

CONFIG = package.CONFIG
# What a Debian that systemd boots has beyond the smallest one.
PACKAGES = "systemd,systemd-sysv,dbus,init-system-helpers"
# How long the system may take to boot or to end, in seconds.
BOOT = 90
PASSWORD = "parola-pentru-ana\n"
ANA = "ana@example.test"
# Connects to the SMTP port again and again, until the file named first is gone: says how often, or fails.
CONNECT = """
import os, socket, sys, time
count = 0
while count == 0 or os.path.exists(sys.argv[1]):
    with socket.create_connection(("127.0.0.1", 25), 60) as connection:
        greeting = connection.recv(1000)
        assert greeting.startswith(b"220 "), greeting
    count += 1
    time.sleep(0.02)
print(count)
"""


class Booted:
    """A Debian that systemd-nspawn has booted."""

    def __init__(self, root):
        self.root = root
        self.log = root.rstrip("/") + ".log"
        self.nspawn = None
        self.leader = None
        atexit.register(self.end)

    def boot(self):
        """Boots the system. Returns why that is impossible here, if it is."""
        command = ["systemd-nspawn", f"--directory={self.root}", "--boot", "--private-network", "--register=no"]
        command += ["--keep-unit", "--console=pipe", "--resolv-conf=off", "--timezone=off"]
        with open(self.log, "wb") as file:
            self.nspawn = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=file, stderr=file)
        until = time.monotonic() + BOOT
        state = ""
        while state not in ("running", "degraded"):
            if self.nspawn.poll() is not None or time.monotonic() > until:
                return f"systemd does not boot in a container here ({state}): {package.read(self.log)[-500:]}"
            time.sleep(0.2)
            self.leader = self.child()
            if self.leader:
                state = self.enter("systemctl", "is-system-running").stdout.decode().strip()
        return None

    def child(self):
        """Returns the process id of the container's first process."""
        try:
            with open(f"/proc/{self.nspawn.pid}/task/{self.nspawn.pid}/children", encoding="utf-8") as file:
                children = file.read().split()
        except FileNotFoundError:
            return None
        return children[0] if children else None

    def enter(self, *command, text="", namespaces=("--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup")):
        environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "DEBIAN_FRONTEND": "noninteractive", "HOME": "/root"}
        return subprocess.run(
            ["nsenter", "--target", self.leader, *namespaces, *command],
            input=text.encode(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=environment,
            timeout=120,
            check=False,
        )

    def run(self, *command, text="", expect=0):
        """Runs a command inside to its end; returns what it said."""
        ran = self.enter(*command, text=text)
        said = ran.stdout.decode(errors="replace")
        print(f"# {' '.join(command)}\n{said}", flush=True)
        assert (ran.returncode == 0) == (expect == 0), f"{command}: exit {ran.returncode}\n{self.journal()}"
        return said

    def journal(self, *options):
        return self.enter("journalctl", "--no-pager", "--unit=posta", "--output=cat", *options).stdout.decode()

    def show(self, name):
        shown = self.enter("systemctl", "show", "--value", f"--property={name}", "posta.service")
        return shown.stdout.decode().strip()

    def path(self, place):
        return os.path.join(self.root, place.lstrip("/"))

    def end(self):
        """Shuts the system down."""
        if self.nspawn is None or self.nspawn.poll() is not None:
            return
        # To systemd-nspawn, this is the wish for an orderly shutdown.
        self.nspawn.terminate()
        try:
            self.nspawn.wait(timeout=BOOT)
        except subprocess.TimeoutExpired:
            self.nspawn.kill()
            self.nspawn.wait()


def own_group():
    """Moves this process into control groups of its own, where systemd-nspawn makes those of the container."""
    name = f"posta-booted-{os.getpid()}"
    for hierarchy in ("/sys/fs/cgroup/systemd", "/sys/fs/cgroup/unified", "/sys/fs/cgroup"):
        if not os.path.exists(os.path.join(hierarchy, "cgroup.procs")):
            continue
        group = os.path.join(hierarchy, name)
        os.makedirs(group, exist_ok=True)
        with open(os.path.join(group, "cgroup.procs"), "w", encoding="utf-8") as file:
            file.write("0")
        atexit.register(leave_group, hierarchy, group)


def leave_group(hierarchy, group):
    with open(os.path.join(hierarchy, "cgroup.procs"), "w", encoding="utf-8") as file:
        file.write("0")
    for folder, _, _ in os.walk(group, topdown=False):
        try:
            os.rmdir(folder)
        except OSError:
            pass


def install(debian, made, name):
    shutil.copy(made, debian.path(f"/root/{name}"))
    debian.run("dpkg", "--install", f"/root/{name}")


def set_up(debian):
    """Sets the server up while it runs with the package's configuration, as a person would."""
    assert debian.show("ActiveState") == "active", debian.journal()
    said = debian.run("posta", "setup", "example.test", "--account", "ana", "--yes", "--no-acme", "--password-stdin", text=PASSWORD)
    assert "will not start" not in said, "setup takes the server's own ports for another program's"
    assert "made   start" in said
    assert "smtp=[::]:25" in debian.show("StatusText"), "the server goes on with the configuration of the package"
    assert debian.run("posta", "status", "--ready") == "ready\n"
    message = ["send", "--server", "127.0.0.1:25", "--from", ANA, "--to", ANA]
    debian.run("posta", *message, "--subject", "kept", "--body", "x")


def fetch(debian):
    options = ["--server", "127.0.0.1:110", "--user", ANA, "--stdout", "--password-stdin"]
    return debian.run("posta", "fetch", *options, text=PASSWORD)


def check_sandbox(debian):
    """The process has one right, and may write to its data only. A backup is written by the command."""
    main = debian.show("MainPID")
    status = debian.run("cat", f"/proc/{main}/status")
    user = debian.run("id", "-u", "posta").strip()
    for line in (f"Uid:\t{user}\t{user}", "CapEff:\t0000000000000400", "CapBnd:\t0000000000000400", "NoNewPrivs:\t1", "Seccomp:\t2"):
        assert line in status, f"{line} is not in\n{status}"
    within = ["nsenter", "--target", main, "--mount", "touch"]
    debian.run(*within, "/var/lib/posta/here")
    debian.run("rm", "/var/lib/posta/here")
    for place in ("/etc/posta/not-here", "/usr/not-here", "/var/not-here", "/root/not-here"):
        said = debian.run(*within, place, expect=1)
        assert "Read-only file system" in said, said
    said = debian.run("posta", "backup", "/var/backups/posta")
    assert "snapshot of" in said
    debian.run("posta", "restore", "--help")


def check_reload(debian):
    """What is refused fails the reload, and changes nothing."""
    config = package.read(debian.path(CONFIG))
    main = debian.show("MainPID")
    with open(debian.path(CONFIG), "a", encoding="utf-8") as file:
        file.write("\n[log]\nlevel = \"debug\"\n")
    debian.run("systemctl", "reload", "posta")
    with open(debian.path(CONFIG), "a", encoding="utf-8") as file:
        file.write("nonsense = 1\n")
    debian.run("systemctl", "reload", "posta", expect=1)
    assert "nonsense" in debian.journal("--lines=20"), debian.journal("--lines=20")
    assert debian.show("ActiveState") == "active" and debian.show("MainPID") == main
    with open(debian.path(CONFIG), "w", encoding="utf-8") as file:
        file.write(config)
    debian.run("systemctl", "reload", "posta")


def check_journal(debian):
    """Lines have a priority, and no time beside the journal's."""
    said = debian.journal()
    assert re.search(r"^INFO accepted id=", said, re.M), said
    urgent = debian.journal("--priority=warning")
    assert "INFO" not in urgent and "WARN" in urgent, urgent


def check_sockets(debian):
    """systemd listens, starts the server for the first client, and refuses nobody while the server restarts."""
    debian.run("systemctl", "enable", "posta.socket")
    debian.run("systemctl", "stop", "posta.service")
    assert debian.show("Result") == "success", debian.journal()
    assert re.search(r"^INFO stopped", debian.journal("--lines=5"), re.M), debian.journal("--lines=5")
    debian.run("systemctl", "start", "posta.socket")
    assert debian.show("ActiveState") == "inactive"
    mark = debian.path("/run-on")
    once = debian.enter(sys.executable, "-c", CONNECT, mark, namespaces=["--net"])
    assert once.returncode == 0, once.stdout.decode() + debian.journal("--lines=20")
    assert debian.show("ActiveState") == "active"
    before = debian.show("MainPID")
    with open(mark, "wb"):
        pass
    client = subprocess.Popen(
        ["nsenter", "--target", debian.leader, "--net", sys.executable, "-c", CONNECT, mark],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    for _ in range(2):
        debian.run("systemctl", "restart", "posta.service")
    os.unlink(mark)
    said = client.communicate(timeout=60)[0].decode()
    assert client.returncode == 0, f"a client was refused during a restart: {said}"
    assert debian.show("MainPID") != before
    print(f"{said.strip()} connections during two restarts, none of them refused")


def live(debian, first, later):
    install(debian, first, "first.deb")
    set_up(debian)
    assert "Subject: kept" in fetch(debian)
    check_sandbox(debian)
    check_reload(debian)
    check_journal(debian)
    check_sockets(debian)
    config = package.read(debian.path(CONFIG))
    before = debian.show("MainPID")
    install(debian, later, "later.deb")
    assert debian.show("MainPID") != before, "the new program is not run"
    assert package.read(debian.path(CONFIG)) == config
    assert debian.show("NRestarts") == "0", debian.journal()

    # The service comes up with the machine, and has what it had.
    debian.end()
    assert debian.boot() is None
    assert debian.run("systemctl", "is-active", "posta.socket", "posta.service") == "active\nactive\n"
    assert "Subject: kept" in fetch(debian)
    debian.run("dpkg", "--purge", "posta")
    assert not os.path.exists(debian.path("/var/lib/posta")) and not os.path.exists(debian.path("/etc/posta"))
    listed = debian.run("systemctl", "list-units", "--all", "--no-legend", "posta*")
    assert "active running" not in listed and "listening" not in listed, listed


def main():
    if os.geteuid() != 0 or not peers.possible():
        print("no root of its own can be made here: overlay mounts are not allowed")
        sys.exit(77)
    if shutil.which("systemd-nspawn") is None:
        print("systemd-nspawn is missing (apt-get install systemd-container)")
        sys.exit(77)
    program = os.path.abspath(sys.argv[1])
    tools, root = package.fresh(PACKAGES)
    folder = tools.path("/packages")
    os.makedirs(folder)
    made = package.build(program, folder), package.build(program, folder, "--deb-version", "99.0.0")
    own_group()
    debian = Booted(root)
    why = debian.boot()
    if why is not None:
        print(why)
        sys.exit(77)
    live(debian, *made)
    print("the service ran under systemd")


if __name__ == "__main__":
    main()

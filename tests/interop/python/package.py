"""The Debian package in a fresh Debian: python3 package.py POSTA

Builds the package of the program POSTA and the manual pages in target/package/pages, makes a Debian with debootstrap, and there
installs the package, runs the server as the service does, upgrades, removes and purges it. Exits with 77 where this
machine lets nobody make such a system.
"""

import os
import shutil
import subprocess
import sys
import time

import peers

CONFIG = "/etc/posta/posta.toml"
# How long the server may take to listen, in seconds.
START = 60


def fresh(packages):
    """Makes a fresh Debian with more packages in a peer's root. Returns the peer, and the path of the Debian in it."""
    tools = peers.Peer(["debootstrap"])
    form = "$(REPO_URI) $(CODENAME) $(COMPONENT)"
    targets = tools.run("apt-get", "indextargets", "--format", form, "Created-By: Packages").split("\n")
    place, release = next(line.split()[:2] for line in targets if line.endswith(" main"))
    cache = os.path.join(peers.ARCHIVES, "debootstrap")
    os.makedirs(cache, exist_ok=True)
    tools.mount(cache, "/cache")
    options = ["--variant=minbase", f"--include={packages}", "--cache-dir=/cache"]
    tools.run("debootstrap", *options, release, "/fresh", place)
    return tools, tools.path("/fresh")


class Debian:
    """A fresh Debian."""

    def __init__(self, root):
        self.root = root

    def path(self, place):
        return os.path.join(self.root, place.lstrip("/"))

    def run(self, *command, text="", expect=0):
        """Runs a command to its end; returns what it said. Nothing in it may ask: there is no terminal."""
        ran = subprocess.run(
            ["chroot", self.root, *command],
            input=text.encode(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "DEBIAN_FRONTEND": "noninteractive", "HOME": "/root"},
            timeout=120,
            check=False,
        )
        said = ran.stdout.decode(errors="replace")
        print(f"# {' '.join(command)}\n{said}", flush=True)
        assert ran.returncode == expect, f"{command}: exit {ran.returncode}, not {expect}"
        return said

    def serve(self, *options):
        """Runs the server as root would without systemd; it becomes the owner of its data."""
        return Server(self, options)


class Server:
    def __init__(self, debian, options):
        self.log = os.path.join(debian.root, "server.log")
        with open(self.log, "wb") as file:
            command = ["chroot", debian.root, "/usr/bin/posta", "serve", *options]
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=file, stderr=file)
        until = time.monotonic() + START
        while "\nready " not in "\n" + self.said():
            assert self.process.poll() is None and time.monotonic() < until, self.said()
            time.sleep(0.1)

    def said(self):
        with open(self.log, encoding="utf-8", errors="replace") as file:
            return file.read()

    def user(self):
        """Returns the user id as whom the server runs."""
        with open(f"/proc/{self.process.pid}/status", encoding="utf-8") as file:
            line = next(line for line in file if line.startswith("Uid:"))
        users = set(line.split()[1:])
        assert len(users) == 1, line
        return int(users.pop())

    def stop(self):
        self.process.terminate()
        assert self.process.wait(timeout=30) == 0, self.said()


def build(program, folder, *options):
    """Returns the path of the package of a program. The options are those of cargo-deb."""
    stripped = os.path.join(folder, "posta")
    subprocess.run(["strip", "-o", stripped, program], check=True)
    script = os.path.join(peers.ROOT, "packaging/deb.sh")
    command = [script, stripped, folder, "--fast", *options]
    made = subprocess.run(command, check=False, stdout=subprocess.PIPE, text=True)
    assert made.returncode == 0, "cargo-deb failed: is it installed (cargo install cargo-deb)?"
    return made.stdout.split()[-1]


def read(path):
    with open(path, encoding="utf-8") as file:
        return file.read()


def mode(path):
    status = os.stat(path)
    return oct(status.st_mode & 0o7777), status.st_uid


def install(debian, package, name):
    shutil.copy(package, debian.path(f"/{name}"))
    debian.run("dpkg", "--install", f"/{name}")


def check_files(debian):
    for place in (
        "/usr/bin/posta",
        "/usr/sbin/sendmail",
        "/usr/lib/sendmail",
        "/usr/bin/mailq",
        "/usr/bin/newaliases",
        CONFIG,
        "/usr/lib/systemd/system/posta.service",
        "/usr/lib/systemd/system/posta.socket",
        "/usr/lib/sysusers.d/posta.conf",
        "/usr/share/doc/posta/copyright",
        "/usr/share/doc/posta/configuration.md",
        "/usr/share/bash-completion/completions/posta",
        "/usr/share/zsh/vendor-completions/_posta",
        "/usr/share/fish/vendor_completions.d/posta.fish",
    ):
        # minbase leaves the documentation out where dpkg is told so; this one does not.
        assert os.path.exists(debian.path(place)), f"{place} is missing"
    pages = os.listdir(debian.path("/usr/share/man/man1"))
    for verb in ("", "-serve", "-account", "-account-add", "-queue-list", "-trace"):
        assert f"posta{verb}.1.gz" in pages, f"no manual page posta{verb}: {pages}"
    assert "mailq.1.gz" in pages and "newaliases.1.gz" in pages, pages
    pages = os.listdir(debian.path("/usr/share/man/man8"))
    assert "sendmail.8.gz" in pages, pages
    provided = debian.run("dpkg-query", "--show", "--showformat=${Provides}", "posta")
    assert provided == "mail-transport-agent", provided
    enabled = debian.path("/etc/systemd/system/multi-user.target.wants/posta.service")
    assert os.path.islink(enabled), "the service is not enabled"
    sockets = debian.path("/etc/systemd/system/sockets.target.wants/posta.socket")
    assert not os.path.lexists(sockets), "the sockets are enabled, which fit no configuration yet"


def main():
    if len(sys.argv) == 2:
        if os.geteuid() != 0 or not peers.possible():
            print("no root of its own can be made here: overlay mounts are not allowed")
            sys.exit(77)
        program = os.path.abspath(sys.argv[1])
        began = time.monotonic()
        # Every Debian that systemd starts has init-system-helpers; the C library comes with the base.
        tools, root = fresh("init-system-helpers")
        print(f"a fresh Debian after {time.monotonic() - began:.0f} s")
        folder = tools.path("/packages")
        os.makedirs(folder)
        # The same files as a later version: what dpkg does during an upgrade depends on the number only.
        first, later = build(program, folder), build(program, folder, "--deb-version", "99.0.0")
        tools.run("mount", "-t", "proc", "proc", "/fresh/proc")
        # Debian's packages came from the machine's network; the rest has one of its own, where the usual ports are free.
        again = ["unshare", "--net", sys.executable, os.path.abspath(__file__), root, first, later, "inside"]
        sys.exit(subprocess.run(again, check=False).returncode)
    root, first, later, _ = sys.argv[1:]
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    live(Debian(root), first, later)


def live(debian, first, later):
    """Installs, runs, upgrades, removes and purges."""
    install(debian, first, "first.deb")
    check_files(debian)
    posta = int(debian.run("id", "-u", "posta"))
    data = debian.path("/var/lib/posta")
    assert posta != 0 and mode(data) == ("0o700", posta), mode(data)
    debian.run("posta", "config", "check")

    # Root adds an account, and the files belong to the server's user.
    debian.run("posta", "account", "add", "ana@example.test", "--password-stdin", text="parola-pentru-ana\n")
    assert mode(os.path.join(data, "store"))[1] == posta
    server = debian.serve()
    assert server.user() == posta
    message = ["send", "--server", "127.0.0.1:587", "--from", "ana@example.test", "--to", "ana@example.test"]
    debian.run("posta", *message, "--subject", "kept", "--body", "x")
    server.stop()

    # Any user sends while no server runs, and nobody else sees it; the server takes it when it starts.
    spool = debian.path("/var/spool/posta")
    assert mode(spool) == ("0o3733", posta), mode(spool)
    nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    debian.run(*nobody, "/usr/sbin/sendmail", "-oi", "ana@example.test", text="Subject: by nobody\n\nx\n")
    assert [os.stat(os.path.join(spool, name)).st_uid for name in os.listdir(spool)] == [65534]

    # The configuration of an older package, which nobody has changed, becomes that of the new one.
    packaged = read(debian.path(CONFIG))
    before = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../packaged-before.toml")
    shutil.copyfile(before, debian.path(CONFIG))
    install(debian, later, "later.deb")
    assert "99.0.0" in debian.run("dpkg-query", "--show", "posta")
    assert read(debian.path(CONFIG)) == packaged != read(before)

    # An operator's change stays through an upgrade, without a question, and so does the mail.
    with open(debian.path(CONFIG), "a", encoding="utf-8") as file:
        file.write("\n[log]\nlevel = \"debug\"\n")
    install(debian, later, "later.deb")
    assert read(debian.path(CONFIG)) == packaged + "\n[log]\nlevel = \"debug\"\n"
    server = debian.serve()
    until = time.monotonic() + START
    while os.listdir(spool):
        assert time.monotonic() < until, (os.listdir(spool), server.said())
        time.sleep(0.1)
    fetch = ["fetch", "--server", "127.0.0.1:110", "--user", "ana@example.test", "--stdout", "--password-stdin"]
    fetched = debian.run("posta", *fetch, text="parola-pentru-ana\n")
    assert "Subject: kept" in fetched and "Subject: by nobody" in fetched, fetched
    server.stop()

    # Removing keeps mail and configuration; purging keeps neither, and asks nothing.
    debian.run("dpkg", "--remove", "posta")
    assert not os.path.exists(debian.path("/usr/bin/posta"))
    assert os.path.exists(debian.path(CONFIG)) and os.path.exists(os.path.join(data, "store"))
    install(debian, later, "later.deb")
    assert "ana@example.test" in debian.run("posta", "account", "list")
    debian.run("dpkg", "--purge", "posta")
    assert not os.path.exists(data) and not os.path.exists(spool), "the mail is still there"
    assert not os.path.exists(debian.path("/etc/posta")), os.listdir(debian.path("/etc/posta"))
    left = debian.run("find", "/etc/systemd", "/var/lib/systemd", "/usr/lib/systemd", "-name", "posta*")
    assert not left.strip(), left
    debian.run("dpkg", "--audit")
    print("installed, run, upgraded, removed and purged")


if __name__ == "__main__":
    main()

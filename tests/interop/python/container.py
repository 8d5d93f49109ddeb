"""The container's image, built and run: python3 container.py POSTA

podman builds packaging/Containerfile, line by line. Its two base images, which a registry would have, are made here
from Debian's packages; `cargo` in the first is a stand-in that takes the program POSTA instead of compiling it. Then
the image is run as its documentation says: it is set up, takes a message and hands it out, is found healthy by its
own check, and stops when asked. Exits with 77 where this machine lets nobody do that.
"""

import os
import shutil
import subprocess
import sys
import time

import package
import peers

# What the image `cc-debian12` of distroless has.
BASE = ["base-files", "netbase", "tzdata", "ca-certificates", "libc6", "libgcc-s1"]
# The program is in /program; the last line of the build stage takes it from where cargo puts it.
CARGO = """#!/bin/sh
# A stand-in that compiles nothing.
[ "$*" = "build --release --locked -p posta" ] || exit 1
[ -e Cargo.lock ] && mkdir -p target/release && cp /program target/release/posta
"""
ANA = "ana@example.test"
PASSWORD = "parola-pentru-ana\n"
# How long the server may take to be healthy, in seconds.
START = 60


class Podman:
    """Images and containers of our own."""

    def __init__(self, folder):
        storage = ["--root", f"{folder}/storage", "--runroot", f"{folder}/run", "--storage-driver", "overlay"]
        # There need be no systemd here.
        service = ["--cgroup-manager", "cgroupfs", "--events-backend", "file", "--runtime", "crun"]
        self.command = ["podman", *storage, *service]
        # What RUN --mount=type=cache keeps is there, too.
        self.environment = {**os.environ, "TMPDIR": f"{folder}/tmp"}

    def ask(self, *arguments, data=None):
        return subprocess.run(
            [*self.command, *arguments],
            input=data,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=600,
            check=False,
        )

    def run(self, *arguments, text="", expect=0):
        ran = self.ask(*arguments, data=text.encode())
        said = ran.stdout.decode(errors="replace")
        print(f"# podman {' '.join(arguments)}\n{said}", flush=True)
        assert ran.returncode == expect, f"podman {arguments}: exit {ran.returncode}, not {expect}"
        return said

    def take_in(self, folder, name):
        """Makes an image of a folder."""
        packed = subprocess.Popen(["tar", "-C", folder, "-cf", "-", "."], stdout=subprocess.PIPE)
        imported = subprocess.run(
            [*self.command, "import", "-", name],
            stdin=packed.stdout,
            env=self.environment,
            check=False,
            capture_output=True,
        )
        assert packed.wait() == 0 and imported.returncode == 0, imported.stderr


def base(tools):
    """Returns a folder with what the last stage begins with."""
    root = tools.path("/base")
    os.makedirs(root)
    os.makedirs(tools.path("/debs"))
    tools.run("sh", "-c", f"cd /debs && apt-get download -qq -o APT::Sandbox::User=root {' '.join(BASE)}")
    for name in os.listdir(tools.path("/debs")):
        peers.call("dpkg-deb", "--extract", tools.path(f"/debs/{name}"), root)
    return root


def build(podman, program):
    """Builds the image from the source code, as somebody with a registry would."""
    tools, root = package.fresh("ca-certificates")
    subprocess.run(["strip", "-o", os.path.join(root, "program"), program], check=True)
    stand_in = os.path.join(root, "usr/local/bin/cargo")
    with open(stand_in, "w", encoding="utf-8") as file:
        file.write(CARGO)
    os.chmod(stand_in, 0o755)
    podman.take_in(root, "localhost/rust")
    podman.take_in(base(tools), "localhost/base")
    images = ["--build-arg", "BUILD_IMAGE=localhost/rust", "--build-arg", "BASE_IMAGE=localhost/base"]
    # apt-get in the first stage needs the machine's network, and Debian's settings for it.
    apart = ["--isolation", "chroot", "--network", "host", "--pull-never"]
    apart += ["--volume", "/etc/apt/sources.list:/etc/apt/sources.list:ro"] if os.path.exists("/etc/apt/sources.list") else []
    where = ["--format", "docker", "--file", "packaging/Containerfile", "--tag", "localhost/posta"]
    podman.run("build", *apart, *images, *where, peers.ROOT)


def live(podman):
    """Runs the image as the Containerfile's first lines say, in a network of its own."""
    options = ["--name", "posta", "--volume", "posta-data:/var/lib/posta", "--network", "none"]
    # For the first run, as where the group of containers may not be limited.
    options += ["--cgroups", "disabled"]
    account = ["account", "add", ANA, "--password-stdin"]
    podman.run("run", "--rm", "--interactive", *options, "localhost/posta", *account, text=PASSWORD)
    podman.run("run", "--detach", *options, "--sysctl", "net.ipv4.ip_unprivileged_port_start=0", "localhost/posta")
    until = time.monotonic() + START
    while podman.ask("healthcheck", "run", "posta").returncode != 0:
        logs = podman.ask("logs", "posta").stdout.decode()
        assert time.monotonic() < until, f"the server is not healthy: {logs}"
        time.sleep(0.5)
    assert podman.run("exec", "posta", "/usr/bin/posta", "status", "--ready") == "ready\n"
    inside = ["exec", "--interactive", "posta", "/usr/bin/posta"]
    status = podman.run(*inside, "status")
    for listener in ("smtp", "[::]:25", "[::]:465", "[::]:587", "[::]:995"):
        assert listener in status, status
    login = ["--tls", "implicit", "--any-certificate", "--user", ANA, "--password-stdin"]
    message = ["--from", ANA, "--to", ANA, "--subject", "within", "--body", "x"]
    podman.run(*inside, "send", "--server", "127.0.0.1:465", *login, *message, text=PASSWORD)
    fetched = podman.run(*inside, "fetch", "--server", "127.0.0.1:995", *login, "--stdout", text=PASSWORD)
    assert "Subject: within" in fetched, fetched
    user = podman.run("inspect", "--format", "{{.Config.User}}", "posta").strip()
    assert user == "998:998", user

    # Asked to stop, it ends by itself; what it keeps is in the volume, for the next container.
    podman.run("stop", "--time", "30", "posta")
    ended = podman.run("inspect", "--format", "{{.State.ExitCode}}", "posta").strip()
    assert ended == "0", ended
    assert podman.ask("healthcheck", "run", "posta").returncode != 0
    podman.run("rm", "posta")
    listed = podman.run("run", "--rm", *options, "localhost/posta", "mail", "list", ANA)
    assert "within" in listed, listed


def main():
    if os.geteuid() != 0 or not peers.possible():
        print("no root of its own can be made here: overlay mounts are not allowed")
        sys.exit(77)
    missing = [tool for tool in ("podman", "crun") if shutil.which(tool) is None]
    if missing:
        print(f"{' and '.join(missing)} missing (apt-get install {' '.join(missing)})")
        sys.exit(77)
    folder = os.path.join(peers.ROOT, "target/container")
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(os.path.join(folder, "tmp"))
    podman = Podman(folder)
    # crun wants one kind of control groups. This program's mounts are its own.
    subprocess.run(["umount", "/sys/fs/cgroup/unified"], check=False, stderr=subprocess.DEVNULL)
    try:
        tried = podman.ask("info")
        if tried.returncode != 0:
            print(f"podman does not work here: {tried.stdout.decode()}")
            sys.exit(77)
        build(podman, os.path.abspath(sys.argv[1]))
        live(podman)
    finally:
        podman.ask("rm", "--all", "--force")
        podman.ask("rmi", "--all", "--force")
        shutil.rmtree(folder, ignore_errors=True)
    print("the container was built and run")


if __name__ == "__main__":
    main()

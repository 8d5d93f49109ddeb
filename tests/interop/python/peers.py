"""Other mail servers, each in a root of its own.

A peer is a Debian package that is installed into an overlay over this machine's root: it finds its
files, its users and its libraries where it expects them, nothing of it reaches the machine, and
servers that exclude each other as packages stand side by side. The network is the machine's own.
Needs root, in namespaces of the caller's, so that daemons end with it, those that left its session too:
`unshare --mount --propagation private --pid --fork --kill-child --mount-proc`.
"""

import atexit
import fcntl
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time

# In its shortest spelling: the path of a socket, such as that of Posta's control socket, has at most 107 octets.
ROOT = os.path.normpath(os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../.."))
# Where downloaded packages are kept for the next run.
ARCHIVES = os.path.join(ROOT, "target/peers")


class Peer:
    """A root in which `packages` are installed."""

    def __init__(self, packages):
        self.base = tempfile.mkdtemp(prefix="posta-peer-")
        self.root = os.path.join(self.base, "root")
        self.started = []
        atexit.register(self.stop)
        call("mount", "-t", "tmpfs", "tmpfs", self.base)
        upper, work = os.path.join(self.base, "upper"), os.path.join(self.base, "work")
        for folder in (upper, work, self.root):
            os.mkdir(folder)
        call("mount", "-t", "overlay", "overlay", "-o", f"lowerdir=/,upperdir={upper},workdir={work}", self.root)
        for folder in ("dev", "proc", "tmp"):
            call("mount", "--rbind", f"/{folder}", os.path.join(self.root, folder))
        os.makedirs(os.path.join(ARCHIVES, "partial"), exist_ok=True)
        self.mount(ARCHIVES, "/var/cache/apt/archives")
        # Container images have a rule that deletes what was downloaded.
        self.write("/etc/apt/apt.conf.d/docker-clean", "")
        # No package may start its daemon by itself.
        self.write("/usr/sbin/policy-rc.d", "#!/bin/sh\nexit 101\n", 0o755)
        # Tests that run side by side share the folder of archives, which apt locks without waiting.
        with open(f"{ARCHIVES}.lock", "w", encoding="utf-8") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            self.install(packages)

    def install(self, packages):
        """Installs packages inside, with what they need."""
        if not any(name.endswith("Packages") or "Packages." in name for name in os.listdir("/var/lib/apt/lists")):
            self.run("apt-get", "update", "-qq")
        install = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", "-o", "APT::Sandbox::User=root"]
        self.run("env", "DEBIAN_FRONTEND=noninteractive", *install, *packages)

    def newer(self, release, packages):
        """Lays packages of another release of Debian over what is installed, nothing else: `packages` names
        the libraries that they need, too. For a server that is broken in this machine's release."""
        form = "$(REPO_URI) $(CODENAME) $(COMPONENT)"
        targets = self.run("apt-get", "indextargets", "--format", form, "Created-By: Packages").split("\n")
        place, ours = next(line.split()[:2] for line in targets if line.endswith(" main"))
        if ours == release:
            return
        self.write("/newer/sources.list", f"deb {place} {release} main\n")
        self.write(
            "/newer/apt.conf",
            'Dir::Etc::SourceList "/newer/sources.list";\nDir::Etc::SourceParts "/dev/null";\n'
            'Dir::State::Lists "/newer/lists";\nDir::Cache::pkgcache "";\nDir::Cache::srcpkgcache "";\nAPT::Sandbox::User "root";\n',
        )
        os.makedirs(self.path("/newer/lists/partial"))
        own = "cd /newer; export APT_CONFIG=/newer/apt.conf"
        self.run("sh", "-c", f"{own}; apt-get update -qq && apt-get download -qq {' '.join(packages)}")
        for name in os.listdir(self.path("/newer")):
            if name.endswith(".deb"):
                # From outside: what unpacks must not stand on the libraries that it replaces.
                call("dpkg-deb", "--extract", self.path(f"/newer/{name}"), self.root)

    def mount(self, folder, place):
        """Shows a folder of the machine inside the root."""
        inside = self.path(place)
        os.makedirs(inside, exist_ok=True)
        call("mount", "--bind", folder, inside)

    def path(self, place):
        return os.path.join(self.root, place.lstrip("/"))

    def write(self, place, text, mode=0o644):
        path = self.path(place)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8", newline="") as file:
            file.write(text)
        os.chmod(path, mode)

    def run(self, *command, text=b""):
        """Runs a command inside to its end; answers what it said."""
        ran = subprocess.run(
            ["chroot", self.root, *command],
            input=text,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=300,
            check=False,
        )
        said = ran.stdout.decode(errors="replace")
        if ran.returncode != 0:
            raise RuntimeError(f"{command}: exit {ran.returncode}: {said}")
        return said

    def start(self, *command):
        """Starts a server inside, in a session of its own, until this program ends."""
        log = os.path.join(self.base, f"log-{len(self.started)}")
        with open(log, "wb") as file:
            server = subprocess.Popen(
                ["chroot", self.root, *command],
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.started.append((server, log))

    def said(self):
        """What the servers said, for a failure's report."""
        texts = []
        for _, log in self.started:
            with open(log, encoding="utf-8", errors="replace") as file:
                texts.append(file.read()[-4000:])
        return "\n".join(texts)

    def stop(self):
        self.end()
        subprocess.run(["umount", "--recursive", "--lazy", self.base], check=False, stderr=subprocess.DEVNULL)
        shutil.rmtree(self.base, ignore_errors=True)

    def end(self):
        """Ends the servers, and keeps the root."""
        for server, _ in self.started:
            for number in (signal.SIGTERM, signal.SIGKILL):
                try:
                    os.killpg(server.pid, number)
                except ProcessLookupError:
                    break
                for _ in range(50):
                    if server.poll() is not None:
                        break
                    time.sleep(0.1)
        self.started = []


def call(*command):
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def wait_for(address, seconds=120, process=None):
    """Waits until a server listens, or until `process`, which should become one, has ended."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if process and process.poll() is not None:
            raise RuntimeError(f"the server for {address} ended with {process.returncode}")
        try:
            socket.create_connection(address, 1).close()
            return
        except OSError:
            time.sleep(0.1)
    raise RuntimeError(f"nothing listens on {address}")


def possible():
    """Whether this machine lets us make such a root."""
    base = tempfile.mkdtemp(prefix="posta-peer-")
    try:
        call("mount", "-t", "tmpfs", "tmpfs", base)
        for folder in ("upper", "work", "root"):
            os.mkdir(os.path.join(base, folder))
        options = f"lowerdir=/,upperdir={base}/upper,workdir={base}/work"
        call("mount", "-t", "overlay", "overlay", "-o", options, f"{base}/root")
        return True
    except (OSError, subprocess.CalledProcessError):
        return False
    finally:
        subprocess.run(["umount", "--recursive", "--lazy", base], check=False, stderr=subprocess.DEVNULL)
        os.rmdir(base)

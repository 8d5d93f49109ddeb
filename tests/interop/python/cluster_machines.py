"""Machines for the tests of a cluster: a root file system, a network interface and services each.

A machine's root is an overlay over one layer that all have in common, in which packages were installed. Its network is
a namespace of its own with one interface, whose other end hangs on a bridge in the network of the test, which is
namespace of its own as well. Services run as their unit files say: a stand-in for systemd starts them, waits until they
say that they are ready, and starts them again when they die, if the unit wants that. Everything ends with the test.
"""

import ctypes
import os
import re
import shlex
import signal
import socket
import subprocess
import threading
import time

import peers

BRIDGE = "cluster0"
PREFIX = "10.77.0."
# Addresses of the test itself: the world outside, and where the doors to the databases are.
WORLD, DOORS = f"{PREFIX}254", (f"{PREFIX}251", f"{PREFIX}252")
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# The end of what a service wrote that goes into a failure's report, in octets.
TOLD = 3000
# In a machine: hands the command to the stand-in, and returns its exit status.
ASK = """#!/bin/sh
request=/run/asked/$$
echo "$@" >$request.new
mv $request.new $request.asked
while [ ! -e $request.done ]; do sleep 0.05; done
exit "$(cat $request.done)"
"""


def network():
    """Makes the bridge, with the addresses of the test."""
    call = peers.call
    call("ip", "link", "set", "lo", "up")
    os.makedirs("/run/netns", exist_ok=True)
    call("mount", "-t", "tmpfs", "tmpfs", "/run/netns")
    # A bridge without an address of its own takes one of those that hang on it, and another when that machine is cut off:
    # then all would lose the test for half a minute.
    call("ip", "link", "add", BRIDGE, "address", "02:00:00:00:00:01", "type", "bridge")
    call("ip", "link", "set", BRIDGE, "up")
    for address in (WORLD, *DOORS):
        call("ip", "address", "add", f"{address}/24", "dev", BRIDGE)


class Machine:
    """A machine with a name and an address. `base` is the peer whose packages it has."""

    def __init__(self, base, name, number):
        self.name, self.address = name, f"{PREFIX}{number}"
        self.base = os.path.join(base.base, name)
        self.root = os.path.join(self.base, "root")
        upper, work = os.path.join(self.base, "upper"), os.path.join(self.base, "work")
        for folder in (upper, work, self.root):
            os.makedirs(folder)
        lower = f"{os.path.join(base.base, 'upper')}:/"
        peers.call("mount", "-t", "overlay", "overlay", "-o", f"lowerdir={lower},upperdir={upper},workdir={work}", self.root)
        for folder in ("dev", "proc"):
            peers.call("mount", "--rbind", f"/{folder}", os.path.join(self.root, folder))
        for folder, mode in (("tmp", 0o1777), ("run", 0o755)):
            peers.call("mount", "-t", "tmpfs", "-o", f"mode={mode:o}", "tmpfs", os.path.join(self.root, folder))
        for folder in ("run/asked", "run/systemd/system", "run/ready"):
            os.makedirs(self.path(folder), exist_ok=True)
        self.write("/usr/bin/systemctl", ASK, 0o755)
        self.units = {}
        self.lock = threading.Lock()
        self.connect()
        threading.Thread(target=self.answer, daemon=True).start()

    def connect(self):
        near, call = f"to-{self.name}", peers.call
        call("ip", "netns", "add", self.name)
        call("ip", "link", "add", near, "type", "veth", "peer", "name", "eth0", "netns", self.name)
        call("ip", "link", "set", near, "master", BRIDGE, "up")
        call("ip", "-n", self.name, "address", "add", f"{self.address}/24", "dev", "eth0")
        for link in ("lo", "eth0"):
            call("ip", "-n", self.name, "link", "set", link, "up")

    def cut(self):
        """Takes the machine off the network: nothing arrives any more, and nobody is told."""
        peers.call("ip", "link", "set", f"to-{self.name}", "nomaster")

    def mend(self):
        peers.call("ip", "link", "set", f"to-{self.name}", "master", BRIDGE)

    def path(self, place):
        return os.path.join(self.root, place.lstrip("/"))

    def write(self, place, text, mode=0o644):
        path = self.path(place)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        if os.path.islink(path):
            os.unlink(path)
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        os.chmod(path, mode)

    def read(self, place):
        with open(self.path(place), encoding="utf-8", errors="replace") as file:
            return file.read()

    def words(self, *command):
        """The words of a command that run it in the machine."""
        return ["nsenter", f"--net=/run/netns/{self.name}", "chroot", self.root, *command]

    def run(self, command, check=True, text="", seconds=180):
        """Runs a line of shell as root, to its end. Returns what it said."""
        ran = subprocess.run(
            self.words("/bin/sh", "-c", f"cd /root && {command}"),
            input=text.encode(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={"PATH": PATH, "HOME": "/root", "LC_ALL": "C.UTF-8"},
            timeout=seconds,
            check=False,
        )
        said = ran.stdout.decode(errors="replace")
        if check and ran.returncode != 0:
            raise RuntimeError(f"{self.name}: {command}: exit {ran.returncode}: {said}")
        return said

    def unit(self, name):
        with self.lock:
            if name not in self.units:
                self.units[name] = Unit(self, name)
            return self.units[name]

    def answer(self):
        """Does what is asked of systemd inside."""
        asked = self.path("/run/asked")
        # Until the end of the test, when the file systems go away.
        while os.path.isdir(asked):
            for name in os.listdir(asked):
                if name.endswith(".asked"):
                    place = os.path.join(asked, name)
                    with open(place, encoding="utf-8") as file:
                        words = file.read().split()
                    os.unlink(place)
                    threading.Thread(target=self.systemctl, args=(words, place.removesuffix(".asked")), daemon=True).start()
            time.sleep(0.05)

    def systemctl(self, words, reply):
        names = [word.removesuffix(".service") for word in words[1:] if not word.startswith("-")]
        status = 0
        try:
            for name in names:
                self.unit(name).do(words[0], "--now" in words)
        except (OSError, RuntimeError) as problem:
            print(f"{self.name}: systemctl {' '.join(words)}: {problem}", flush=True)
            status = 1
        if words[0] == "is-active" and not all(self.unit(name).is_running() for name in names):
            status = 3
        with open(f"{reply}.new", "w", encoding="utf-8") as file:
            file.write(str(status))
        os.rename(f"{reply}.new", f"{reply}.done")


class Unit:
    """A service of a machine."""

    def __init__(self, machine, name):
        self.machine, self.name = machine, name
        self.process = None
        self.is_wanted = False
        self.is_held = False
        self.starts = 0
        self.environment = {}
        self.lock = threading.RLock()
        self.log = os.path.join(machine.base, f"{name}.log")

    def settings(self):
        """Reads the unit file; of what stands several times, the last holds, but for the lists."""
        for folder in ("/etc/systemd/system", "/lib/systemd/system"):
            if os.path.exists(self.machine.path(f"{folder}/{self.name}.service")):
                text = self.machine.read(f"{folder}/{self.name}.service").replace("\\\n", " ")
                break
        else:
            raise RuntimeError(f"there is no unit {self.name}")
        found = {}
        for key, value in re.findall(r"^(\w+)=(.*)$", text, re.M):
            value = value.replace("%H", self.machine.name).replace("%p", self.name)
            if key in ("Environment", "EnvironmentFile", "ExecStartPre"):
                found.setdefault(key, []).append(value)
            else:
                found[key] = value
        return found

    def do(self, verb, now=False):
        if verb in ("daemon-reload", "is-active"):
            return
        if verb == "stop" or verb == "disable" and now:
            self.stop()
        elif verb == "restart":
            self.stop()
            self.start()
        elif verb == "start" or verb == "enable" and now:
            if not self.is_running():
                self.start()
        elif verb != "enable":
            raise RuntimeError(f"systemctl {verb} is not understood here")

    def is_running(self):
        return self.process is not None and self.process.poll() is None

    @property
    def pid(self):
        return self.process.pid

    def start(self, seconds=120):
        """Starts the service, and waits until it says that it is ready."""
        with self.lock:
            self.is_wanted = True
            settings = self.settings()
            ready = self.spawn(settings)
            threading.Thread(target=self.watch, args=(self.process, settings), daemon=True).start()
        if settings.get("Type") == "notify":
            until = time.monotonic() + seconds
            ready.settimeout(0.5)
            while True:
                if not self.is_running() or time.monotonic() > until:
                    raise RuntimeError(f"{self.name} on {self.machine.name} does not start:\n{self.told()}")
                try:
                    if b"READY=1" in ready.recv(4096):
                        return
                except TimeoutError:
                    continue

    def spawn(self, settings):
        machine, user = self.machine, settings.get("User", "root")
        environment = {"PATH": PATH, "HOME": "/", "LC_ALL": "C.UTF-8"}
        for line in settings.get("Environment", []):
            environment.update(word.split("=", 1) for word in shlex.split(line))
        for place in settings.get("EnvironmentFile", []):
            if os.path.exists(machine.path(place.lstrip("-"))):
                lines = machine.read(place.lstrip("-")).splitlines()
                pairs = [line.strip().split("=", 1) for line in lines if "=" in line and not line.startswith("#")]
                environment.update((key, value.strip("\"'")) for key, value in pairs)
        for key, below in (("StateDirectory", "/var/lib"), ("RuntimeDirectory", "/run")):
            for name in settings.get(key, "").split():
                machine.run(f"install -d -o {user} -g {user} -m {settings.get(key + 'Mode', '0755')} {below}/{name}")
        for line in settings.get("ExecStartPre", []):
            machine.run(line.lstrip("+-!"))
        ready, place = None, f"/run/ready/{self.name}.{self.starts}"
        self.starts += 1
        if settings.get("Type") == "notify":
            ready = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            # By a short name: paths of sockets are limited.
            with open_folder(os.path.dirname(machine.path(place))) as folder:
                ready.bind(f"/proc/self/fd/{folder}/{os.path.basename(place)}")
            os.chmod(machine.path(place), 0o777)
            environment["NOTIFY_SOCKET"] = place
        command = [os.path.expandvars(word) if "$" in word else word for word in shlex.split(settings["ExecStart"])]
        command = [environment.get(word[1:], "") if word.startswith("$") else word for word in command]
        rights = []
        if "CAP_NET_BIND_SERVICE" in settings.get("AmbientCapabilities", ""):
            rights = ["--inh-caps=+net_bind_service", "--ambient-caps=+net_bind_service"]
        as_user = ["setpriv", f"--reuid={user}", f"--regid={user}", "--init-groups", *rights]
        if self.environment:
            # For the service alone: what faketime shares belongs to the user that loaded it first.
            as_user += ["env", *[f"{name}={value}" for name, value in self.environment.items()]]
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                machine.words(*as_user, *[word for word in command if word]),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment,
                start_new_session=True,
            )
        return ready

    def watch(self, process, settings):
        """Starts the service again when it has died, as its unit wants it."""
        status = process.wait()
        again = settings.get("Restart", "no")
        if again == "no" or again.startswith("on-") and status == 0:
            return
        pause = settings.get("RestartSec", "0.1").rstrip("s")
        time.sleep(float(pause))
        while self.is_held:
            time.sleep(0.1)
        with self.lock:
            if not self.is_wanted or self.process is not process:
                return
        try:
            self.start()
        except (OSError, RuntimeError) as problem:
            print(f"{self.machine.name}: {self.name} was not started again: {problem}", flush=True)

    def signal(self, number):
        if self.is_running():
            os.kill(self.pid, number)

    def stop(self):
        with self.lock:
            self.is_wanted = False
            process = self.process
        if process is None or process.poll() is not None:
            return
        for number, seconds in ((signal.SIGTERM, 40), (signal.SIGKILL, 10)):
            process.send_signal(number)
            try:
                process.wait(seconds)
                return
            except subprocess.TimeoutExpired:
                continue

    def told(self):
        """The end of what the service wrote."""
        if not os.path.exists(self.log):
            return ""
        with open(self.log, "rb") as file:
            file.seek(max(0, os.path.getsize(self.log) - TOLD))
            return file.read().decode(errors="replace")


class open_folder:
    """A folder's descriptor, for as long as the block takes."""

    def __init__(self, place):
        self.place = place

    def __enter__(self):
        self.descriptor = os.open(self.place, os.O_RDONLY | os.O_DIRECTORY)
        return self.descriptor

    def __exit__(self, *_):
        os.close(self.descriptor)


def leave_network():
    """Moves this process, which has one thread as yet, into a network of its own."""
    library = ctypes.CDLL(None, use_errno=True)
    clone_newnet = 0x4000_0000
    if library.unshare(clone_newnet) != 0:
        raise OSError(ctypes.get_errno(), "no network of its own")

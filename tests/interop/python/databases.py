"""A PostgreSQL of the measurements' own, with all its promises kept, and a synchronous standby of it.

Debian's programs, a directory of its own on the disk that the embedded store would be on, a Unix socket. Where this
runs as root, the server runs as the user `postgres`, since it refuses to run as root.
"""

import json
import os
import pwd
import shutil
import subprocess
import time

VERSIONS = "/usr/lib/postgresql"
SETTINGS = [
    # What makes 250 mean "safe" is as installed: fsync, synchronous_commit and full_page_writes are on.
    "shared_preload_libraries=pg_stat_statements", "pg_stat_statements.track=top", "compute_query_id=on",
    "max_connections=200", "shared_buffers=512MB", "max_wal_size=4GB", "listen_addresses=", "track_wal_io_timing=on",
]


def programs():
    """Returns the directory of the newest programs, from version 15 on; none if there are none."""
    found = [int(name) for name in os.listdir(VERSIONS) if name.isdigit()] if os.path.isdir(VERSIONS) else []
    newest = max(found, default=0)
    return os.path.join(VERSIONS, str(newest), "bin") if newest >= 15 else None


class Postgres:
    """A running server in a directory; its socket is there too."""

    def __init__(self, directory, settings=()):
        self.programs, self.directory = programs(), directory
        self.data, self.settings, self.process = os.path.join(directory, "data"), [*SETTINGS, *settings], None
        os.makedirs(directory)
        if os.getuid() == 0:
            user = pwd.getpwnam("postgres")
            os.chown(directory, user.pw_uid, user.pw_gid)

    def command(self, program, *arguments):
        """Returns a command line that runs a program as the server's user."""
        apart = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"] if os.getuid() == 0 else []
        return [*apart, os.path.join(self.programs, program), *arguments]

    def run(self, program, *arguments):
        ran = subprocess.run(self.command(program, *arguments), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
        if ran.returncode != 0:
            raise RuntimeError(f"{program}: {ran.stdout.decode(errors='replace')}")

    def initialise(self):
        self.run("initdb", "-A", "trust", "-U", "posta", "-E", "UTF8", "--locale=C", "-D", self.data)
        return self

    def start(self):
        options = [word for setting in self.settings for word in ("-c", setting)]
        with open(os.path.join(self.directory, "log"), "ab") as log:
            self.process = subprocess.Popen(
                self.command("postgres", "-D", self.data, "-k", self.directory, *options), stdout=log, stderr=log
            )
        ready = [os.path.join(self.programs, "pg_isready"), "-q", "-h", self.directory]
        deadline = time.monotonic() + 60
        while subprocess.run(ready, check=False).returncode != 0:
            if self.process.poll() is not None or time.monotonic() > deadline:
                with open(os.path.join(self.directory, "log"), encoding="utf-8", errors="replace") as log:
                    raise RuntimeError(f"PostgreSQL did not start: {log.read()[-2000:]}")
            time.sleep(0.1)
        return self

    def stop(self):
        if self.process:
            self.process.terminate()
            subprocess.run(self.command("pg_ctl", "stop", "-s", "-m", "fast", "-D", self.data), check=False)
            self.process.wait()
            self.process = None

    def url(self, database="postgres"):
        return f"postgresql://posta@{self.directory.replace('/', '%2F')}/{database}"

    def ask(self, sql, database="postgres"):
        """Runs statements. Returns what `psql` prints, without a table around it."""
        ran = subprocess.run(
            ["psql", "-h", self.directory, "-U", "posta", "-d", database, "-AtX", "-v", "ON_ERROR_STOP=1", "-c", sql],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False,
        )
        if ran.returncode != 0:
            raise RuntimeError(f"{sql}: {ran.stderr.decode()}")
        return ran.stdout.decode().strip()

    def cpu(self):
        """Returns the seconds of CPU that the server's processes took; those that have ended count through the first."""
        spent, own = 0, str(self.process.pid)
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
                    words = file.read().rsplit(")", 1)[1].split()
            except OSError:
                continue
            if own in (pid, words[1]):
                spent += sum(int(word) for word in words[11:15])
        return spent / os.sysconf("SC_CLK_TCK")

    def standby(self, directory):
        """Makes and starts a standby; from then on every commit waits until it has synced, too."""
        other = Postgres(directory, ["hot_standby=on"])
        self.ask("CHECKPOINT")
        other.run("pg_basebackup", "-h", self.directory, "-U", "posta", "-D", other.data, "-R", "-c", "fast", "-X", "stream")
        other.start()
        self.ask("ALTER SYSTEM SET synchronous_standby_names = '*'")
        self.ask("SELECT pg_reload_conf()")
        deadline = time.monotonic() + 30
        while self.ask("SELECT sync_state FROM pg_stat_replication") != "sync":
            if time.monotonic() > deadline:
                raise RuntimeError("the standby does not follow")
            time.sleep(0.1)
        return other

    def alone(self):
        """Commits wait for no standby any more."""
        self.ask("ALTER SYSTEM RESET synchronous_standby_names")
        self.ask("SELECT pg_reload_conf()")


class Counting:
    """What a database did between two moments: its WAL, its commits, its statements."""

    WAL = "SELECT json_build_object('lsn', pg_current_wal_lsn() - '0/0', 'records', wal_records, 'images', wal_fpi) FROM pg_stat_wal"
    STATEMENTS = (
        "SELECT coalesce(json_agg(json_build_object('calls', calls, 'ms', total_exec_time, 'query', left(query, 100))), '[]') "
        "FROM pg_stat_statements WHERE query NOT LIKE '%pg_stat_%' AND query NOT LIKE 'SET %' AND calls > 0"
    )

    def __init__(self, database):
        self.database = database
        database.ask("CREATE EXTENSION IF NOT EXISTS pg_stat_statements")
        database.ask("SELECT pg_stat_statements_reset()")
        self.wal = json.loads(database.ask(self.WAL))

    def end(self):
        """Returns the octets of WAL, of which full-page images, and the statements with calls and milliseconds."""
        statements = json.loads(self.database.ask(self.STATEMENTS))
        wal = json.loads(self.database.ask(self.WAL))
        return {
            "wal": float(wal["lsn"]) - float(self.wal["lsn"]), "records": wal["records"] - self.wal["records"],
            "images": wal["images"] - self.wal["images"], "statements": sorted(statements, key=lambda it: -it["ms"]),
        }


def remove(directory):
    shutil.rmtree(directory, ignore_errors=True)

"""Posta as a server that is measured: started, watched, and asked why where it fails.

Used by the benchmarks (bench.py, bench_pop3.py, bench_relay.py, million.py).
"""

import fcntl
import os
import subprocess

import peers

# The end of what a server wrote that goes into a failure's report, in octets.
TOLD = 4000


class Serving:
    """`posta serve` with a configuration, from the moment that it listens on `port` of 127.0.0.1.

    What it writes is kept in memory: on the disk it would compete with the store's own syncs."""

    def __init__(self, program, config, port, environment=None, seconds=30):
        self.written = os.memfd_create("posta-log")
        fcntl.fcntl(self.written, fcntl.F_SETFL, os.O_APPEND)
        self.process = subprocess.Popen(
            [program, "serve", "--config", config], stdout=self.written, stderr=self.written, env=environment
        )
        self.pid = self.process.pid
        try:
            peers.wait_for(("127.0.0.1", port), seconds, self.process)
        except RuntimeError as problem:
            log = self.log()
            self.kill()
            raise RuntimeError(f"{problem}; it wrote:\n{log}") from None

    def log(self):
        """Returns the end of what the server wrote."""
        size = os.fstat(self.written).st_size
        return os.pread(self.written, TOLD, max(0, size - TOLD)).decode(errors="replace")

    def resident(self):
        """Returns the octets of memory that the server holds."""
        with open(f"/proc/{self.pid}/status", encoding="ascii") as file:
            return int(next(line for line in file if line.startswith("VmRSS")).split()[1]) * 1024

    def stop(self):
        """Ends the server in an orderly way."""
        self.process.terminate()
        self.close()

    def kill(self):
        """Ends the server as a crash does."""
        self.process.kill()
        self.close()

    def close(self):
        self.process.wait()
        if self.written is not None:
            os.close(self.written)
            self.written = None

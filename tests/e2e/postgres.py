"""A PostgreSQL server of one's own, for tests and the bench."""

import glob
import os
import pwd
import shutil
import subprocess
import tempfile


class Postgres:
    """A server on a socket in a folder of its own; initdb refuses root, so root becomes postgres (or nobody) for it."""

    def __init__(self):
        folders = sorted(glob.glob("/usr/lib/postgresql/*/bin"))
        if not folders and shutil.which("initdb") is None:
            raise RuntimeError("PostgreSQL is not installed: scripts/install-deps check")
        self.bin = (folders[-1] + "/") if folders else ""
        self.folder = tempfile.mkdtemp(prefix="bm-pg-", dir="/tmp")
        self.become = []
        if os.getuid() == 0:
            try:
                who = pwd.getpwnam("postgres")
            except KeyError:
                who = pwd.getpwnam("nobody")
            os.chown(self.folder, who.pw_uid, who.pw_gid)
            self.become = ["setpriv", f"--reuid={who.pw_uid}", f"--regid={who.pw_gid}", "--clear-groups"]
        self.run("initdb", "-D", self.folder + "/data", "-A", "trust", "-U", "birthmark", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync")
        self.names = 0
        self.start()

    def run(self, program, *words):
        done = subprocess.run([*self.become, self.bin + program, *words], cwd="/", stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, timeout=120)
        assert done.returncode == 0, f"{program}: {done.stdout}"
        return done.stdout

    def start(self):
        # output to files: a pipe would stay open in the server
        with open(self.folder + "/out", "ab") as out:
            done = subprocess.run([*self.become, self.bin + "pg_ctl", "-D", self.folder + "/data", "-l", self.folder + "/log", "-w", "-o",
                                   f"-k {self.folder} -c listen_addresses=", "start"], cwd="/", stdin=subprocess.DEVNULL, stdout=out,
                                  stderr=out, timeout=120)
        assert done.returncode == 0

    def stop(self, how="immediate"):
        self.run("pg_ctl", "-D", self.folder + "/data", "-m", how, "-w", "stop")

    def database(self):
        """The address of a new, empty one."""
        self.names += 1
        name = f"registry{self.names}"
        self.sql("postgres", f"CREATE DATABASE {name}")
        return f"postgres:host={self.folder} user=birthmark dbname={name}"

    def sql(self, database, text):
        return subprocess.run([self.bin + "psql", "-h", self.folder, "-U", "birthmark", "-d", database, "-qAt", "-c", text], check=True,
                              capture_output=True, text=True, timeout=60).stdout.strip()

    def pids(self):
        """All its processes."""
        with open(self.folder + "/data/postmaster.pid") as f:
            first = int(f.readline())
        with open(f"/proc/{first}/task/{first}/children") as f:
            return [first, *map(int, f.read().split())]

    def end(self):
        try:
            self.stop()
        finally:
            shutil.rmtree(self.folder, ignore_errors=True)

"""What every part of the bench needs: a server whose CPU time is read from the kernel's own account, registries, keys, and the table of rows."""
import atexit
import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys

TOP = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("BM_BUILD_DIR", TOP / "build/release"))
BIN = BUILD / "bin"
sys.path.insert(0, str(TOP / "tests/e2e"))


def run(*words, **how):
    done = subprocess.run([str(w) for w in words], capture_output=True, text=True, **how)
    if done.returncode != 0:
        sys.exit(f"bench: {' '.join(str(w) for w in words)}: {done.stderr[-1000:] or done.stdout[-1000:]}")
    return done.stdout


def birthmark(data, *words):
    return run(BIN / "birthmark", *words, "--data", data)


def cpu_s(pid):
    """CPU seconds of one single-threaded process, to the nanosecond."""
    return int(pathlib.Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e9


def children(pid):
    return [int(p) for p in pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def end(process):
    """What the bench started does not outlive it, however it ends."""
    if process.poll() is None:
        process.terminate()
        process.wait()


class Server:
    def __init__(self, data, database=None):
        self.data, self.database = data, database
        self.log = open(f"{data}.log", "ab")
        self.http = f"127.0.0.1:{free_port()}"
        self.process = subprocess.Popen([BIN / "birthmark", "serve", "--listen", "127.0.0.1:0", "--listen-http", self.http, "--data", data],
                                        stdout=subprocess.PIPE, stderr=self.log, text=True)
        atexit.register(end, self.process)
        line = self.process.stdout.readline()
        found = re.search(r"https://[^\s,]+", line)
        if not found:
            sys.exit(f"bench: the server did not start; see {data}.log")
        self.url = found.group(0)

    def pids(self):
        return [self.process.pid, *children(self.process.pid), *(self.database.pids() if self.database else [])]

    def cpu(self):
        return sum(cpu_s(p) for p in self.pids())

    def memory_mb(self):
        """Proportional set size: shared pages counted once."""
        text = "".join(pathlib.Path(f"/proc/{p}/smaps_rollup").read_text() for p in self.pids())
        return sum(int(n) for n in re.findall(r"^Pss:\s+(\d+)", text, re.M)) / 1024

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        if self.process.wait() != 0:
            sys.exit(f"bench: the server ended badly; see {self.data}.log")
        self.log.close()


class Bench:
    def __init__(self, folder, options, database=None):
        """database: a PostgreSQL server, when that is measured; its processes count as the server's."""
        self.folder, self.options, self.database, self.rows = folder, options, database, []
        self.rounds, self.each = (3, 1000) if options.quick else (5, 2000)
        self.devices = self.rounds * self.each * 2 + 200  # play devices with a key

    def head(self):
        busy, processors = os.getloadavg()[0], os.cpu_count()
        if busy > 0.5:
            print(f"This machine is not quiet: {busy:.1f} others want its {processors} processors. Figures are too high, latencies most of all.\n")
        print(f"{'what':<52} {'value':>12} {'unit':<16} {'floor':>12} {'ratio':>6}  {'goal':<32}")

    # --- rows -------------------------------------------------------------------------------------------------------------------
    def row(self, name, value, unit, floor=None, goal=None, limit=None, more_is_better=False):
        """goal: for the value; limit: for its ratio to the floor."""
        ratio = value / floor if floor else None
        met = None
        if goal is not None or limit is not None:
            met = (goal is None or (value >= goal if more_is_better else value <= goal)) and (limit is None or ratio <= limit)
        wanted = " and ".join(([f"{'>=' if more_is_better else '<='} {goal:g} {unit}"] if goal is not None else []) +
                              ([f"<= {limit:g} x floor"] if limit is not None else []))
        self.rows.append({"name": name, "value": round(value, 4), "unit": unit, "floor": round(floor, 4) if floor else None,
                          "ratio": round(ratio, 3) if ratio else None, "goal": wanted or None, "met": met})
        print(f"{name:<52} {value:>12,.3f} {unit:<16} {f'{floor:,.3f}' if floor else '-':>12} {f'{ratio:.2f}' if ratio else '-':>6}  "
              f"{wanted or '-':<32} {'' if met is None else 'met' if met else 'MISSED'}", flush=True)

    def save(self):
        out = TOP / "build/bench.json"
        out.write_text(json.dumps(self.rows, indent=1) + "\n")
        print(f"\nwritten to {out.relative_to(TOP)}")

    # --- set up -----------------------------------------------------------------------------------------------------------------
    def registry(self, name):
        """A data folder with a batch of all play devices."""
        data = self.folder / name
        store = ("--store", self.database.database()) if self.database else ()
        birthmark(data, "init", "--organisation", "Bench", "--tls-host", "127.0.0.1", *store)
        birthmark(data, "org", "create", "maker", "--role", "chip-maker")
        birthmark(data, "org", "create", "oem", "--role", "oem")
        birthmark(data, "product", "create", "thing", "--org", "oem")
        birthmark(data, "batch", "create", "b", "--product", "thing", "--quota", 100000000)
        birthmark(data, "ca", "export", "root", "--out", self.folder / f"{name}.pem")
        birthmark(data, "org", "trust", "maker", self.signer / "signer-cert.pem", "--purpose", "manifest")
        birthmark(data, "manifest", "import", self.manifest("devices", self.devices), "--batch", "b")
        return data

    def serve(self, data):
        return Server(data, self.database)

    def fill(self, data, *words):
        """More devices with certificates, straight into the registry, which nobody has open."""
        stored = (data / "birthmark.conf").read_text().split("=", 1)[1].strip() if self.database else data / "registry.db"
        run(BUILD / "bench/fill_bench", stored, *words)

    def keys(self, name, n):
        path = self.folder / f"{name}.keys"
        if not path.exists():
            run(BIN / "birthmark-fleet", "keys", n, "--seed", name, "--out", path)
        return path

    @property
    def signer(self):
        path = self.folder / "signer"
        if not path.exists():
            spki = self.folder / "one.jsonl"
            spki.write_text(run(BIN / "birthmark-fleet", "spki", "--keys", self.keys("one", 1)))
            run(BIN / "birthmark", "manifest", "make", spki, "--out", self.folder / "one", "--id", "one", "--issuer", "maker", "--new-signer", path)
        return path

    def manifest(self, name, n):
        path = self.folder / f"{name}.manifest"
        if not path.exists():
            spki = self.folder / f"{name}.jsonl"
            with open(spki, "w") as f:
                subprocess.run([BIN / "birthmark-fleet", "spki", "--keys", self.keys(name, n)], check=True, stdout=f)
            run(BIN / "birthmark", "manifest", "make", spki, "--out", path, "--id", name, "--issuer", "maker",
                "--key", self.signer / "signer-key.pem", "--cert", self.signer / "signer-cert.pem")
        return path

    # --- measuring --------------------------------------------------------------------------------------------------------------
    def fleet(self, server, first, count, *words):
        out = run(BIN / "birthmark-fleet", "run", "--server", server.url, "--keys", self.keys("devices", self.devices), "--insecure",
                  "--protocol", "est", "--auth", "tls", "--first", first, "--count", count, "--json", "--quiet", *words)
        return json.loads(out)

    def per_operation_ms(self, server, first, count, *words):
        before = server.cpu()
        result = self.fleet(server, first, count, *words)
        spent = server.cpu() - before
        if result["refused"] or result["errors"]:
            sys.exit(f"bench: not all enrolments went well: {result}")
        return spent / result["operations"] * 1000, result

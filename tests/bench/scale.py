"""Does an enrolment cost the same, and take as long, however many devices there are? The same load on registries of growing size, in turns."""
import json
import shutil
import statistics
import sys
import time

from harness import BIN, run

BYTES_EACH = 1100  # of disk, for a device with its certificate and audit leaf
JOBS = 4  # few enough that waiting for a processor is not what is measured


def slices(bench, sizes, each):
    """Play devices for each size, in files of their own: (keys, spki)."""
    out = []
    for i in range(len(sizes)):
        keys, spki = bench.folder / f"scale{i}.keys", bench.folder / f"scale{i}.jsonl"
        run(BIN / "birthmark-fleet", "keys", each, "--seed", f"scale{i}", "--out", keys)
        spki.write_text(run(BIN / "birthmark-fleet", "spki", "--keys", keys))
        out.append((keys, spki))
    return out


def check_room(bench, sizes):
    needed, free = sum(sizes) * BYTES_EACH + (1 << 30), shutil.disk_usage(bench.folder).free
    if free < needed:
        sys.exit(f"bench: {bench.folder} needs {needed >> 30} GiB and has {free >> 30}; TMPDIR says where it is")


def grow(bench, sizes, play):
    """A data folder for each size; each is a copy of the one before, and more."""
    check_room(bench, sizes)
    data, at, began = bench.registry("scale"), 0, time.perf_counter()
    out = []
    for size, (_, spki) in zip(sizes, play):
        bench.fill(data, size - at, "--play", spki)
        at = size
        out.append(data if size == sizes[-1] else shutil.copytree(data, bench.folder / f"scale{size}"))
    bench.row(f"filling a registry up to {at:,} devices, copies included", at / (time.perf_counter() - began), "devices/s")
    return out


def load(server, keys, first, count):
    before = server.cpu()
    r = json.loads(run(BIN / "birthmark-fleet", "run", "--server", server.url, "--keys", keys, "--insecure", "--protocol", "est", "--auth", "tls",
                       "--first", first, "--count", count, "--jobs", JOBS, "--json", "--quiet"))
    assert r["operations"] == count, r
    return (server.cpu() - before) / count * 1000, r["latency_ms"]


def measure_sizes(bench, sizes):
    rounds, n = (4, 500) if bench.options.quick else (10, 1000)
    play = slices(bench, sizes, (rounds + 1) * n)
    servers = [bench.serve(d) for d in grow(bench, sizes, play)]
    cpu, latency = [[] for _ in sizes], [[] for _ in sizes]
    for i in range(rounds + 1):
        for which, server in enumerate(servers):
            c, l = load(server, play[which][0], i * n, n)
            if i != 0:  # the first is for warming up
                cpu[which].append(c)
                latency[which].append(l)
    for s in servers:
        s.stop()
    return [(statistics.median(c), {k: statistics.median(x[k] for x in l) for k in l[0]} | {"worst": max(x["max"] for x in l)})
            for c, l in zip(cpu, latency)]


def measure(bench):
    sizes = [10000, 100000] if bench.options.quick else [10000, 100000, 1000000]
    if bench.options.scale:
        sizes.append(bench.options.scale)
    seen = measure_sizes(bench, sizes)
    cpu0, l0 = seen[0]
    for size, (cpu, l) in zip(sizes, seen):
        first = size == sizes[0]
        bench.row(f"EST enrolment among {size:,} devices", cpu, "ms CPU", None if first else cpu0, limit=None if first else 1.10)
        bench.row("  latency p50, 4 clients, new connections", l["p50"], "ms", None if first else l0["p50"])
        bench.row("  latency p99", l["p99"], "ms", None if first else l0["p99"], limit=None if first else 1.5)
        bench.row("  the slowest of all", l["worst"], "ms", None if first else l0["worst"])

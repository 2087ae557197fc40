"""What one enrolment costs, on an empty registry and on a full one; imports; memory."""
import json
import os
import statistics
import sys
import time

from harness import BIN, BUILD, run


def floors_now():
    f = {**json.loads(run(BUILD / "bench/floor_bench")), **json.loads(run(BUILD / "bench/connection_floor_bench"))}
    f["issue"] = f["csr_verify"] + f["sign"]
    return {k: v / 1000 for k, v in f.items()}


def enrolments(bench):
    rounds, n = bench.rounds, bench.each
    data = bench.registry("empty")
    server = bench.serve(data)
    bench.per_operation_ms(server, 0, 200)
    new, kept, floors, p99 = [], [], [], []
    for i in range(rounds):
        floors.append(floors_now())
        ms, result = bench.per_operation_ms(server, 200 + 2 * i * n, n, "--jobs", 16)
        new.append(ms)
        p99.append(result["latency_ms"]["p99"])
        kept.append(bench.per_operation_ms(server, 200 + (2 * i + 1) * n, n // 100, "--repeat", 100, "--jobs", 16, "--mode", "kept")[0])
    server.stop()
    floor = {k: statistics.median(f[k] for f in floors) for k in floors[0]}
    bench.row("EST enrolment, new TLS 1.3 connection", statistics.median(new), "ms CPU", floor["handshake_stock"] + floor["issue"], 0.83, 1.3)
    bench.row("  the same beside the leanest handshake", statistics.median(new), "ms CPU", floor["handshake_lean"] + floor["issue"])
    bench.row("EST enrolment, kept connection", statistics.median(kept), "ms CPU", floor["issue"], 0.20)
    bench.row("  latency p99 with 16 clients, new connections", statistics.median(p99), "ms")
    return data


def flatness(bench, empty):
    """The same enrolments on an empty registry and on a full one, in turns."""
    rounds, n = bench.rounds, bench.each
    full = bench.registry("full")
    bench.fill(full, bench.options.certificates)
    servers = [bench.serve(empty), bench.serve(full)]
    spent = [[], []]
    for i in range(rounds):
        for which in (0, 1):
            spent[which].append(bench.per_operation_ms(servers[which], 200 + 2 * i * n, n, "--jobs", 16)[0])
    for s in servers:
        s.stop()
    bench.row(f"EST enrolment with {bench.options.certificates:,} certificates", statistics.median(spent[1]), "ms CPU",
             statistics.median(spent[0]), limit=1.10)


def manifests(bench):
    n = 100000 if bench.options.quick else 1000000
    manifest = bench.manifest("import", n)
    data = bench.registry("import")
    server = bench.serve(data)
    before = server.cpu()
    usage = os.times()
    result = json.loads(run(BIN / "birthmark", "manifest", "import", manifest, "--batch", "b", "--json", "--data", data))
    mine = os.times()
    spent = server.cpu() - before + mine.children_user + mine.children_system - usage.children_user - usage.children_system
    if result["added"] != n:
        sys.exit(f"bench: imported {result}")
    time.sleep(4)
    after = server.memory_mb()
    server.stop()
    floor = float(run(BUILD / "bench/import_floor_bench", bench.folder / "floor.db", min(n, 200000)))
    bench.row(f"manifest import, {n:,} devices", n / spent, "devices/s.core", floor, 100000, more_is_better=True)
    bench.row("  memory of the whole server after that import", after, "MB")


def idle(bench, data):
    server = bench.serve(data)
    time.sleep(1)
    bench.row("idle memory of the whole server", server.memory_mb(), "MB", goal=30)
    server.stop()


def measure(bench):
    data = enrolments(bench)
    idle(bench, data)
    flatness(bench, data)

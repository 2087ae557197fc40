"""The same enrolments with the registry in SQLite and in PostgreSQL, in turns; the database's processes count as the server's."""
import statistics


def start(bench, name, database):
    was, bench.database = bench.database, database
    try:
        return bench.serve(bench.registry(name))
    finally:
        bench.database = was


def measure(bench):
    if bench.database:
        return  # all of the bench is about PostgreSQL then
    from postgres import Postgres
    try:
        database = Postgres()
    except (RuntimeError, AssertionError) as e:
        print(f"PostgreSQL: not measured: {e}")
        return
    rounds, n = bench.rounds, bench.each // 2
    try:
        servers = [start(bench, "lite", None), start(bench, "pg", database)]
        spent, p99 = [[], []], [[], []]
        for i in range(rounds + 1):
            for which, server in enumerate(servers):
                ms, result = bench.per_operation_ms(server, i * n, n, "--jobs", 16)
                if i != 0:  # the first is for warming up
                    spent[which].append(ms)
                    p99[which].append(result["latency_ms"]["p99"])
        for s in servers:
            s.stop()
    finally:
        database.end()
    lite, pg = (statistics.median(s) for s in spent)
    bench.row("EST enrolment, PostgreSQL beside SQLite", pg, "ms CPU", lite)
    bench.row("  latency p99, 16 clients", statistics.median(p99[1]), "ms", statistics.median(p99[0]))

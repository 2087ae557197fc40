"""What it costs to tell others who is revoked: CRLs with ten thousand entries, OCSP answers that are kept ready and such that are not."""
import base64
import http.client
import json
import pathlib
import re
import shutil
import statistics
import time
import urllib.parse

from harness import birthmark, run

ENTRIES, KNOWN = 10000, 1000
HERE = pathlib.Path(__file__).parent
NONCE = bytes.fromhex("301d06092b060105050730010204100410")  # SEQUENCE of its OID and an OCTET STRING in an OCTET STRING; 16 bytes follow


def tlv(tag, content):
    n = len(content)
    return bytes([tag, n] if n < 128 else [tag, 0x81, n]) + content


def ocsp_requests(bench, data, serials):
    """DER of one request for each serial number, without nonce and with room for one: OpenSSL's, with the serial number put in."""
    ca, der = bench.folder / "issuing.pem", bench.folder / "ocsp.der"
    birthmark(data, "ca", "export", "issuing", "--out", ca)
    first = "40" + 15 * "aa"
    run("openssl", "ocsp", "-issuer", ca, "-serial", "0x" + first, "-no_nonce", "-reqout", der)
    plain = der.read_bytes()
    cert_id = tlv(0x30, plain[plain.index(bytes.fromhex("300906052b0e03021a")):])
    requests = tlv(0x30, tlv(0x30, cert_id))
    assert plain == tlv(0x30, tlv(0x30, requests)), "openssl ocsp writes something else than was thought"
    nonce = tlv(0x30, tlv(0x30, requests + tlv(0xa2, tlv(0x30, tlv(0x30, bytes.fromhex("06092b0601050507300102") + tlv(4, tlv(4, bytes(16))))))))
    put = lambda der: [der.replace(bytes.fromhex(first), bytes.fromhex(s)) for s in serials]
    return put(plain), put(nonce)


def answers(server, seconds, *script):
    """(answers a second and core, wrk's own line)"""
    run("wrk", "-t", 1, "-c", 32, "-d", 1, "-s", HERE / "ocsp.lua", f"http://{server.http}/", "--", *script)  # so that what can be ready is
    before = server.cpu()
    out = run("wrk", "-t", 1, "-c", 32, "-d", seconds, "-s", HERE / "ocsp.lua", f"http://{server.http}/", "--", *script)
    spent = server.cpu() - before
    n, errors, p99 = (int(x) for x in re.search(r"answers=(\d+) errors=(\d+) p99_us=(\d+)", out).groups())
    assert errors == 0 and n > 0, out
    return n / spent


def ocsp(bench, data, server, serials):
    seconds, rounds = (1, 3) if bench.options.quick else (3, 5)
    plain, nonce = ocsp_requests(bench, data, serials)
    files = {name: bench.folder / f"ocsp.{name}" for name in ("post", "nonce", "get")}
    files["post"].write_bytes(b"".join(plain))
    files["nonce"].write_bytes(b"".join(nonce))
    files["get"].write_text("".join(urllib.parse.quote(base64.b64encode(d).decode(), safe="") + "\n" for d in plain))
    lengths = {"post": [len(plain[0])], "nonce": [len(nonce[0])], "get": []}
    seen = {name: [] for name in files}
    for _ in range(rounds):
        for name in files:
            seen[name].append(answers(server, seconds, name, files[name], *lengths[name]))
    for name, text, goal in (("get", "OCSP by GET, kept ready", 10000), ("post", "OCSP by POST, kept ready", 10000),
                             ("nonce", "OCSP with a nonce, signed for each", None)):
        bench.row(text, statistics.median(seen[name]), "answers/s.core", goal=goal, more_is_better=True)


def get(server, path):
    """(milliseconds until all of it was there, CPU milliseconds, body)"""
    c = http.client.HTTPConnection(server.http, timeout=60)
    c.connect()
    before, began = server.cpu(), time.perf_counter()
    c.request("GET", path)
    r = c.getresponse()
    body = r.read()
    took, spent = time.perf_counter() - began, server.cpu() - before
    c.close()
    assert r.status == 200, (path, r.status, body[:200])
    return took * 1000, spent * 1000, body


def crl(bench, data, server, serials):
    """Each revocation makes both lists anew, and the first who asks waits for it."""
    made, cpu, delta, kept = [], [], [], []
    get(server, "/crl/issuing.crl")
    for s in serials[-10:]:
        birthmark(data, "cert", "revoke", s, "--reason", "superseded")
        ms, spent, body = get(server, "/crl/issuing.crl")
        made.append(ms)
        cpu.append(spent)
        delta.append(get(server, "/crl/issuing-delta.crl"))
        kept.append(get(server, "/crl/issuing.crl")[0])
    bench.row(f"CRL of {ENTRIES:,} entries, made and fetched", statistics.median(made), "ms", goal=50)
    bench.row("  CPU of that, complete and delta", statistics.median(cpu), "ms CPU")
    bench.row("  fetched again, kept ready", statistics.median(kept), "ms")
    bench.row("  the delta, kept ready", statistics.median(d[0] for d in delta), "ms")
    bench.row("  sizes: complete", len(body) / 1024, "KiB")
    bench.row("  sizes: delta", len(delta[-1][2]) / 1024, "KiB")
    crl_served(bench, server)


def crl_served(bench, server):
    for path, name in (("/crl/issuing.crl", "complete"), ("/crl/issuing-delta.crl", "delta")):
        before = server.cpu()
        out = run("wrk", "-t", 1, "-c", 8, "-d", 2, f"http://{server.http}{path}")
        spent = server.cpu() - before
        assert "Non-2xx" not in out, out
        bench.row(f"CRL served, {name}", int(re.search(r"(\d+) requests in", out).group(1)) / spent, "answers/s.core")


def measure(bench):
    if shutil.which("wrk") is None:
        print("wrk is not installed: no rows for CRL and OCSP (scripts/install-deps bench)")
        return
    data = bench.registry("revocation")
    bench.fill(data, ENTRIES, "--revoked", ENTRIES)
    server = bench.serve(data)
    bench.fleet(server, 0, KNOWN, "--jobs", 16)
    serials = [c["serial"] for c in json.loads(birthmark(data, "cert", "list", "--state", "active", "--json", "--limit", 1000))["rows"]]
    try:
        ocsp(bench, data, server, serials)
        crl(bench, data, server, serials)
    finally:
        server.stop()

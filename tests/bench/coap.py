"""What one enrolment over CoAP (RFC 9148) costs, each device over a DTLS 1.2 handshake of its own; beside it what the cryptography alone costs, and
what libcoap's own example server spends on the handshake and one small request, with nothing behind it."""
import atexit
import base64
import json
import shutil
import statistics
import subprocess
import sys
import time

from harness import BIN, TOP, birthmark, cpu_s, end, free_port, run
import enrolment
import kit

SUITE = "TLS_ECDHE_ECDSA_WITH_AES_128_CCM_8"
CLIENTS = 16
CLIENT = TOP / "build/go/coapcall"
PEER = "coap-server-openssl"
CSR, CERT = 286, 287


class Devices:
    """Keys, self-signed certificates and requests, made before anything is measured."""

    def __init__(self, bench, n):
        self.folder = bench.folder / "coap"
        self.folder.mkdir()
        self.all = [kit.Device() for _ in range(n)]
        self.files = [d.files(self.folder) for d in self.all]
        lines = self.folder / "lines.jsonl"
        lines.write_text("".join(d.line() for d in self.all))
        self.manifest = self.folder / "manifest"
        run(BIN / "birthmark", "manifest", "make", lines, "--out", self.manifest, "--id", "coap", "--issuer", "maker",
            "--key", bench.signer / "signer-key.pem", "--cert", bench.signer / "signer-cert.pem")

    def requests(self, first, count, **what):
        return "".join(json.dumps({"cert": str(cert), "key": str(key), **what}) + "\n" for cert, key in self.files[first:first + count])

    def enrolments(self, first, count):
        """The new keys are the devices' own: what they cost the client is not measured."""
        return "".join(json.dumps({"cert": str(cert), "key": str(key), "method": "post", "path": ".well-known/est/sen", "format": CSR, "accept": CERT,
                                   "body": base64.b64encode(kit.make_csr(d.key)).decode()}) + "\n"
                       for d, (cert, key) in list(zip(self.all, self.files))[first:first + count])


def ask(port, roots, requests, want):
    """All requests, CLIENTS at a time, each on a connection of its own; every answer is checked."""
    done = subprocess.run([CLIENT, "-addr", f"127.0.0.1:{port}", "-ca", roots, "-ciphers", SUITE, "-parallel", str(CLIENTS)], input=requests,
                          capture_output=True, text=True)
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    wrong = [a for a in answers if a.get("code") != want]
    if done.returncode != 0 or wrong or len(answers) != requests.count("\n"):
        sys.exit(f"bench: {len(wrong)} of {len(answers)} over CoAP went wrong: {wrong[:2]} {done.stderr[-500:]}")


class Example:
    """libcoap's example server: mutual DTLS with the same library, certificates and suite, and a resource of a few bytes."""

    def __init__(self, folder, devices):
        name = kit.name_of("root")
        key = kit.KEYS["P-256"]()
        cert = kit.make_cert(key, name, key, name, extensions=[(kit.x509.SubjectAlternativeName(
            [kit.x509.IPAddress(kit.ipaddress("127.0.0.1"))]), False)])
        self.roots = folder / "example.pem"
        self.roots.write_bytes(cert.public_bytes(kit.PEM))
        (folder / "example.key").write_bytes(kit.key_pem(key))
        anchors = folder / "anchors.pem"
        anchors.write_bytes(b"".join(d.cert.public_bytes(kit.PEM) for d in devices.all))
        port = free_port()
        self.port = port + 1
        self.process = subprocess.Popen([PEER, "-A", "127.0.0.1", "-p", str(port), "-c", self.roots, "-j", folder / "example.key", "-R", anchors],
                                        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        atexit.register(end, self.process)
        time.sleep(0.5)

    def cpu(self):
        return cpu_s(self.process.pid)


def serve(bench, devices):
    data, port = bench.registry("coap-registry"), free_port()
    birthmark(data, "manifest", "import", devices.manifest, "--batch", "b")
    with (data / "birthmark.conf").open("a") as conf:
        conf.write(f"coap_listen = 127.0.0.1:{port}\n")
    return bench.serve(data), port, bench.folder / "coap-registry.pem"


def measure(bench):
    if not CLIENT.exists():
        run(TOP / "scripts/install-go-tools")
    rounds, n = bench.rounds, bench.each // 5
    devices = Devices(bench, (rounds + 1) * n)
    server, port, roots = serve(bench, devices)
    example = Example(bench.folder, devices) if shutil.which(PEER) else None
    ask(port, roots, devices.enrolments(rounds * n, n), "2.04")
    spent, beside, floors = [], [], []
    for i in range(rounds):
        floors.append(enrolment.floors_now())
        requests, before = devices.enrolments(i * n, n), server.cpu()
        ask(port, roots, requests, "2.04")
        spent.append((server.cpu() - before) / n * 1000)
        if example is not None:
            before = example.cpu()
            ask(example.port, example.roots, devices.requests(i * n, n, method="get", path="time"), "2.05")
            beside.append((example.cpu() - before) / n * 1000)
    server.stop()
    floor = {k: statistics.median(f[k] for f in floors) for k in floors[0]}
    bench.row("EST enrolment over CoAP, new DTLS 1.2 connection", statistics.median(spent), "ms CPU", floor["handshake_dtls"] + floor["issue"])
    if beside:
        bench.row("  libcoap's example server, handshake and one GET", statistics.median(beside), "ms CPU", floor["handshake_dtls"])

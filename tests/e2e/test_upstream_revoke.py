"""What is revoked here is revoked at the upstream CA: over CMP at a CA of the test, OpenSSL's CMP server and another Birthmark, over ACME at pebble, in
AWS Private CA (moto). What breaks here: relying parties that ask the upstream CA still trust a device that was revoked, a revocation is lost when either
side dies, somebody who may not speak for the CA ends it, or the operator is not told that it could not be done."""

import http.client
import json
import threading

import pytest
from cryptography import x509
from moto.acmpca.models import acmpca_backends
from pyasn1.codec.der.encoder import encode

from cloudkit import ACCESS, REGION, SECRET, Aws
from cmpkit import Client, rev_details, seq
from kit import KEYS, ChipMaker, Device, certs_of_pkcs7, est_enrol, free_port, key_pem, make_csr, until_answered, wait_for
from test_upstream_acme import ACCOUNT, EAB, Pebble, names  # noqa: F401 (a fixture)
from test_upstream_cmp_scep import CmpAuthority, OneConnection, Program

CERT_REVOKED = b"\x03\x03\x05\x00\x20"  # failInfo, bit 10


class Revoking(CmpAuthority):
    """Revokes as the mode says; `revoked`: serial number and reason."""

    def __init__(self, folder, common_name):
        super().__init__(folder, common_name)
        self.revoked, self.first, self.lock = [], threading.Event(), threading.RLock()

    def serve(self, path, body):
        with self.lock:  # one request, one mode
            answer = super().serve(path, body)
            if self.asked[-1][0] == "rr":
                self.first.set()
            return answer

    def be(self, mode):
        with self.lock:
            self.mode, self.first = mode, threading.Event()

    def answer(self, request):
        if request.type == "pollReq" and self.mode == "revoke-poll":
            self.mode = "ok"
            return "rp", seq(seq(self.status(0)))
        if request.type != "rr":
            return super().answer(request)
        (details,) = request.content
        template, (entry,) = details["certDetails"], details["crlEntryDetails"]
        assert bytes(encode(template["issuer"]))[2:] == self.name.public_bytes() and str(entry["extnID"]) == "2.5.29.21"
        assert [c for c in request.certs][0] == self.client_cert
        self.revoked.append((int(template["serialNumber"]), bytes(entry["extnValue"])[-1]))
        return {
            "revoke-wait": lambda: ("rp", seq(seq(self.status(3)))), "revoke-poll": lambda: ("error", seq(self.status(3))),
            "revoke-before": lambda: ("rp", seq(seq(self.status(2, "again?", CERT_REVOKED)))),
            "revoke-before-error": lambda: ("error", seq(self.status(2, "again?", CERT_REVOKED))),
            "revoke-no": lambda: ("rp", seq(seq(self.status(2, "not \x1b[31mthat one", b"\x03\x02\x03\x08")))),
            "revoke-two": lambda: ("rp", seq(seq(self.status(0), self.status(0)))), "revoke-cp": lambda: ("pkiconf", b"\x05\x00"),
        }.get(self.mode, lambda: ("rp", seq(seq(self.status(0)))))()


@pytest.fixture(scope="module")
def served(shared_servers):
    s = shared_servers()
    s.http_port, s.current = free_port(), None
    s.init()
    s.begin = lambda: s.start("--workers", 1, "--listen-http", f"127.0.0.1:{s.http_port}")
    s.begin()
    s.furnish(quota=200)
    s.devices = [Device() for _ in range(50)]
    s.register(*s.devices)
    return s


@pytest.fixture
def device(served):
    return served.devices.pop()


def use(server, name, *words):
    """Makes this upstream CA the one of the batch."""
    if name not in server.run("ca", "list").stdout:
        server.run("ca", "upstream", name, *words)
    if server.current != name:
        server.run("batch", "set", "reel-1", "--ca", name)
        server.current = name


def enrolled(server, device, folder, *names):
    key = KEYS["P-256"]()
    san = [x509.SubjectAlternativeName([x509.DNSName(n) for n in names])] if names else []
    csr = make_csr(key, None if names else device.udid, san)
    answer = until_answered(lambda: est_enrol(server, device, folder, csr=csr)[0], 25)
    assert answer.status == 200, answer
    device.ldevid, device.ldevid_key = certs_of_pkcs7(answer.body)[0], key
    return device.ldevid


def serial_of(cert):
    return f"{cert.serial_number:032x}"[-32:]


def standing(server, cert):
    row = server.ask("cert", "show", serial_of(cert))
    return row["upstream"], row["upstream_what"]


def ends(server, cert, state):
    wait_for(f"the revocation to be {state}", lambda: standing(server, cert)[0] not in ("waiting", "asked"))
    assert standing(server, cert)[0] == state, standing(server, cert)


# --- CMP ----------------------------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def cmp_authority(tmp_path_factory):
    it = Revoking(tmp_path_factory.mktemp("cmp"), "CMP CA")
    it.start()
    yield it
    it.stop()


@pytest.fixture
def over_cmp(served, cmp_authority):
    cmp_authority.mode = "ok"
    del cmp_authority.asked[:], cmp_authority.revoked[:]
    use(served, "cmp", "--driver", "cmp", "--url", f"http://127.0.0.1:{cmp_authority.port}/.well-known/cmp", "--client", cmp_authority.client,
        "--chain", cmp_authority.chain)
    return cmp_authority


@pytest.mark.parametrize("mode", ["ok", "revoke-wait", "revoke-poll", "revoke-before", "revoke-before-error"])
def test_cmp(served, over_cmp, device, tmp_path, mode):
    """One rr, by our certificate, with issuer, serial number and reason; its answer may come later, or say that it is so already."""
    cert = enrolled(served, device, tmp_path)
    over_cmp.mode = mode
    told = served.ask("cert", "revoke", serial_of(cert), "--reason", "keyCompromise")
    assert (told["state"], told["upstream"]) == ("revoked", "waiting")
    if mode == "revoke-wait":
        wait_for("a poll", lambda: "pollReq" in [kind for kind, _ in over_cmp.asked])
        over_cmp.mode = "revoke-poll"
    ends(served, cert, "done")
    assert over_cmp.revoked == [(cert.serial_number, 1)]
    assert served.run("cert", "revoke", serial_of(cert), want=None).returncode != 0  # once is enough


def test_cmp_nobody_else_ends_it(served, over_cmp, tmp_path):
    """Over plain HTTP, whatever is not protected by somebody who may speak for the CA is only waited out."""
    modes = ["device", "stranger", "bad-signature", "other-nonce", "unprotected", "oversized", "forbidden"]
    devices = [served.devices.pop() for _ in modes]
    certs = [enrolled(served, d, tmp_path) for d in devices]
    for mode, cert in zip(modes, certs):
        over_cmp.be(mode)
        served.run("cert", "revoke", serial_of(cert))
        assert over_cmp.first.wait(20), mode
    assert {standing(served, c)[0] for c in certs} <= {"waiting", "asked"}
    over_cmp.be("ok")
    for cert in certs:
        ends(served, cert, "done")


@pytest.mark.parametrize("mode,word", [("revoke-no", "not \\x1b[31mthat one (badCertId)"), ("revoke-two", "about 2 certificates"),
                                       ("revoke-cp", "does not go here")])
def test_cmp_refused_and_asked_again(served, over_cmp, device, tmp_path, mode, word):
    """A no that counts is told wherever the operator looks, and the operator can have it asked once more."""
    cert = enrolled(served, device, tmp_path)
    over_cmp.mode = mode
    served.run("device", "compromise", device.udid)
    ends(served, cert, "failed")
    assert word in standing(served, cert)[1]
    (shown,) = served.ask("device", "show", device.udid)["credentials"]
    assert shown["upstream"] == "failed" and word in shown["upstream_what"]
    assert "cert list --upstream failed" in served.run("status", want=None).stdout
    assert serial_of(cert) in served.run("cert", "list", "--upstream", "failed").stdout
    assert "failed" in served.run("why", serial_of(cert)).stdout
    over_cmp.mode = "ok"
    served.run("cert", "revoke", serial_of(cert))
    ends(served, cert, "done")
    assert {reason for number, reason in over_cmp.revoked if number == cert.serial_number} == {1}  # as it was first


def test_cmp_by_the_device_itself(served, over_cmp, device, tmp_path):
    """Its own rr at our door goes the same way up."""
    cert = enrolled(served, device, tmp_path)
    own = Client(served, served.http_port, device.ldevid_key, cert)
    answer = own.ask(own.message("rr", seq(rev_details(cert, [4]))))
    assert answer.type == "rp"
    ends(served, cert, "done")
    assert over_cmp.revoked == [(cert.serial_number, 4)]


def test_cmp_a_batch_while_the_ca_is_away_and_we_die(served, over_cmp, tmp_path):
    """Breaks when a revocation does not outlive an outage and a kill -9, or many of them are not all told."""
    devices = [served.devices.pop() for _ in range(3)]
    certs = [enrolled(served, d, tmp_path) for d in devices]
    over_cmp.stop()
    for d in devices:
        served.run("device", "retire", d.udid)
    wait_for("an attempt", lambda: all(standing(served, c)[0] == "asked" for c in certs))
    served.kill()
    over_cmp.start()
    served.begin()
    for c in certs:
        ends(served, c, "done")
    assert {s for s, _ in over_cmp.revoked} == {c.serial_number for c in certs}


def test_cmp_killed_between_answer_and_commit(served, over_cmp, device, tmp_path):
    """The CA has revoked it and we have died before that was written down: it says so when it is asked anew, and that is enough."""
    cert = enrolled(served, device, tmp_path)
    answer = over_cmp.answer

    def kill_us(request):
        over_cmp.answer, over_cmp.mode = answer, "revoke-before"
        served.kill()
        return answer(request)

    over_cmp.answer = kill_us
    try:
        served.run("cert", "revoke", serial_of(cert))
        wait_for("our death", lambda: over_cmp.mode == "revoke-before" and over_cmp.revoked)
    finally:
        over_cmp.__dict__.pop("answer", None)
    served.begin()
    ends(served, cert, "done")
    assert len(over_cmp.revoked) == 2


class Reconnecting(OneConnection):
    """OpenSSL's server closes its connection behind each transaction."""

    def serve(self, path, body):
        try:
            return super().serve(path, body)
        except (OSError, http.client.HTTPException):
            self.to.close()
            return super().serve(path, body)


def test_cmp_openssl(served, device, tmp_path):
    """OpenSSL's CMP server takes the rr for the certificate it was started with, and no other: breaks when two readings of the RFCs differ."""
    port = free_port()
    it, key = Reconnecting(tmp_path, "OpenSSL CA", port), KEYS["P-256"]()
    mine = it.issue(x509.load_der_x509_csr(make_csr(key, device.udid)))
    given = it.file("given.pem", mine)
    with Program(port, "openssl", "cmp", "-config", "", "-port", port, "-srv_cert", it.file("ra.pem", it.ra), "-srv_key",
                 it.file("ra.key", it.ra_key), "-srv_trusted", it.chain, "-rsp_cert", given, "-grant_implicitconf"):
        it.start()
        try:
            use(served, "openssl", "--driver", "cmp", "--url", f"http://127.0.0.1:{it.port}", "--client", it.client, "--chain", it.chain)
            csr = make_csr(key, device.udid)
            assert until_answered(lambda: est_enrol(served, device, tmp_path, csr=csr)[0], 25).status == 200
            served.run("cert", "revoke", serial_of(mine), "--reason", "superseded")
            ends(served, mine, "done")
        finally:
            it.stop()


def test_another_birthmark(new_server, served, tmp_path):
    """One of ours above: its CRL lists what is revoked here, also what it has revoked before. It is away meanwhile, and its RA's revocation is no
    word about the device's certificate."""
    above, port = new_server(), free_port()
    above.init()
    begin = lambda: above.start("--workers", 1, "--listen-http", f"127.0.0.1:{port}")
    begin()
    above.furnish()
    ra, maker = Device("RSA-2048"), ChipMaker()
    ra.cert = ra.birth = maker.birth(ra)
    above.run("org", "trust", "chips", maker.pem(tmp_path / "maker.pem"), "--purpose", "birth")
    above.register(ra)
    client, chain = tmp_path / "ra.pem", tmp_path / "chain.pem"
    client.write_bytes(b"".join(p.read_bytes() for p in ra.files(tmp_path)))
    order = sorted((r["name"] for r in above.ask("ca", "list")["rows"]), key=lambda n: n == "root")
    chain.write_text("".join(above.ask("ca", "show", n)["certificate"] for n in order))
    use(served, "above", "--driver", "cmp", "--url", f"http://127.0.0.1:{port}/.well-known/cmp", "--chain", chain, "--client", client, "--names",
        "upstream")
    certs = [enrolled(served, served.devices.pop(), tmp_path) for _ in range(2)]
    above.kill()
    served.run("cert", "revoke", serial_of(certs[0]), "--reason", "keyCompromise")
    wait_for("an attempt", lambda: standing(served, certs[0])[0] == "asked")
    begin()
    above.run("cert", "revoke", serial_of(certs[1]))
    served.run("cert", "revoke", serial_of(certs[1]))
    for cert in certs:
        ends(served, cert, "done")
    out = tmp_path / "above.crl"
    above.run("crl", "export", next(n for n in order if n != "root"), "--der", "--out", out)
    crl = x509.load_der_x509_crl(out.read_bytes())
    for cert, reason in zip(certs, (x509.ReasonFlags.key_compromise, None)):
        entry = crl.get_revoked_certificate_by_serial_number(cert.serial_number)
        assert entry is not None
        assert reason is None or entry.extensions.get_extension_for_class(x509.CRLReason).value.reason == reason


# --- ACME ---------------------------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pebble(served, names, go_tool, tmp_path_factory):
    program = go_tool("logverify").with_name("pebble")
    if not program.exists():
        pytest.skip("pebble is not built: it needs Go 1.24 (scripts/install-go-tools)")
    folder = tmp_path_factory.mktemp("pebble")
    p = Pebble(program, folder, served.http_port, names)
    p.start()
    login, chain, account = folder / "login", folder / "chain.pem", folder / "account.pem"
    login.write_text(":".join(EAB) + "\n")
    chain.write_bytes(p.get("/intermediates/0") + p.get("/roots/0"))
    account.write_bytes(key_pem(ACCOUNT))
    p.words_for_us = ("--driver", "acme", "--url", p.url, "--chain", chain, "--trust", p.trust, "--client", account, "--login", login,
                      "--names", "upstream", "--options", "challenge=http-01")
    yield p
    p.stop()


def test_pebble(served, pebble, device, tmp_path):
    """Breaks when a strict server of others does not take our revocation, or our death on the way there loses it."""
    use(served, "pebble", *pebble.words_for_us)
    cert = enrolled(served, device, tmp_path, "unit.gw.test")
    state = lambda: json.loads(pebble.get(f"/cert-status-by-serial/{cert.serial_number:x}"))
    assert state()["Status"] == "Valid"
    served.run("device", "compromise", device.udid)
    served.kill()
    served.begin()
    ends(served, cert, "done")
    assert state()["Status"] == "Revoked" and state()["Reason"] == 1, state()


# --- AWS ----------------------------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def aws(served, tmp_path_factory):
    folder = tmp_path_factory.mktemp("aws")
    it = Aws(folder)
    it.start()
    login = folder / "login"
    login.write_text(f"{ACCESS}:{SECRET}\n")
    it.words_for_us = {}
    for name, option, (arn, pem) in (("aws-pca", "ca", it.private_ca()), ("aws-kms", "key", it.kms_ca())):
        chain = folder / f"{name}.pem"
        chain.write_text(pem)
        it.words_for_us[name] = ("--driver", name, "--url", it.url, "--chain", chain, "--trust", it.trust, "--login", login, "--options",
                                 f"{option}={arn}")
        it.arn = arn if option == "ca" else it.arn
    yield it
    assert it.wrong == [], "a request that AWS would not have taken"
    it.stop()


def revoked_in_aws(aws):
    return {s: r["revocation_reason"] for cas in acmpca_backends.values() for s, r in
            cas[REGION].certificate_authorities.get(aws.arn, type("", (), {"revoked_certificates": {}})).revoked_certificates.items()}


@pytest.mark.parametrize("mode", ["ok", "RevokeCertificate:busy"])
def test_private_ca(served, aws, device, tmp_path, mode):
    """Breaks when AWS is told another serial number or reason, or does not hear of it because it was busy."""
    use(served, "aws-pca", *aws.words_for_us["aws-pca"])
    cert = enrolled(served, device, tmp_path)
    aws.mode = mode
    served.run("cert", "revoke", serial_of(cert), "--reason", "cessationOfOperation")
    ends(served, cert, "done")
    assert aws.mode == "ok"
    number = f"{cert.serial_number:x}"
    number = "0" * (len(number) % 2) + number
    assert revoked_in_aws(aws)[":".join(number[i:i + 2] for i in range(0, len(number), 2))] == "CESSATION_OF_OPERATION"


def test_private_ca_refuses(served, aws, device, tmp_path):
    """Breaks when what AWS says reaches a terminal as it came, or the second word of the operator is not passed on."""
    use(served, "aws-pca", *aws.words_for_us["aws-pca"])
    cert = enrolled(served, device, tmp_path)
    aws.mode = "RevokeCertificate:denied"
    served.run("cert", "revoke", serial_of(cert))
    ends(served, cert, "failed")
    assert "AccessDeniedException: you are \\x1b[31mnot authorized" in standing(served, cert)[1]
    served.run("cert", "revoke", serial_of(cert))
    ends(served, cert, "done")


def test_a_key_in_kms(served, aws, device, tmp_path):
    """There is nobody to tell, so the operator is told, at once."""
    use(served, "aws-kms", *aws.words_for_us["aws-kms"])
    cert = enrolled(served, device, tmp_path)
    told = served.ask("cert", "revoke", serial_of(cert))
    assert told["upstream"] == "unable" and "AWS KMS" in told["upstream_what"]
    assert standing(served, cert) == ("unable", told["upstream_what"])
    assert "unable" in served.run("why", serial_of(cert)).stdout

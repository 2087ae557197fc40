"""A CA's revocation list in parts (RFC 5280 section 5.2.5): each part lists its own certificates, and openssl goes by the distribution point."""

import subprocess

import pytest
from cryptography import x509

import kit
from kit import PEM, Device, call, certs_of_pkcs7, est_enrol

PARTS = 3


@pytest.fixture(scope="module")
def server(shared_servers):
    s = shared_servers()
    s.init()
    s.furnish(quota=1000)
    s.http_port = kit.free_port()
    s.lists = f"http://127.0.0.1:{s.http_port}/crl"
    s.start("--listen-http", f"127.0.0.1:{s.http_port}")
    return s


@pytest.fixture(scope="module")
def enrol(server):
    count = iter(range(1000))

    def one():
        d = Device()
        server.register(d, name=f"p-{next(count)}")
        answer, _ = est_enrol(server, d, server.folder)
        assert answer.status == 200, answer
        return certs_of_pkcs7(answer.body)[0]

    return one


@pytest.fixture(scope="module")
def certs(server, enrol):
    """[from before there were parts, one of each part ...]"""
    made = [enrol()]
    server.run("ca", "set", "issuing", "--crl-partitions", PARTS, "--crl-url", server.lists)
    found = {}
    while len(found) < PARTS:
        cert = enrol()
        found.setdefault(point_of(cert), cert)
    return made + [found[f"{server.lists}/issuing.p{i}.crl"] for i in range(1, PARTS + 1)]


def point_of(cert):
    (point,) = cert.extensions.get_extension_for_class(x509.CRLDistributionPoints).value
    (name,) = point.full_name
    return name.value


def fetch(server, name):
    """Over TLS here; over plain HTTP by curl below."""
    answer = call(server, "GET", f"/crl/{name}.crl", context=kit.tls_context(server.anchors()))
    assert answer.status == 200, answer
    return x509.load_der_x509_crl(answer.body)


def serials(crl):
    return {r.serial_number for r in crl}


def number(crl):
    return crl.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number


def test_certificates_name_their_part_and_old_ones_none(server, certs):
    assert not any(isinstance(e.value, x509.CRLDistributionPoints) for e in certs[0].extensions)
    for i, cert in enumerate(certs[1:], 1):
        assert point_of(cert) == f"{server.lists}/issuing.p{i}.crl"


def test_each_part_says_which_it_is(server, certs):
    """The same address in certificate and list, critical, and in the delta as well; no other part's."""
    for i in range(1, PARTS + 1):
        for suffix in ("", "-delta"):
            crl = fetch(server, f"issuing.p{i}{suffix}")
            point = crl.extensions.get_extension_for_class(x509.IssuingDistributionPoint)
            assert point.critical and [n.value for n in point.value.full_name] == [point_of(certs[i])]
            assert not (point.value.only_contains_user_certs or point.value.only_contains_ca_certs or point.value.indirect_crl)
    whole = fetch(server, "issuing")
    assert not any(isinstance(e.value, x509.IssuingDistributionPoint) for e in whole.extensions)


def test_a_revocation_is_on_its_part_and_on_the_whole(server, enrol, certs):
    bad, old = enrol(), certs[0]
    part = point_of(bad).removeprefix(server.lists + "/").removesuffix(".crl")
    before = {n: fetch(server, n) for n in ("issuing", *(f"issuing.p{i}" for i in range(1, PARTS + 1)))}
    server.run("cert", "revoke", f"{bad.serial_number:032x}", "--reason", "superseded")
    server.run("cert", "revoke", f"{old.serial_number:032x}")
    after = {n: fetch(server, n) for n in before}
    for name, crl in after.items():
        assert (bad.serial_number in serials(crl)) == (name in ("issuing", part))
        assert (old.serial_number in serials(crl)) == (name == "issuing")
        assert number(crl) > number(before[name])
    assert serials(fetch(server, part + "-delta")) == {bad.serial_number}
    shown = server.ask("crl", "show", part)
    assert (shown["entries"], shown["part"], shown["number"]) == (1, int(part[-1]), number(after[part]))


def verify(server, cert, lists, want, *more):
    folder = server.folder
    (folder / "leaf.pem").write_bytes(cert.public_bytes(PEM))
    for ca in ("root", "issuing"):
        if not (folder / f"{ca}.pem").exists():
            server.run("ca", "export", ca, "--out", folder / f"{ca}.pem", "--quiet")
    words = []
    for name in lists:
        path = folder / f"{name}.crl.pem"
        subprocess.run(["curl", "-sSf", "-o", folder / "got.crl", f"{server.lists}/{name}.crl"], check=True, timeout=60)
        subprocess.run(["openssl", "crl", "-inform", "DER", "-in", folder / "got.crl", "-out", path], check=True, timeout=60)
        words += ["-CRLfile", path]
    done = subprocess.run(["openssl", "verify", "-CAfile", folder / "root.pem", "-untrusted", folder / "issuing.pem", "-crl_check", "-extended_crl",
                           *more, *words, folder / "leaf.pem"], capture_output=True, text=True, timeout=60)
    assert (done.returncode == 0) == (want is None), done.stdout + done.stderr
    assert want is None or want in done.stdout + done.stderr, done.stdout + done.stderr


def test_openssl_goes_by_the_part(server, enrol, certs):
    """The right part lets a good certificate pass and not a revoked one; another part is no answer at all; the whole list is one for all."""
    verify(server, certs[1], ["issuing.p1"], None)
    verify(server, certs[1], ["issuing.p2"], "different CRL scope")
    verify(server, certs[1], ["issuing"], None)
    bad = enrol()
    name = point_of(bad).removeprefix(server.lists + "/").removesuffix(".crl")
    server.run("cert", "revoke", f"{bad.serial_number:032x}")
    verify(server, bad, [name], "certificate revoked")
    verify(server, bad, ["issuing"], "certificate revoked")
    verify(server, certs[2], ["issuing.p2", "issuing.p2-delta"], None, "-use_deltas")


def test_fewer_parts_leave_the_old_ones_where_they_are(server, enrol, certs):
    """And what certificates have been told stays so: the address, and the names that parts need."""
    server.run("ca", "set", "issuing", "--crl-partitions", 1)
    assert server.ask("ca", "show", "issuing")["crl_partitions"] == 1
    assert {point_of(enrol()) for _ in range(3)} == {f"{server.lists}/issuing.p1.crl"}
    assert fetch(server, f"issuing.p{PARTS}").is_signature_valid(
        x509.load_pem_x509_certificate((server.folder / "issuing.pem").read_bytes()).public_key())
    server.run("ca", "set", "issuing", "--crl-partitions", 0)
    assert not any(isinstance(e.value, x509.CRLDistributionPoints) for e in enrol().extensions)
    server.run("ca", "set", "issuing", "--crl-url", "http://other.example/crl", want=4)
    server.run("ca", "set", "issuing", "--crl-partitions", 257, want=2)
    server.run("ca", "set", "root", "--crl-partitions", 2, want=2)  # no address
    server.run("ca", "set", "root", "--crl-url", "ftp://x", want=2)
    server.run("ca", "set", "nobody", "--crl-partitions", 2, want=3)
    server.run("ca", "create", "issuing.p9", "--parent", "root", want=2)
    for name in (f"issuing.p{PARTS + 1}", "issuing.p0", "issuing.p01", "root.p1", "issuing.p"):
        assert call(server, "GET", f"/crl/{name}.crl", context=kit.tls_context(server.anchors())).status == 404, name

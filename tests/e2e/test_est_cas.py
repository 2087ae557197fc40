"""Several CAs behind one EST server, by label; and a root's new key (RFC 7030 section 4.1.3, RFC 9810 section 4.4), with OpenSSL as the judge: who
trusts only the old root, or only the new one, verifies what either of them stands above."""

import ssl
import subprocess

import pytest
from cryptography import x509

import kit
from kit import EST, PEM, Device, assert_refused, call, certs_of_pkcs7, est_enrol, tls_context


@pytest.fixture(scope="module")
def server(shared_servers):
    s = shared_servers()
    s.init()
    s.furnish(services=("telemetry", "updates"))
    s.start()
    s.run("ca", "create", "fleet", "--parent", "root")
    s.run("service", "set", "updates", "--ca", "fleet")
    return s


@pytest.fixture(scope="module")
def register(server):
    count = iter(range(1000))

    def one():
        d = Device()
        server.register(d, name=f"m-{next(count)}")
        return d

    return one


def ca(server, name):
    return x509.load_pem_x509_certificate(server.ask("ca", "show", name)["certificate"].encode())


def cacerts(server, label=""):
    return certs_of_pkcs7(call(server, "GET", EST + label + "cacerts").body)


def verifies(folder, anchor, others, leaf):
    paths = []
    for name, certs in (("anchor", [anchor]), ("others", others), ("leaf", [leaf])):
        paths.append(folder / f"{name}.pem")
        paths[-1].write_bytes(b"".join(c.public_bytes(PEM) for c in certs))
    # -partial_chain is off: it has to end in the one anchor
    return subprocess.run(["openssl", "verify", "-x509_strict", "-CAfile", paths[0], "-untrusted", paths[1], paths[2]],
                          capture_output=True).returncode == 0


def enrolled(server, device, folder, label=None):
    answer, _ = est_enrol(server, device, folder, label=label)
    assert answer.status == 200, answer
    (cert,) = certs_of_pkcs7(answer.body)
    return cert


def test_a_label_has_a_ca_of_its_own(server, register, tmp_path):
    d = register()
    root, issuing, fleet = ca(server, "root"), ca(server, "issuing"), ca(server, "fleet")
    for _ in range(4):  # each of the workers
        kit.wait_for("the view", lambda: issuing not in cacerts(server, "updates/"))
    assert set(cacerts(server, "updates/")) == {root, fleet}
    assert set(cacerts(server, "telemetry/")) == set(cacerts(server)) == {root, issuing, fleet}
    for label, by in ((None, issuing), ("telemetry", issuing), ("updates", fleet)):
        cert = enrolled(server, d, tmp_path, label)
        assert cert.issuer == by.subject
        cert.verify_directly_issued_by(by)
        assert server.ask("cert", "show", f"{cert.serial_number:032x}")["ca"] == by_name(server, by)
        assert verifies(tmp_path, root, cacerts(server, f"{label}/" if label else ""), cert)


def by_name(server, cert):
    return next(n for n in ("root", "issuing", "fleet") if ca(server, n) == cert)


def test_back_to_the_products_ca(server, register, tmp_path):
    server.run("service", "set", "updates", "--ca", "")
    try:
        assert enrolled(server, register(), tmp_path, "updates").issuer == ca(server, "issuing").subject
    finally:
        server.run("service", "set", "updates", "--ca", "fleet")
    assert "no such certification authority" in server.run("service", "set", "updates", "--ca", "nowhere", want=3).stderr


def test_a_root_gets_a_new_key(server, register, tmp_path):
    old, issuing = ca(server, "root"), ca(server, "issuing")
    before = enrolled(server, register(), tmp_path)
    told = server.ask("ca", "rollover", "root", "root-2", "--alg", "EC:P-384")
    new, new_with_old, old_with_new = (x509.load_pem_x509_certificate(told[n].encode())
                                       for n in ("certificate", "new_with_old", "old_with_new"))
    # RFC 9810 section 4.4: one name, two keys, and each key under both
    assert new.subject == old.subject == new_with_old.subject == old_with_new.subject
    assert new_with_old.public_key().public_numbers() == new.public_key().public_numbers() != old.public_key().public_numbers()
    assert old_with_new.public_key().public_numbers() == old.public_key().public_numbers()
    new_with_old.verify_directly_issued_by(old)
    old_with_new.verify_directly_issued_by(new)
    assert max(new_with_old.not_valid_after_utc, old_with_new.not_valid_after_utc) <= old.not_valid_after_utc
    # a device that follows cacerts has all four, under any label
    everything = {old, new, new_with_old, old_with_new}
    kit.wait_for("the view", lambda: everything <= set(cacerts(server)))
    kit.wait_for("the view of the other workers", lambda: everything <= set(cacerts(server, "updates/")))
    # who knows one root alone gets from it to what the other one signed
    assert verifies(tmp_path, old, [issuing], before)
    assert verifies(tmp_path, new, [issuing, old_with_new], before)
    assert not verifies(tmp_path, new, [issuing], before)
    # the CAs under the old root go on
    after = enrolled(server, register(), tmp_path)
    assert after.issuer == issuing.subject and verifies(tmp_path, new, [issuing, old_with_new], after)
    # and new ones stand under the new
    server.run("ca", "create", "issuing-2", "--parent", "root-2")
    server.run("service", "set", "updates", "--ca", "issuing-2")
    late = enrolled(server, register(), tmp_path, "updates")
    issuing_2 = ca(server, "issuing-2")
    assert late.issuer == issuing_2.subject
    assert verifies(tmp_path, new, [issuing_2], late) and verifies(tmp_path, old, [issuing_2, new_with_old], late)
    assert not verifies(tmp_path, old, [issuing_2], late)
    server.run("service", "set", "updates", "--ca", "fleet")


def test_the_server_moves_under_the_new_root(server, tmp_path):
    """Its own certificate then hangs on the new root; a device that has only the old one still gets in, because NewWithOld comes along."""
    for name in ("root", "root-2"):
        (tmp_path / f"{name}.pem").write_bytes(ca(server, name).public_bytes(PEM))
    kit.wait_for("the links", lambda: reachable(server, tmp_path / "root-2.pem"))  # OldWithNew comes along, too
    server.run("ca", "default", "issuing-2")
    try:
        for anchor in ("root", "root-2"):
            context = tls_context(tmp_path / f"{anchor}.pem")
            with kit.connect(server, context) as s:
                assert s.getpeercert()["subject"]
        kit.wait_for("the new certificate", lambda: issuer_of_server(server, tmp_path) == ca(server, "issuing-2").subject)
        for anchor in ("root", "root-2"):
            assert call(server, "GET", EST + "cacerts", context=tls_context(tmp_path / f"{anchor}.pem")).status == 200
    finally:
        server.run("ca", "default", "issuing")


def reachable(server, anchor):
    try:
        return call(server, "GET", EST + "cacerts", context=tls_context(anchor)).status == 200
    except ssl.SSLCertVerificationError:
        return False


def issuer_of_server(server, folder):
    with kit.connect(server, tls_context(folder / "root.pem")) as s:
        return x509.load_der_x509_certificate(s.getpeercert(True)).issuer


def test_only_a_root_and_only_once(server):
    assert "successor" in server.run("ca", "rollover", "root", "root-9", want=4).stderr
    assert "no root" in server.run("ca", "rollover", "issuing", "root-9", want=2).stderr
    server.run("ca", "rollover", "root-2", "root-3")
    kit.wait_for("the view", lambda: len(cacerts(server)) == 10)  # three roots, four links, three issuing CAs


def test_a_revoked_ca_stops_its_service_alone(server, register, tmp_path):
    server.run("ca", "create", "short", "--parent", "root")
    server.run("service", "set", "updates", "--ca", "short")
    d = register()
    assert enrolled(server, d, tmp_path, "updates").issuer == ca(server, "short").subject
    server.run("ca", "revoke", "short", "--reason", "superseded")
    assert_refused(server, est_enrol(server, d, tmp_path, label="updates")[0], 403, "ca-revoked")
    assert enrolled(server, d, tmp_path, "telemetry").issuer == ca(server, "issuing").subject
    assert "revoked" in server.run("service", "set", "telemetry", "--ca", "short", want=1).stderr
    # a compromised one is stood in for, so that its devices can come back
    server.run("ca", "create", "leaked", "--parent", "root")
    server.run("service", "set", "updates", "--ca", "leaked")
    server.run("ca", "compromise", "leaked")
    assert enrolled(server, d, tmp_path, "updates").issuer == ca(server, "issuing").subject

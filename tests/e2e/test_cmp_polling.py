"""Answers over CMP that take time (RFC 9483 section 4.4), with the registry in SQLite and in PostgreSQL: somebody has to approve, meanwhile the server is
killed, and the device gets its certificate in the transaction that it began."""

import os
import subprocess

import pytest

import kit
from cmpkit import IMPLICIT_CONFIRM, NULL, Client, Mac, cert_req, ctx, generalized, integer, octets, seq
from kit import Device
from postgres import Postgres


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def server(shared_servers, request):
    s = shared_servers()
    store = ()
    if request.param == "postgres":
        database = Postgres()
        request.addfinalizer(database.end)
        store = ("--store", database.database())
        s.dsn = store[1]
    s.init(*store)
    s.furnish(policy=("--approval", "always", "--self-registration", "yes"))
    s.http = kit.free_port()
    s.start("--listen-http", f"127.0.0.1:{s.http}")
    return s


@pytest.fixture
def client(server):
    d = Device()
    server.register(d, name=f"m-{d.udid[:12]}")
    c = Client(server, server.http, d.key, d.cert)
    c.device = d
    return c


def waiting(server, **by):
    (row,) = server.ask("approval", "list", "--state", "waiting", *(f"--{k}={v}" for k, v in by.items()))["rows"]
    return row["id"]


def decide(server, client, how="approve"):
    server.run("approval", how, waiting(server, udid=client.device.udid))


@pytest.mark.parametrize("pvno, body, implicit", [(2, "ir", False), (3, "cr", True)])
def test_waits_over_a_crash(server, client, pvno, body, implicit):
    """ir, pollReq, kill -9, pollReq, and then the certificate, which is confirmed as any other. All have the same transactionID and fresh nonces; recipNonce
    is that of the message before, but at the end in version 3, where it is that of the request (RFC 9483 section 3.1)."""
    client.pvno = pvno
    first = os.urandom(16)
    asked, key = client.request(body, nonce=ctx(5, octets(first)), info=ctx(8, seq(IMPLICIT_CONFIRM)) if implicit else None)
    assert asked.waits is True and asked.type == {"ir": "ip", "cr": "cp"}[body] and asked.recip_nonce == first
    assert "approval-pending" in str(asked.content["response"][0]["status"]["statusString"][0])
    polled = client.poll(asked)
    assert polled.type == "pollRep" and polled.waits == 60 and polled.tid == asked.tid and polled.nonce != asked.nonce
    server.kill()
    server.start("--listen-http", f"127.0.0.1:{server.http}")
    polled = client.poll(polled)
    assert polled.type == "pollRep"
    decide(server, client)
    last = os.urandom(16)
    got = client.poll(polled, nonce=ctx(5, octets(last)))
    assert got.type == asked.type and got.cert.public_key() == key.public_key() and got.tid == asked.tid
    assert got.recip_nonce == (first if pvno == 3 else last) and len({asked.nonce, polled.nonce, got.nonce}) == 3
    assert client.confirm(got).type == "pkiconf" if not implicit else got.infos == {"1.3.6.1.5.5.7.4.13"}
    assert client.poll(got).fail == {"badRequest"}  # it waits no longer
    assert client.request(tid=asked.tid)[0].fail == {"transactionIdInUse"}


def test_openssl_waits(server, client, tmp_path):
    """OpenSSL's client asks by itself until it has its certificate."""
    client.device.cert = client.device.self_signed(client.device.udid)
    cert, key = client.device.files(tmp_path)
    words = ["openssl", "cmp", "-config", "", "-cmd", "ir", "-server", f"127.0.0.1:{server.http}", "-path", ".well-known/cmp", "-cert", cert,
             "-key", key, "-newkey", key, "-subject", "/CN=x", "-trusted", server.anchors(), "-certout", tmp_path / "c.pem",
             "-total_timeout", "8"]
    running = subprocess.Popen(list(map(str, words)), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        kit.wait_for("a request that waits",
                     lambda: running.poll() is not None or server.ask("approval", "list", "--udid", client.device.udid)["rows"])
        assert running.poll() is None, running.communicate()[0]
        decide(server, client)
        said, _ = running.communicate(timeout=30)
    finally:
        running.kill()
    assert running.returncode == 0, said
    assert client.device.udid in kit.x509.load_pem_x509_certificate((tmp_path / "c.pem").read_bytes()).subject.rfc4514_string()


def test_pkcs10_and_key_update_wait_too(server, client):
    """p10cr has certReqId -1 here too."""
    csr = kit.make_csr(kit.KEYS["P-256"](), "x")
    asked = client.ask(client.message("p10cr", csr))
    assert asked.type == "cp" and asked.waits and int(asked.content["response"][0]["certReqId"]) == -1
    decide(server, client)
    got = client.poll(asked, req_id=-1)
    assert client.confirm(got, content=seq()).type == "pkiconf"  # turned down, as nobody knows the key any more
    asked, key = client.request()
    decide(server, client)
    own = client.sender_of(client.poll(asked).cert, key)
    asked, _ = own.request("kur")
    assert asked.type == "kup" and asked.waits
    assert client.poll(asked).fail == {"wrongAuthority"}  # of the certificate that it began with
    decide(server, client)
    assert own.poll(asked).type == "kup"


def test_denied(server, client):
    """The refusal ends the transaction; nothing of it is kept."""
    asked, _ = client.request()
    decide(server, client, "deny")
    refused = client.poll(asked)
    assert refused.fail == {"notAuthorized"} and "approval-denied" in refused.text
    assert client.poll(refused).fail == {"badRequest"}


def test_rights_are_looked_at_when_it_is_answered(server, client):
    """Not as they were when it was asked: whoever is compromised by now gets nothing, although somebody has said yes."""
    asked, _ = client.request()
    decide(server, client)
    server.run("device", "compromise", client.device.udid)
    refused = client.poll(asked)
    assert refused.fail == {"notAuthorized"} and "device-compromised" in refused.text


def test_with_a_code(server, client):
    """A code is used when the certificate is made, not before; polls come under it too. Afterwards what is kept of it is due to go."""
    code = server.ask("code", "create", "--batch", "reel-1", "--for", "cmp")["codes"][0]
    c = client.with_code(code, Mac("pbmac1"))
    asked, _ = c.request()
    assert asked.waits
    assert client.poll(asked).fail == {"wrongIntegrity"}
    assert server.ask("code", "list")["rows"][-1]["used"] == 0
    server.run("approval", "approve", waiting(server))
    got = c.poll(asked)
    assert c.confirm(got).type == "pkiconf"
    assert c.poll(asked).fail == {"badRequest"}
    server.run("code", "revoke", code["number"])  # from now on not even the text is known
    assert c.poll(asked).fail == {"badMessageCheck"}


def test_the_ninth_takes_the_place_of_the_first(server, client):
    """A device that never comes back costs a few rows at most."""
    asked = [client.request()[0] for _ in range(9)]
    assert all(a.waits for a in asked)
    assert client.poll(asked[0]).fail == {"badRequest"}
    assert client.poll(asked[1]).type == client.poll(asked[8]).type == "pollRep"


POLL = [
    ("another certReqId", {"req_id": 1}, "badRequest"),
    ("certReqId -1", {"req_id": -1}, "badRequest"),
    ("two of them", {"content": seq(seq(integer(0)), seq(integer(1)))}, "badRequest"),
    ("none", {"content": seq()}, "badDataFormat"),
    ("not a number", {"content": seq(seq(NULL))}, "badDataFormat"),
    ("something after it", {"content": seq(seq(integer(0), NULL))}, "badDataFormat"),
    ("recipNonce is not ours", {"recip": ctx(6, octets(bytes(16)))}, "badRecipientNonce"),
    ("no recipNonce", {"recip": None}, "badRecipientNonce"),
    ("no senderNonce", {"nonce": None}, "badSenderNonce"),
    ("another transactionID", {"tid_field": ctx(4, octets(bytes(16)))}, "badRequest"),
    ("messageTime long ago", {"time": ctx(0, generalized(1000000000))}, "badTime"),
    ("implicitConfirm", {"info": ctx(8, seq(IMPLICIT_CONFIRM))}, "badRequest"),
    ("no protection", {"protection": b""}, "badMessageCheck"),
    ("another key", {"key": kit.KEYS["P-256"]()}, "badMessageCheck"),
]


def test_polls_that_are_refused(server, client):
    """Each row violates one rule; none of them ends the transaction."""
    asked, _ = client.request()
    for what, wrong, fail in POLL:
        assert client.poll(asked, **wrong).fail == {fail}, what
    assert client.confirm(asked, content=seq()).fail == {"badRequest"}  # there is nothing to confirm yet
    other = Device()
    server.register(other, name=f"m-{other.udid[:12]}")
    stranger = Client(server, server.http, other.key, other.cert)
    assert stranger.poll(asked).fail == {"wrongAuthority"}
    polled = client.poll(asked)
    assert polled.type == "pollRep"
    assert client.poll(asked).fail == {"badRecipientNonce"}  # the same poll played again
    assert client.ask(client.message("ir", seq(cert_req(kit.KEYS["P-256"]())), tid=asked.tid)).fail == {"transactionIdInUse"}

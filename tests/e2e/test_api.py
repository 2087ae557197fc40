"""The Admin API over HTTPS: programs with tokens, beside the administrator's own command."""

import http.client
import json

import pytest

import kit
from kit import Device, est_enrol

V = "/api/v1"


def token(server, name, role="administrator", *more):
    return server.ask("token", "create", name, "--role", role, *more)["token"]


def api(server, secret, method, path, body=None, query="", headers=None, port=None):
    """One call; the body is sent as JSON unless it is bytes."""
    headers = {**({"Authorization": f"Bearer {secret}"} if secret else {}), **(headers or {})}
    if body is not None and not isinstance(body, bytes):
        body, headers = json.dumps(body).encode(), {"Content-Type": "application/json", **headers}
    c = http.client.HTTPSConnection("127.0.0.1", port or server.port, context=kit.tls_context(server.anchors()), timeout=60)
    try:
        c.request(method, V + path + (f"?{query}" if query else ""), body, headers)
        r = c.getresponse()
        answer = kit.Answer(r.status, r.headers, r.read())
    finally:
        c.close()
    answer.json = json.loads(answer.body) if "json" in r.headers.get("Content-Type", "") else None
    return answer


def announce(server, path, length, secret):
    """The answer to the header fields alone of a request that has a body."""
    with kit.connect(server) as s:
        bearer = f"Authorization: Bearer {secret}\r\n" if secret else ""
        s.sendall(f"POST {V}{path} HTTP/1.1\r\nHost: x\r\n{bearer}Content-Type: application/octet-stream\r\n"
                  f"Content-Length: {length}\r\n\r\n".encode())
        return s.recv(4096)


@pytest.fixture(scope="module")
def served(shared_servers):
    """A server with a device, and the token of an administrator."""
    s = next(iter([shared_servers()]))
    s.init()
    s.furnish()
    s.device = Device()
    s.register(s.device)
    s.boss = token(s, "boss")
    s.start()
    return s


def leaves(server):
    rows = server.ask("log", "entries")["entries"]
    return [json.loads(row["data"]) for row in rows]


# --- the life of a registry, without the command ------------------------------------------------------------------------------------------


def test_a_registry_is_furnished_over_the_api(served):
    """Breaks when a program cannot do what the administrator can, or when the record does not name its token."""
    assert api(served, served.boss, "POST", "/organisations", {"name": "maker", "role": "oem"}).status == 201
    assert api(served, served.boss, "POST", "/products", {"name": "lamp", "org": "maker", "policy": {"services": ["telemetry"]}}).status == 201
    made = api(served, served.boss, "POST", "/batches", {"name": "b-1", "product": "lamp", "quota": 5})
    assert made.status == 201 and made.json == {"name": "b-1"}
    assert api(served, served.boss, "PATCH", "/batches/b-1", {"quota": 7}).status == 200
    assert api(served, served.boss, "GET", "/batches/b-1").json["quota"] == 7
    again = api(served, served.boss, "POST", "/batches", {"name": "b-1", "product": "lamp", "quota": 5})
    assert again.status == 409 and again.json["code"] == "conflict" and again.json["correlation"] == again.correlation
    assert again.headers["Content-Type"] == "application/problem+json"
    assert again.headers["Cache-Control"] == "no-store"
    done = [leaf for leaf in leaves(served) if leaf["actor"] == "token:boss"]
    assert [leaf["event"] for leaf in done] == ["org.created", "product.created", "batch.created", "batch.changed"]


def test_a_list_is_walked_to_its_end(served):
    for i in range(7):
        api(served, served.boss, "POST", "/organisations", {"name": f"row-{i}", "role": "auditor"})
    names, after = [], 0
    while after is not None:
        page = api(served, served.boss, "GET", "/organisations", query=f"limit=3&after={after}").json
        assert len(page["rows"]) <= 3
        names += [row["name"] for row in page["rows"]]
        after = page["next"]
    assert len(names) == len(set(names)) and {f"row-{i}" for i in range(7)} <= set(names)


def test_a_manifest_is_imported_block_by_block(served):
    """Breaks when a body of a block's size does not get through, or when other calls take such bodies."""
    fleet = [Device() for _ in range(40)]
    text = served.manifest([d.line() for d in fleet], name="m-api").read_bytes()
    octets = {"Content-Type": "application/octet-stream"}
    first = text.splitlines()[0]
    begun = api(served, served.boss, "POST", "/manifests", first, "format=birthmark&batch=reel-1", octets)
    assert begun.status == 200, begun
    done = api(served, served.boss, "POST", f"/manifests/{begun.json['manifest']}/blocks", text, headers=octets)
    assert done.status == 200 and done.json["added"] == 40 and done.json["last"], done
    largest = api(served, served.boss, "POST", "/manifests/1/blocks", b"x" * (4 << 20), headers=octets)
    assert largest.status in (400, 403), largest  # the reader's refusal, not the server's
    for path, length in (("/manifests/1/blocks", (4 << 20) + 1), ("/manifests", 4 << 20)):
        assert announce(served, path, length, served.boss).startswith(b"HTTP/1.1 413 "), path
    assert api(served, served.boss, "GET", "/devices", query="batch=reel-1&limit=1000").json["rows"][-1]["udid"] in {d.udid for d in fleet}


def test_a_device_lives_by_the_api(served, tmp_path):
    udid = served.device.udid
    answer, _ = est_enrol(served, served.device, tmp_path)
    assert answer.status == 200
    shown = api(served, served.boss, "GET", f"/devices/{udid}").json
    assert shown["state"] == "active" and len(shown["credentials"]) == 1
    assert api(served, served.boss, "POST", f"/devices/{udid}/suspend", {"reason": "unspecified"}).json["state"] == "suspended"
    refused, _ = est_enrol(served, served.device, tmp_path)
    assert refused.code == "device-suspended"
    assert api(served, served.boss, "POST", f"/devices/{udid}/resume").json["state"] == "active"
    story = api(served, served.boss, "GET", f"/why/{refused.correlation}").json["story"]
    assert any("device-suspended" in event["text"] for event in story)
    assert api(served, served.boss, "GET", "/log/head").json["size"] > 0


# --- tokens -------------------------------------------------------------------------------------------------------------------------------


def test_without_a_token_there_is_no_api(server):
    """Breaks when a registry that has no use for the API shows it. It comes with the first token, and goes with the last."""
    assert api(server, None, "GET", "/status").status == 404
    assert api(server, "bmt_" + "A" * 43, "GET", "/status").code == "no-such-path"
    boss = token(server, "boss")
    kit.wait_for("the API", lambda: api(server, boss, "GET", "/status").status == 200)
    server.run("token", "revoke", "boss")
    kit.wait_for("its end", lambda: api(server, boss, "GET", "/status").code == "no-such-path")


def test_a_revoked_token_is_refused_on_its_open_connection(served):
    secret = token(served, "short")
    c = http.client.HTTPSConnection("127.0.0.1", served.port, context=kit.tls_context(served.anchors()), timeout=60)
    for want in (200, 401):
        c.request("GET", V + "/status", headers={"Authorization": f"Bearer {secret}"})
        r = c.getresponse()
        body = json.loads(r.read())
        assert r.status == want, body
        served.run("token", "revoke", "short", want=None)
    assert body["code"] == "token-revoked" and "invalid_token" in r.headers["WWW-Authenticate"]
    c.close()


def test_an_expired_token_is_refused(served):
    secret = token(served, "brief", "auditor", "--expires", "2s")
    assert api(served, secret, "GET", "/status").status == 200
    kit.wait_for("its end", lambda: api(served, secret, "GET", "/status").code == "token-expired")
    assert api(served, served.boss, "GET", "/tokens/brief").json["revoked_at"] is None


def test_every_door_wants_a_token(served):
    """Each call of the description, without a token and with one that nobody has."""
    paths = api(served, None, "GET", "/openapi.json").json["paths"]
    for path, item in paths.items():
        for method in item:
            got = api(served, None, method.upper(), path.removeprefix(V).replace("{", "").replace("}", ""))
            assert (got.status, got.code) == (401, "token-missing"), (method, path, got)
            assert got.headers["WWW-Authenticate"] == 'Bearer realm="Birthmark"'
    wrong = api(served, "bmt_" + "A" * 43, "GET", "/status")
    assert (wrong.status, wrong.code) == (401, "token-invalid")
    assert "no such token" in served.run("why", wrong.correlation).stdout


def test_a_stranger_sends_no_large_body(served):
    """Breaks when a body is read from somebody who shows nothing like a token."""
    assert announce(served, "/manifests/1/blocks", 4 << 20, None).startswith(b"HTTP/1.1 401 ")


# --- roles and scopes -----------------------------------------------------------------------------------------------------------------------


def test_a_contract_manufacturer_has_its_own_batch(served):
    """Breaks when a factory's token shows or takes what is another's."""
    served.run("org", "create", "fab", "--role", "contract-manufacturer")
    served.run("batch", "create", "fab-1", "--product", "sensor", "--quota", 10, "--maker", "fab")
    mine = Device()
    served.register(mine, name="m-fab", batch="fab-1")
    secret = token(served, "line-3", "contract-manufacturer", "--org", "fab")
    assert [row["udid"] for row in api(served, secret, "GET", "/devices").json["rows"]] == [mine.udid]
    assert [row["name"] for row in api(served, secret, "GET", "/batches").json["rows"]] == ["fab-1"]
    assert api(served, secret, "GET", f"/devices/{mine.udid}").status == 200
    foreign, absent = (api(served, secret, "GET", f"/devices/{udid}") for udid in (served.device.udid, "00" * 32))
    assert foreign.status == absent.status == 404
    assert {**foreign.json, "correlation": ""} == {**absent.json, "correlation": ""}
    for method, path, body in (("POST", f"/devices/{mine.udid}/retire", {}), ("GET", "/log/entries", None), ("GET", "/refusals", None),
                               ("POST", "/tokens", {"name": "x", "role": "administrator"}), ("PATCH", "/batches/fab-1", {"quota": 99})):
        assert api(served, secret, method, path, body).code == "not-permitted", path


def test_an_auditor_changes_nothing(served):
    secret = token(served, "looker", "auditor")
    assert api(served, secret, "GET", "/log/entries", query="from=0&to=5").status == 200
    before = served.ask("status")["log_size"]
    assert api(served, secret, "POST", "/organisations", {"name": "x", "role": "oem"}).code == "not-permitted"
    assert served.ask("status")["log_size"] == before


# --- its own address ------------------------------------------------------------------------------------------------------------------------


def test_the_api_has_its_own_door(new_server):
    s = new_server()
    s.init()
    port = kit.free_port()
    (s.data / "birthmark.conf").write_text(f"listen_api = 127.0.0.1:{port}\n")
    boss = token(s, "boss")
    s.start()
    assert f"https://127.0.0.1:{port}" in s.ready_line
    assert api(s, boss, "GET", "/status", port=port).status == 200
    assert api(s, boss, "GET", "/status").code == "no-such-path"
    c = http.client.HTTPSConnection("127.0.0.1", port, context=kit.tls_context(s.anchors()), timeout=60)
    c.request("GET", "/.well-known/est/cacerts")
    assert c.getresponse().status == 404
    c.close()


# --- secrets ----------------------------------------------------------------------------------------------------------------------------------


def test_no_token_is_written_down(new_server):
    """Uses, refuses, shows and revokes tokens at log level debug, and looks for them in all that was written."""
    s = new_server()
    s.init()
    (s.data / "birthmark.conf").write_text("log_level = debug\n")
    boss = token(s, "boss")
    s.start()
    wrong = "bmt_" + "planted-wrong-token-".ljust(43, "Q")
    assert api(s, wrong, "GET", "/status").code == "token-invalid"
    other = api(s, boss, "POST", "/tokens", {"name": "other", "role": "auditor"}).json["token"]
    assert api(s, other, "POST", "/organisations", {"name": "x", "role": "oem"}).code == "not-permitted"
    assert api(s, boss, "GET", "/tokens").status == 200
    s.run("token", "revoke", "other")
    assert api(s, other, "GET", "/status").code == "token-revoked"
    s.stop()
    files = [s.log, *(p for p in s.data.rglob("*") if p.is_file())]
    wrote = {p: p.read_bytes() for p in files}
    assert b"actor=token:boss" in wrote[s.log]  # the log was on
    assert any(b"token.created" in text for text in wrote.values())  # the search does find what is there
    found = [p.name for p, text in wrote.items() for secret in (boss, other, wrong) if secret[4:].encode() in text]
    assert found == []

"""Certificates before judges that are not ours: openssl's strict verification, zlint and pkilint, over every built-in profile and every
algorithm a CA may have; and our own linter beside them, which has to say the same."""

import contextlib
import importlib
import io
import json
import ssl
import subprocess

import pytest
from cryptography import x509

import kit
from kit import DER, PEM, Device

CA_ALGS = ["EC:P-256", "EC:P-384", "ED25519", "RSA:3072"]

# What a linter may say, and why it is right all the same. Anything else fails the test.
ALLOWED = {
    "pkix.subject_key_identifier_rfc7093_method_1_identified": "no finding: it names the method by which the identifier was made",
}

PUBLIC_WEB = "CABF_BR,CABF_EV,CABF_SMIME_BR,ETSI_ESI,Apple,Mozilla"  # rules of who sells certificates to web sites


def export(server, folder, name, *words):
    path = folder / f"{name}.pem"
    server.run(*words, "--out", path, "--quiet")
    return path


def through_a_service(server, folder, profile, alg):
    """A certificate of a profile that no CA and no server has, as a device gets it."""
    server.run("service", "create", f"as-{profile}", "--kind", "generic", "--profile", profile)
    server.run("product", "set", "sensor", "--services", f"telemetry,as-{profile}")
    d, key = Device(), kit.KEYS[alg]()
    server.register(d, name=f"m-{profile}-{alg.lower()}")
    answer, _ = kit.est_enrol(server, d, folder, key=key, label=f"as-{profile}")
    assert answer.status == 200, answer
    (cert,) = kit.certs_of_pkcs7(answer.body)
    path = folder / f"{profile}.pem"
    path.write_bytes(cert.public_bytes(PEM))
    return path


def all_profiles(server, folder, device_alg):
    """name -> (certificate, the CAs above it)."""
    certs = {"root-ca": (export(server, folder, "root", "ca", "export", "root"), []),
             "issuing-ca": (export(server, folder, "issuing", "ca", "export", "issuing"), ["root"])}
    server.run("ca", "create", "middle", "--parent", "root", "--profile", "intermediate-ca", "--org", "Makers")
    certs["intermediate-ca"] = export(server, folder, "middle", "ca", "export", "middle"), ["root"]
    server.run("ca", "create", "lot", "--parent", "middle", "--profile", "batch-ca", "--org", "Makers")
    certs["batch-ca"] = export(server, folder, "lot", "ca", "export", "lot"), ["root", "middle"]
    server.run("ca", "create", "devices", "--parent", "root", "--profile", "device-root-ca", "--org", "Makers")
    certs["device-root-ca"] = export(server, folder, "devices", "ca", "export", "devices"), ["root"]
    for profile in ("ldevid", "idevid", "manifest-signer", "ocsp-signing", "cmp-signing"):
        certs[profile] = through_a_service(server, folder, profile, device_alg), ["root", "issuing"]
    own = folder / "tls-server.pem"
    own.write_text(ssl.get_server_certificate(("127.0.0.1", server.port)))
    certs["tls-server"] = own, ["root", "issuing"]
    certs["manifest-signer, self-signed"] = server.folder / "signer" / "signer-cert.pem", None
    return certs


@pytest.fixture(scope="module")
def certs(shared_servers, tmp_path_factory):
    made = {}

    def of(ca_alg):
        if ca_alg not in made:
            s = shared_servers()
            s.init("--ca-alg", ca_alg)
            s.furnish()
            s.start()
            device_alg = {"EC:P-256": "P-256", "EC:P-384": "P-384", "ED25519": "Ed25519", "RSA:3072": "RSA-2048"}[ca_alg]
            made[ca_alg] = all_profiles(s, tmp_path_factory.mktemp("certs"), device_alg)
            s.stop()
        return made[ca_alg]

    return of


EVERY_CA = pytest.mark.parametrize("ca_alg", CA_ALGS)


def test_every_profile_is_here(server):
    names = {p["name"] for p in server.ask("profile", "list")["rows"]}
    assert names == {"root-ca", "issuing-ca", "intermediate-ca", "batch-ca", "device-root-ca", "ldevid", "idevid", "manifest-signer",
                     "tls-server", "ocsp-signing", "cmp-signing", "scep-ra", "masa-ca", "masa-signing", "registrar", "trust-signing"}


@EVERY_CA
def test_openssl_strict(certs, ca_alg):
    purposes = {"ldevid": "sslclient", "tls-server": "sslserver", "idevid": "any"}
    for name, (path, above) in certs(ca_alg).items():
        if above is None:  # pinned itself, so it is its own anchor
            words = ["-partial_chain", "-trusted", path]
        elif not above:
            words = ["-CAfile", path]
        else:
            words = ["-CAfile", path.parent / "root.pem"]
            for ca in above[1:]:
                words += ["-untrusted", path.parent / f"{ca}.pem"]
        done = subprocess.run(["openssl", "verify", "-x509_strict", "-check_ss_sig", "-purpose", purposes.get(name, "any"), *words, path],
                              capture_output=True, text=True)
        assert done.returncode == 0, f"{name}: {done.stdout}{done.stderr}"


@EVERY_CA
def test_zlint(certs, go_tool, ca_alg):
    told = []
    for name, (path, _) in certs(ca_alg).items():
        done = subprocess.run([go_tool("zlint"), "-excludeSources", PUBLIC_WEB, path], capture_output=True, text=True, check=True)
        results = json.loads(done.stdout)
        assert sum(r["result"] == "pass" for r in results.values()) > 20, f"{name}: hardly a lint applied"
        told += [f"{name}: {r['result']} {lint} {r.get('details', '')}" for lint, r in results.items()
                 if r["result"] in ("info", "warn", "error", "fatal")]
    assert not told, "\n".join(told)


def pkilint(program, *words):
    """The findings of one of pkilint's programs, run in this process: starting it takes ten times as long as linting."""
    lint = importlib.import_module(f"pkilint.bin.{program}")
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        lint.main(["lint", "-f", "JSON", "-s", "INFO", *map(str, words)])
    for result in json.loads(out.getvalue())["results"]:
        for f in result["finding_descriptions"]:
            if f["code"] not in ALLOWED and not is_our_urn(f):
                yield f"{f['severity']} {f['code']} at {result['node_path']}: {f.get('message', '')}"


def is_our_urn(finding):
    """pkilint takes URIs with an authority only; RFC 5280 section 4.2.1.6 asks for RFC 3986's syntax, and that has URNs."""
    return finding["code"] == "pkix.invalid_uri_syntax" and '"urn:birthmark:udid:' in finding.get("message", "")


@EVERY_CA
def test_pkilint(certs, ca_alg):
    told = [f"{name}: {f}" for name, (path, _) in certs(ca_alg).items() for f in pkilint("lint_pkix_cert", path)]
    assert not told, "\n".join(told)


@EVERY_CA
def test_pkilint_signer_and_signee(certs, ca_alg):
    """Names, key identifiers and signatures of each link of each chain."""
    told = [f"{name}: {f}" for name, (path, above) in certs(ca_alg).items() if above
            for f in pkilint("lint_pkix_signer_signee_cert_chain", path.parent / f"{above[-1]}.pem", path)]
    assert not told, "\n".join(told)


def test_the_linters_see_what_is_wrong(go_tool, tmp_path):
    """A CA whose basic constraints are not critical and that has no key identifier: both must object, or the tests above mean nothing."""
    key, name, path = kit.KEYS["P-256"](), kit.name_of("bad"), tmp_path / "bad.pem"
    bad = kit.make_cert(key, name, key, name, extensions=[(x509.BasicConstraints(True, None), False)])
    path.write_bytes(bad.public_bytes(PEM))
    done = subprocess.run([go_tool("zlint"), "-excludeSources", PUBLIC_WEB, path], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["e_basic_constraints_not_critical"]["result"] == "error"
    assert any("ERROR" in f for f in pkilint("lint_pkix_cert", path))


# --- our own linter ------------------------------------------------------------------------------------------------------------------


def own_lint(cli, path, want=0):
    done = cli("cert", "lint", path, "--json", want=want)
    return [(f["level"], f["rule"]) for f in json.loads(done.stdout)["findings"]]


@EVERY_CA
def test_own_lint(certs, cli, ca_alg):
    """Breaks when our linter refuses what the others let pass, or a built-in profile is worse than what users have to bring."""
    for name, (path, _) in certs(ca_alg).items():
        assert own_lint(cli, path) == [], name


# A broken certificate of the corpus (tests/corpus/lint), the rule that finds it, and zlint's lint for the same sentence of the standard.
SAME = [
    ("v1", "version", "e_cert_extensions_version_not_3"),
    ("negative-serial", "serial-positive", "e_serial_number_not_positive"),
    ("unique-ids", "unique-ids", "e_cert_contains_unique_identifier"),
    ("time", "time-kind", "e_wrong_time_format_pre2050"),
    ("names", "name-printable", "e_subject_dn_serial_number_not_printable_string"),
    ("points", "crl-nowhere", "e_distribution_point_incomplete"),
    ("points", "policy-twice", "e_ext_cert_policy_duplicate"),
    ("no-end", "aki", "e_ext_authority_key_identifier_no_key_identifier"),
    ("no-end", "ski", "w_ext_subject_key_identifier_missing_sub_cert"),
]


@pytest.mark.parametrize("name", sorted({row[0] for row in SAME}))
def test_own_lint_finds_what_zlint_finds(cli, go_tool, tmp_path, name):
    """Breaks when a rule of ours no longer sees what a linter of others sees; all that zlint calls an error is one of the rows."""
    der = kit.TOP / "tests/corpus/lint" / name
    path = tmp_path / "cert.pem"
    path.write_text(ssl.DER_cert_to_PEM_cert(der.read_bytes()))
    done = subprocess.run([go_tool("zlint"), "-excludeSources", PUBLIC_WEB, path], capture_output=True, text=True, check=True)
    theirs = {lint for lint, r in json.loads(done.stdout).items() if r["result"] in ("warn", "error", "fatal")}
    ours = {rule for _, rule in own_lint(cli, der, want=1)}
    rows = [row[1:] for row in SAME if row[0] == name]
    assert {rule for rule, _ in rows} <= ours and {lint for _, lint in rows} <= theirs
    assert {lint for lint in theirs if lint.startswith("e_")} <= {lint for _, lint in rows}


def test_profiles_that_make_bad_certificates_are_not_saved(server, tmp_path):
    """Refused with the rule and its section; what is only recommended is saved, and said."""
    path = tmp_path / "p.json"
    path.write_text('{"validity":"1d","key_usage":["digitalSignature"],"subject":"CN={udid}","san":["dns:{udid}"]}')
    assert "is no DNS name (profile-lint)" in server.run("profile", "set", "bad", path, want=2).stderr
    path.write_text('{"validity":"1d","key_usage":["contentCommitment"],"subject":"CN={udid}","eku":["codeSigning"]}')
    assert "RFC 5280 section 4.2.1.12" in server.run("profile", "set", "bad", path, want=2).stderr
    server.run("profile", "show", "bad", want=3)
    path.write_text('{"validity":"1d","key_usage":["digitalSignature"],"subject":"CN={udid}","crl":["https://a/c.crl"]}')
    assert "rule crl-scheme" in server.ask("profile", "set", "tolerable", path)["warnings"][0]


@EVERY_CA
def test_what_linters_cannot_know(certs, ca_alg):
    """DER that reads back the same, serial numbers with enough chance, identifiers that chain."""
    serials = set()
    for name, (path, above) in certs(ca_alg).items():
        cert = x509.load_pem_x509_certificate(path.read_bytes())
        assert x509.load_der_x509_certificate(cert.public_bytes(DER)) == cert
        assert cert.version == x509.Version.v3
        serials.add(cert.serial_number)
        assert cert.serial_number.bit_length() > 64, name
        if above:
            issuer = x509.load_pem_x509_certificate((path.parent / f"{above[-1]}.pem").read_bytes())
            cert.verify_directly_issued_by(issuer)
            own = cert.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier
            assert own == issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest
    assert len(serials) == len(certs(ca_alg))

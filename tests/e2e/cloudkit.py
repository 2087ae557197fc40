"""Clouds on this machine, over TLS: AWS Private CA and KMS as moto has them, every request's signature computed once more by botocore and its members
held against AWS's own model of the call; and a vault that signs as Azure Key Vault does. What is not here and was not tried: the true clouds."""

import base64
import hashlib
import io
import json
import logging
import threading
import types
from datetime import datetime, timezone
from ipaddress import ip_address
from urllib.parse import parse_qs

import asn1crypto.x509
import boto3
import botocore.auth
import botocore.awsrequest
import botocore.credentials
import botocore.session
import botocore.validate
import moto.kms.utils
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, utils
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server
from werkzeug.wrappers import Request, Response

from kit import DER, KEYS, PEM, b64u, key_pem, make_cert, name_of, unb64u

logging.getLogger("werkzeug").setLevel(logging.ERROR)
REGION, ACCESS, SECRET = "eu-west-1", "AKIDEXAMPLEEXAMPLE00", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"


class Served:
    """A WSGI program over TLS that does as `mode` says: "ok", or a name in `answers`, for `times` requests at most."""

    def __init__(self, folder, name):
        self.key = KEYS["P-256"]()
        self.cert = make_cert(self.key, name_of(f"{name} TLS"), self.key, name_of(f"{name} TLS"), ca=True)
        tls = KEYS["P-256"]()
        names = x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1")), x509.DNSName("localhost")])
        server = make_cert(tls, name_of(name), self.key, self.cert.subject, extensions=[(names, False)])
        self.tls, self.tls_key, self.trust = folder / f"{name}-tls.pem", folder / f"{name}-tls.key", folder / f"{name}-trust.pem"
        self.tls.write_bytes(server.public_bytes(PEM))
        self.tls_key.write_bytes(key_pem(tls))
        self.trust.write_bytes(self.cert.public_bytes(PEM))
        self.mode, self.asked, self.server, self.port, self.gate = "ok", [], None, 0, threading.Event()
        self.gate.set()

    def start(self):
        self.server = make_server("127.0.0.1", self.port, self, threaded=True, ssl_context=(str(self.tls), str(self.tls_key)))
        self.port = self.server.server_port
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def stop(self):
        self.server.shutdown()
        self.server.server_close()

    @property
    def url(self):
        return f"https://127.0.0.1:{self.port}"


def prehashed(hash_name):
    return utils.Prehashed({"256": hashes.SHA256(), "384": hashes.SHA384()}[hash_name[-3:]])


def mend_moto():
    """moto passes over MessageType DIGEST and hashes the digest again; KMS signs it as it is."""
    moto.kms.utils.ECDSAPrivateKey.sign = lambda self, message, algorithm: self.private_key.sign(message, ec.ECDSA(prehashed(algorithm)))
    moto.kms.utils.RSAPrivateKey.sign = lambda self, message, algorithm: self.private_key.sign(message, padding.PKCS1v15(), prehashed(algorithm))


class Aws(Served):
    def __init__(self, folder):
        super().__init__(folder, "aws")
        mend_moto()
        self.moto = DomainDispatcherApplication(create_backend_app)
        self.models = botocore.session.Session()
        self.wrong, self.tokens = [], {}

    def client(self, service):
        return boto3.client(service, region_name=REGION, endpoint_url=self.url, verify=str(self.trust), aws_access_key_id=ACCESS,
                            aws_secret_access_key=SECRET)

    # --- what arrives is held against what botocore would have sent ---
    def check_signature(self, request):
        scope, signed, signature = (part.split("=", 1)[1] for part in request.headers["Authorization"].split(" ", 1)[1].split(", "))
        access, day, region, service, end = scope.split("/")
        names = signed.split(";")
        again = botocore.awsrequest.AWSRequest(request.method, request.url, data=request.get_data(),
                                               headers={n: request.headers[n] for n in names})
        again.context["timestamp"] = request.headers["X-Amz-Date"]
        auth = botocore.auth.SigV4Auth(botocore.credentials.Credentials(ACCESS, SECRET), service, region)
        want = auth.signature(auth.string_to_sign(again, auth.canonical_request(again)), again)
        assert (access, region, end, want) == (ACCESS, REGION, "aws4_request", signature), "botocore signs this request otherwise"
        assert {"host", "x-amz-date", "x-amz-target"} <= set(names) and day == request.headers["X-Amz-Date"][:8]
        age = datetime.now(timezone.utc) - datetime.strptime(request.headers["X-Amz-Date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=timezone.utc)
        assert abs(age.total_seconds()) < 300
        return service

    def check_members(self, service, call, body):
        shape = self.models.get_service_model(service).operation_model(call).input_shape
        args = {k: base64.b64decode(v, validate=True) if k in ("Csr", "Message") else v for k, v in body.items()}
        found = botocore.validate.ParamValidator().validate(args, shape)
        assert not found.has_errors(), found.generate_report()
        if call == "IssueCertificate":
            x509.load_pem_x509_csr(args["Csr"])

    def check(self, request, call):
        try:
            self.check_members(self.check_signature(request), call, request.get_json(force=True))
        except Exception as e:
            self.wrong.append(f"{call}: {e!r}")

    def __call__(self, environ, start_response):
        request = Request(environ)
        body = request.get_data()
        call = request.headers.get("X-Amz-Target", "").rsplit(".", 1)[-1]
        if request.headers.get("User-Agent") != "birthmark":
            environ["wsgi.input"] = io.BytesIO(body)
            return self.moto(environ, start_response)
        self.check(request, call)
        members = json.loads(body)
        self.asked.append((call, members))
        self.gate.wait(20)
        answer = self.answer(environ, call, members, body)
        return answer(environ, start_response)

    def error(self, name, message, status=400, headers=None):
        return Response(json.dumps({"__type": name, "message": message}), status, headers, content_type="application/x-amz-json-1.1")

    def answer(self, environ, call, members, body):
        """As `mode` says; a mode of the form "call:name" is of one call only, and over after one answer."""
        of, _, name = self.mode.rpartition(":")
        if name == "ok" or (of and of != call):
            return self.forward(environ, call, members, body)
        if of:
            self.mode = "ok"
        return {
            "progress": lambda: self.error("RequestInProgressException", "the certificate is being made"),
            "throttled": lambda: self.error("com.amazonaws.acmpca#ThrottlingException", "Rate exceeded"),
            "busy": lambda: Response("busy", 503, {"Retry-After": "1"}),
            "denied": lambda: self.error("AccessDeniedException", "you are \x1b[31mnot authorized"),
            "garbage": lambda: Response(b"\x00\xff{", 200),
            "empty": lambda: Response("{}", 200),
            "oversized": lambda: Response("A" * 200000, 200),
            "foreign-arn": lambda: Response(json.dumps({"CertificateArn": "arn:aws:acm-pca:eu-west-1:1:certificate-authority/x/certificate/y"})),
            "bad-pem": lambda: Response(json.dumps({"Certificate": "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"})),
            "other-key": lambda: Response(json.dumps({"Certificate": self.cert.public_bytes(PEM).decode()})),
            "wrong-signature": lambda: Response(json.dumps({"Signature": base64.b64encode(
                KEYS["P-256"]().sign(b"something", ec.ECDSA(hashes.SHA256()))).decode()})),
            "no-signature": lambda: Response(json.dumps({"Signature": "%%%"})),
        }[name]()

    def forward(self, environ, call, members, body):
        """A repeated token gives the first answer again, as AWS has it; moto does not know tokens."""
        token = members.get("IdempotencyToken")
        if token in self.tokens:
            return Response(self.tokens[token])
        environ["wsgi.input"] = io.BytesIO(body)
        answer = Response.from_app(self.moto, environ)
        if token:
            self.tokens[token] = answer.get_data()
        return answer

    # --- a CA in it ---
    def private_ca(self):
        """A root in Private CA: its ARN and certificate."""
        pca = self.client("acm-pca")
        arn = pca.create_certificate_authority(
            CertificateAuthorityConfiguration={"KeyAlgorithm": "RSA_2048", "SigningAlgorithm": "SHA256WITHRSA", "Subject": {"CommonName": "AWS CA"}},
            CertificateAuthorityType="ROOT")["CertificateAuthorityArn"]
        csr = pca.get_certificate_authority_csr(CertificateAuthorityArn=arn)["Csr"]
        made = pca.issue_certificate(CertificateAuthorityArn=arn, Csr=csr.encode(), SigningAlgorithm="SHA256WITHRSA",
                                     TemplateArn="arn:aws:acm-pca:::template/RootCACertificate/V1", Validity={"Type": "DAYS", "Value": 100})
        pem = pca.get_certificate(CertificateAuthorityArn=arn, CertificateArn=made["CertificateArn"])["Certificate"]
        pca.import_certificate_authority_certificate(CertificateAuthorityArn=arn, Certificate=pem.encode())
        return arn, pem

    def kms_ca(self, spec="ECC_NIST_P256"):
        """A key in KMS with a root certificate over it that it has signed itself: its ARN and certificate."""
        kms = self.client("kms")
        key = kms.create_key(KeySpec=spec, KeyUsage="SIGN_VERIFY")["KeyMetadata"]
        public = serialization.load_der_public_key(kms.get_public_key(KeyId=key["KeyId"])["PublicKey"])
        algorithm = key["SigningAlgorithms"][0] if spec.startswith("ECC") else "RSASSA_PKCS1_V1_5_SHA_256"
        sign = lambda digest: kms.sign(KeyId=key["KeyId"], Message=digest, MessageType="DIGEST", SigningAlgorithm=algorithm)["Signature"]
        return key["Arn"], self_signed_by(public, sign, "KMS CA").public_bytes(PEM).decode()


def self_signed_by(public, sign, name):
    """A root whose key only signs digests: written by a key of the same kind, and then its signature put in place of that one's."""
    stand_in = ec.generate_private_key(public.curve) if isinstance(public, ec.EllipticCurvePublicKey) else KEYS["RSA-2048"]()
    made = make_cert(types.SimpleNamespace(public_key=lambda: public), name_of(name), stand_in, name_of(name), ca=True)
    cert = asn1crypto.x509.Certificate.load(made.public_bytes(DER))
    cert["signature_value"] = sign(hashlib.new("sha384" if public.key_size == 384 else "sha256", made.tbs_certificate_bytes).digest())
    return x509.load_der_x509_certificate(cert.dump())


class Vault(Served):
    """Azure Key Vault's sign and the token endpoint beside it. `requests` are what came, from us and from Microsoft's own client."""

    TENANT, CLIENT, SECRET, NAME, VERSION = "tenant-1", "client-1", "s3cret~with&odd=chars", "ca-key", "0123456789abcdef"

    def __init__(self, folder, alg="P-256"):
        super().__init__(folder, "vault")
        self.ca_key = KEYS[alg]()
        self.root = make_cert(self.ca_key, name_of("Vault CA"), self.ca_key, name_of("Vault CA"), ca=True)
        self.requests, self.bearers, self.scopes = [], set(), []

    def __call__(self, environ, start_response):
        request = Request(environ)
        body = request.get_data()
        ours = request.headers.get("User-Agent") == "birthmark"
        if ours:
            self.asked.append(request.path)
            self.gate.wait(20)
        if request.path.endswith("/token"):
            answer = self.token(request, body, ours)
        elif request.path.endswith("/sign"):
            answer = self.sign(request, body, ours)
        else:
            answer = self.others(request)
        return answer(environ, start_response)

    def others(self, request):
        """What Microsoft's client looks at before it signs."""
        if request.path.endswith("/openid-configuration"):
            base = f"{self.url}/{self.TENANT}"
            return self.json({"token_endpoint": f"{base}/oauth2/v2.0/token", "authorization_endpoint": f"{base}/oauth2/v2.0/authorize",
                              "issuer": f"{base}/v2.0"})
        return self.json({"error": {"code": "Forbidden", "message": "only sign"}}, 403)

    def json(self, body, status=200, **headers):
        return Response(json.dumps(body), status, {k.replace("_", "-"): v for k, v in headers.items()}, content_type="application/json")

    def token(self, request, body, ours):
        form = {k: v[0] for k, v in parse_qs(body.decode(), strict_parsing=True).items()}
        if ours and self.mode == "token-busy":
            self.mode = "ok"
            return self.json({"error": "temporarily_unavailable"}, 503, Retry_After="1")
        if (form.get("grant_type"), form.get("client_id"), form.get("client_secret")) != ("client_credentials", self.CLIENT, self.SECRET):
            return self.json({"error": "invalid_client", "error_description": "AADSTS7000215: Invalid client secret"}, 401)
        self.scopes.append(form["scope"])
        bearer = b64u(hashlib.sha256(str(len(self.bearers)).encode()).digest()) + ".e30.x"
        self.bearers.add(bearer)
        return self.json({"token_type": "Bearer", "expires_in": 3599, "ext_expires_in": 3599, "access_token": bearer})

    def sign(self, request, body, ours):
        bearer = request.headers.get("Authorization", "").removeprefix("Bearer ")
        if bearer not in self.bearers:
            return self.json({"error": {"code": "Unauthorized", "message": "AKV10000"}}, 401, WWW_Authenticate=(
                f'Bearer authorization="{self.url}/{self.TENANT}", resource="{self.url}"'))
        asked = json.loads(body)
        self.requests.append((ours, request.method, request.path, sorted(request.args), request.content_type.split(";")[0],
                              {k: type(v).__name__ for k, v in asked.items()}, asked["alg"]))
        mode, one_off = self.mode.removesuffix(":once") if ours else "ok", self.mode.endswith(":once")
        self.mode = "ok" if ours and one_off else self.mode
        if mode in self.refusals:
            return self.refusals[mode](self)
        sig = self.signed(asked["alg"], unb64u(asked["value"]), KEYS["P-256"]() if mode == "other-key" else self.ca_key)
        return self.json({"kid": f"{self.url}/keys/{self.NAME}/{self.VERSION}", "value": b64u(sig[:-1] if mode == "short" else sig)})

    refusals = {
        "expired": lambda self: self.json({"error": {"code": "Unauthorized", "message": "token expired"}}, 401),
        "throttled": lambda self: self.json({"error": {"code": "Throttled", "message": "slow down"}}, 429, Retry_After="1"),
        "forbidden": lambda self: self.json({"error": {"code": "Forbidden", "message": "no \x1b[31msign permission"}}, 403),
        "garbage": lambda self: Response(b"\x00\xff{", 200),
        "empty": lambda self: Response("{}", 200),
        "oversized": lambda self: Response("A" * 200000, 200),
    }

    def signed(self, alg, digest, key):
        if alg == "RS256":
            return key.sign(digest, padding.PKCS1v15(), utils.Prehashed(hashes.SHA256()))
        size = {"ES256": 32, "ES384": 48}[alg]
        assert len(digest) == size
        r, s = utils.decode_dss_signature(key.sign(digest, ec.ECDSA(utils.Prehashed(hashes.SHA256() if size == 32 else hashes.SHA384()))))
        return r.to_bytes(size, "big") + s.to_bytes(size, "big")

// tpmclient gets a certificate by device-attest-01 for a key in a TPM 2.0, with libraries of others throughout: acmez (Caddy's ACME client) speaks the
// protocol, go-tpm the TPM's. The attestation key is a primary key, so it is the same each time; with -ak its public key is printed, for a CA to
// certify. Otherwise the TPM makes a key, certifies it with the attestation key for the challenge, and signs the certificate request with it; the chain is
// printed in PEM.
package main

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"encoding/binary"
	"encoding/pem"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"

	"github.com/fxamacker/cbor/v2"
	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpmutil"
	"github.com/mholt/acmez"
	"github.com/mholt/acmez/acme"
)

var (
	socket    = flag.String("tpm", "", "Unix socket of the TPM")
	alg       = flag.String("alg", "ecc", "kind of both keys: ecc or rsa")
	showAK    = flag.Bool("ak", false, "print the attestation key and end")
	akCert    = flag.String("cert", "", "certificate of the attestation key, PEM, and what is above it")
	directory = flag.String("directory", "", "URL of the directory")
	roots     = flag.String("roots", "", "file of trust anchors, PEM")
	kid       = flag.String("kid", "", "key identifier of the external account binding")
	hmacKey   = flag.String("hmac", "", "its key, base64url")
	device    = flag.String("id", "", "permanent identifier to order for")
)

// --- the TPM ---

// must panics, so that what is loaded into the TPM is flushed on the way out.
func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func end() {
	if err := recover(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// line sends a command again that the TPM was not ready for (TPM_RC_RETRY), as an operating system's driver does.
type line struct {
	net.Conn
	command []byte
}

func (l *line) Write(p []byte) (int, error) {
	l.command = append(l.command[:0], p...)
	return l.Conn.Write(p)
}

func (l *line) Read(p []byte) (int, error) {
	n, err := l.Conn.Read(p)
	for err == nil && n >= 10 && binary.BigEndian.Uint32(p[6:]) == 0x922 {
		if _, err = l.Conn.Write(l.command); err == nil {
			n, err = l.Conn.Read(p)
		}
	}
	return n, err
}

func scheme() *tpm2.SigScheme {
	if *alg == "rsa" {
		return &tpm2.SigScheme{Alg: tpm2.AlgRSASSA, Hash: tpm2.AlgSHA256}
	}
	return &tpm2.SigScheme{Alg: tpm2.AlgECDSA, Hash: tpm2.AlgSHA256}
}

// template is a key on P-256 or of 2048 bits. A restricted key for signing names its scheme; one for storage its cipher.
func template(attributes tpm2.KeyProp, symmetric *tpm2.SymScheme, sign *tpm2.SigScheme) tpm2.Public {
	p := tpm2.Public{Type: tpm2.AlgECC, NameAlg: tpm2.AlgSHA256, Attributes: attributes}
	if *alg == "rsa" {
		p.Type = tpm2.AlgRSA
		p.RSAParameters = &tpm2.RSAParams{Symmetric: symmetric, Sign: sign, KeyBits: 2048}
	} else {
		p.ECCParameters = &tpm2.ECCParams{Symmetric: symmetric, Sign: sign, CurveID: tpm2.CurveNISTP256}
	}
	return p
}

func primary(rw io.ReadWriter, p tpm2.Public) (tpmutil.Handle, crypto.PublicKey) {
	handle, public, err := tpm2.CreatePrimary(rw, tpm2.HandleEndorsement, tpm2.PCRSelection{}, "", "", p)
	return handle, must(public, err)
}

func attestationKey(rw io.ReadWriter) (tpmutil.Handle, crypto.PublicKey) {
	return primary(rw, template(tpm2.FlagSignerDefault, nil, scheme()))
}

// tpmKey signs in the TPM.
type tpmKey struct {
	rw     io.ReadWriter
	handle tpmutil.Handle
	area   []byte
	public crypto.PublicKey
}

func newKey(rw io.ReadWriter) *tpmKey {
	storage, _ := primary(rw, template(tpm2.FlagStorageDefault, &tpm2.SymScheme{Alg: tpm2.AlgAES, KeyBits: 128, Mode: tpm2.AlgCFB}, nil))
	defer tpm2.FlushContext(rw, storage)
	want := template(tpm2.FlagSignerDefault&^tpm2.FlagRestricted, nil, nil)
	private, area, _, _, _, err := tpm2.CreateKey(rw, storage, tpm2.PCRSelection{}, "", "", want)
	must(area, err)
	handle, _, err := tpm2.Load(rw, storage, "", area, private)
	must(handle, err)
	decoded := must(tpm2.DecodePublic(area))
	return &tpmKey{rw: rw, handle: handle, area: area, public: must(decoded.Key())}
}

func (k *tpmKey) Public() crypto.PublicKey { return k.public }

func (k *tpmKey) Sign(_ io.Reader, digest []byte, _ crypto.SignerOpts) ([]byte, error) {
	sig, err := tpm2.Sign(k.rw, k.handle, "", digest, nil, scheme())
	if err != nil {
		return nil, err
	}
	if sig.RSA != nil {
		return sig.RSA.Signature, nil
	}
	return asn1.Marshal(struct{ R, S *big.Int }{sig.ECC.R, sig.ECC.S})
}

// --- device-attest-01 ---

// solver certifies its key for each challenge.
type solver struct {
	key   *tpmKey
	ak    tpmutil.Handle
	chain [][]byte
}

func (solver) Present(context.Context, acme.Challenge) error { return nil }
func (solver) CleanUp(context.Context, acme.Challenge) error { return nil }

// Payload has the statement of WebAuthn section 8.3.
func (s solver) Payload(_ context.Context, c acme.Challenge) (any, error) {
	digest := sha256.Sum256([]byte(c.KeyAuthorization))
	info, signature, err := tpm2.CertifyEx(s.key.rw, "", "", s.key.handle, s.ak, digest[:], *scheme())
	if err != nil {
		return nil, err
	}
	cose := map[string]int{"ecc": -7, "rsa": -257}[*alg]
	object, err := cbor.Marshal(map[string]any{"fmt": "tpm", "attStmt": map[string]any{"ver": "2.0", "alg": cose, "x5c": s.chain, "sig": signature,
		"certInfo": info, "pubArea": s.key.area}})
	return map[string]string{"attObj": base64.RawURLEncoding.EncodeToString(object)}, err
}

func pool() (*x509.CertPool, error) {
	text, err := os.ReadFile(*roots)
	p := x509.NewCertPool()
	if err == nil && !p.AppendCertsFromPEM(text) {
		err = errors.New("no trust anchors")
	}
	return p, err
}

func register(ctx context.Context, c *acmez.Client) acme.Account {
	account := acme.Account{TermsOfServiceAgreed: true, PrivateKey: must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))}
	err := account.SetExternalAccountBinding(ctx, c.Client, acme.EAB{KeyID: *kid, MACKey: *hmacKey})
	must(account, err)
	return must(c.NewAccount(ctx, account))
}

// request is over the key, with the device's name as a PermanentIdentifier (RFC 4043), by which acmez orders.
func request(key crypto.Signer) *x509.CertificateRequest {
	name := must(asn1.Marshal(struct {
		Value string `asn1:"utf8"`
	}{*device}))
	other := must(asn1.MarshalWithParams(struct {
		ID    asn1.ObjectIdentifier
		Value asn1.RawValue
	}{asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 8, 3}, asn1.RawValue{Class: asn1.ClassContextSpecific, IsCompound: true, Bytes: name}}, "tag:0"))
	names := must(asn1.Marshal([]asn1.RawValue{{FullBytes: other}}))
	of := &x509.CertificateRequest{ExtraExtensions: []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 17}, Value: names}}}
	return must(x509.ParseCertificateRequest(must(x509.CreateCertificateRequest(rand.Reader, of, key))))
}

func chainOf(path string) (chain [][]byte) {
	rest := must(os.ReadFile(path))
	for block, more := pem.Decode(rest); block != nil; block, more = pem.Decode(more) {
		chain = append(chain, block.Bytes)
	}
	return chain
}

func main() {
	defer end()
	flag.Parse()
	rw := &line{Conn: must(net.Dial("unix", *socket))}
	ak, public := attestationKey(rw)
	defer tpm2.FlushContext(rw, ak)
	if *showAK {
		der := must(x509.MarshalPKIXPublicKey(public))
		must(0, pem.Encode(os.Stdout, &pem.Block{Type: "PUBLIC KEY", Bytes: der}))
		return
	}
	key, ctx := newKey(rw), context.Background()
	defer tpm2.FlushContext(rw, key.handle)
	over := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: must(pool())}}
	client := &acmez.Client{
		Client:           &acme.Client{Directory: *directory, HTTPClient: &http.Client{Transport: over}},
		ChallengeSolvers: map[string]acmez.Solver{acme.ChallengeTypeDeviceAttest01: solver{key, ak, chainOf(*akCert)}},
	}
	account := register(ctx, client)
	for _, cert := range must(client.ObtainCertificateUsingCSR(ctx, account, request(key))) {
		os.Stdout.Write(cert.ChainPEM)
	}
}

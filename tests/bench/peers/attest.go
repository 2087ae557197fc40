package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"sync"
)

// ACME with device-attest-01 (draft-ietf-acme-device-attest): five requests over one new connection. Written out, because ACME libraries ask for
// more than they need (the directory, nonces of their own), and each server would be charged for that.
//
// The attestation is by the key of the client's certificate, which comes along; the certificate asked for is over the same key. Statement:
// "packed" (WebAuthn section 8.2) or "step", which is the same but for its name and a second wrapping of the signature.
type attestation struct {
	device                tls.Certificate
	key                   *ecdsa.PrivateKey
	udid, kid, thumbprint string
	directory             map[string]any
	nonce                 string
	http                  *http.Client
}

var attestations sync.Map // *client to *attestation

func b64u(raw []byte) string { return base64.RawURLEncoding.EncodeToString(raw) }

func (a *attestation) jwk() string {
	x, y := a.key.X.FillBytes(make([]byte, 32)), a.key.Y.FillBytes(make([]byte, 32))
	return fmt.Sprintf(`{"crv":"P-256","kty":"EC","x":"%s","y":"%s"}`, b64u(x), b64u(y))
}

func flattened(header string, payload []byte, sign func(signed []byte) ([]byte, error)) ([]byte, error) {
	head, body := b64u([]byte(header)), b64u(payload)
	signature, err := sign([]byte(head + "." + body))
	if err != nil {
		return nil, err
	}
	return json.Marshal(map[string]string{"protected": head, "payload": body, "signature": b64u(signature)})
}

func (a *attestation) es256(signed []byte) ([]byte, error) {
	digest := sha256.Sum256(signed)
	r, s, err := ecdsa.Sign(rand.Reader, a.key, digest[:])
	if err != nil {
		return nil, err
	}
	return append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...), nil
}

func (a *attestation) do(method, url string, body []byte) (*http.Response, []byte, error) {
	q, err := http.NewRequest(method, url, bytes.NewReader(body))
	if err != nil {
		return nil, nil, err
	}
	q.Header.Set("Content-Type", "application/jose+json")
	r, err := a.http.Do(q)
	if err != nil {
		return nil, nil, err
	}
	defer r.Body.Close()
	answer, err := io.ReadAll(r.Body)
	if nonce := r.Header.Get("Replay-Nonce"); nonce != "" {
		a.nonce = nonce
	}
	if err == nil && r.StatusCode/100 != 2 {
		err = fmt.Errorf("%s: %s: %.300s", url, r.Status, answer)
	}
	return r, answer, err
}

// payload nil: POST-as-GET. into nil: the answer is not JSON.
func (a *attestation) post(url string, payload any, into any) (*http.Response, []byte, error) {
	who := `"kid":"` + a.kid + `"`
	if a.kid == "" {
		who = `"jwk":` + a.jwk()
	}
	var raw []byte
	if payload != nil {
		raw, _ = json.Marshal(payload)
	}
	body, err := flattened(fmt.Sprintf(`{"alg":"ES256",%s,"nonce":"%s","url":"%s"}`, who, a.nonce, url), raw, a.es256)
	if err != nil {
		return nil, nil, err
	}
	r, answer, err := a.do("POST", url, body)
	if err == nil && into != nil {
		err = json.Unmarshal(answer, into)
	}
	return r, answer, err
}

// The external account binding of RFC 8555 section 7.3.4, when eab.json is there.
func (a *attestation) account(dir string) (map[string]any, error) {
	ask := map[string]any{"termsOfServiceAgreed": true}
	text, err := os.ReadFile(dir + "/eab.json")
	if err != nil {
		return ask, nil
	}
	var eab struct{ Kid, Hmac_key string }
	if err = json.Unmarshal(text, &eab); err != nil {
		return nil, err
	}
	secret, err := base64.RawURLEncoding.DecodeString(eab.Hmac_key)
	if err != nil {
		return nil, err
	}
	binding, err := flattened(fmt.Sprintf(`{"alg":"HS256","kid":"%s","url":"%s"}`, eab.Kid, a.directory["newAccount"]), []byte(a.jwk()),
		func(signed []byte) ([]byte, error) {
			mac := hmac.New(sha256.New, secret)
			mac.Write(signed)
			return mac.Sum(nil), nil
		})
	ask["externalAccountBinding"] = json.RawMessage(binding)
	return ask, err
}

func attestPrepare(c *client, bound bool) error {
	device := c.identity
	leaf, err := x509.ParseCertificate(device.Certificate[0])
	if err != nil {
		return err
	}
	c.identity = tls.Certificate{} // ACME knows no client certificate
	key, err := newKey()
	if err != nil {
		return err
	}
	udid := sha256.Sum256(leaf.RawSubjectPublicKeyInfo)
	a := &attestation{device: device, key: key, udid: hex.EncodeToString(udid[:]), http: c.connection()}
	defer a.http.CloseIdleConnections()
	digest := sha256.Sum256([]byte(a.jwk()))
	a.thumbprint = b64u(digest[:])
	_, answer, err := a.do("GET", c.url, nil)
	if err != nil {
		return err
	}
	if err = json.Unmarshal(answer, &a.directory); err != nil {
		return err
	}
	if _, _, err = a.do("HEAD", fmt.Sprint(a.directory["newNonce"]), nil); err != nil {
		return err
	}
	dir := c.dir
	if !bound {
		dir = "/nonexistent"
	}
	ask, err := a.account(dir)
	if err != nil {
		return err
	}
	r, _, err := a.post(fmt.Sprint(a.directory["newAccount"]), ask, nil)
	if err != nil {
		return err
	}
	a.kid = r.Header.Get("Location")
	attestations.Store(c, a)
	return nil
}

// --- CBOR, RFC 8949: as much as there is in a statement --------------------------------------------------------------------------------

func cborHead(major byte, n int) []byte {
	switch {
	case n < 24:
		return []byte{major<<5 | byte(n)}
	case n < 256:
		return []byte{major<<5 | 24, byte(n)}
	default:
		return []byte{major<<5 | 25, byte(n >> 8), byte(n)}
	}
}

func cborText(text string) []byte { return append(cborHead(3, len(text)), text...) }
func cborBytes(raw []byte) []byte { return append(cborHead(2, len(raw)), raw...) }

func (a *attestation) statement(format, token string) ([]byte, error) {
	digest := sha256.Sum256([]byte(token + "." + a.thumbprint))
	signature, err := ecdsa.SignASN1(rand.Reader, a.device.PrivateKey.(*ecdsa.PrivateKey), digest[:])
	if err != nil {
		return nil, err
	}
	if format == "step" {
		signature = cborBytes(signature)
	}
	var out bytes.Buffer
	for _, piece := range [][]byte{cborHead(5, 2), cborText("fmt"), cborText(format), cborText("attStmt"), cborHead(5, 3), cborText("alg"), {0x26}, // -7
		cborText("sig"), cborBytes(signature), cborText("x5c"), cborHead(4, 1), cborBytes(a.device.Certificate[0])} {
		out.Write(piece)
	}
	return out.Bytes(), nil
}

// --- one certificate ---------------------------------------------------------------------------------------------------------------------

type attestOrder struct {
	Status, Finalize, Certificate string
	Authorizations                []string
}

func (a *attestation) prove(url, format string) error {
	var authorization struct {
		Challenges []struct{ Type, URL, Token string }
	}
	if _, _, err := a.post(url, nil, &authorization); err != nil {
		return err
	}
	for _, challenge := range authorization.Challenges {
		if challenge.Type != "device-attest-01" {
			continue
		}
		statement, err := a.statement(format, challenge.Token)
		if err != nil {
			return err
		}
		var done struct{ Status string }
		if _, _, err = a.post(challenge.URL, map[string]string{"attObj": b64u(statement)}, &done); err == nil && done.Status != "valid" {
			err = errors.New("the attestation was not taken")
		}
		return err
	}
	return errors.New("no device-attest-01 challenge")
}

func (a *attestation) finalize(order *attestOrder) error {
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, a.device.PrivateKey)
	if err != nil {
		return err
	}
	if _, _, err = a.post(order.Finalize, map[string]string{"csr": b64u(der)}, order); err != nil {
		return err
	}
	if order.Status != "valid" {
		return fmt.Errorf("the order is %s", order.Status)
	}
	_, chain, err := a.post(order.Certificate, nil, nil)
	if err != nil {
		return err
	}
	if block, _ := pem.Decode(chain); block == nil {
		return errors.New("no certificate came")
	}
	return checkPEM(string(chain), a.device.PrivateKey.(*ecdsa.PrivateKey))
}

func attestEnrol(c *client, format string) error {
	stored, _ := attestations.Load(c)
	a := stored.(*attestation)
	a.http = c.connection()
	defer a.http.CloseIdleConnections()
	var order attestOrder
	ask := map[string]any{"identifiers": []map[string]string{{"type": "permanent-identifier", "value": a.udid}}}
	if _, _, err := a.post(fmt.Sprint(a.directory["newOrder"]), ask, &order); err != nil {
		return err
	}
	for _, url := range order.Authorizations {
		if err := a.prove(url, format); err != nil {
			return err
		}
	}
	return a.finalize(&order)
}

package main

import (
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"os"
	"time"
)

type stepAnswer struct {
	Crt string `json:"crt"`
}

// A one-time token, as the step command makes it: a JWS by the provisioner's key.
func stepToken(c *client, subject string) (string, error) {
	text, err := os.ReadFile(c.dir + "/provisioner-key.pem")
	if err != nil {
		return "", err
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return "", errors.New("no provisioner key")
	}
	key, err := x509.ParseECPrivateKey(block.Bytes)
	if err != nil {
		return "", err
	}
	id := make([]byte, 16)
	if _, err = rand.Read(id); err != nil {
		return "", err
	}
	now := time.Now().Unix()
	claims, err := json.Marshal(map[string]any{"iss": "bench", "aud": c.url + "/1.0/sign", "sub": subject, "sans": []string{"device.example"},
		"iat": now, "nbf": now - 10, "exp": now + 200, "jti": hex.EncodeToString(id)})
	if err != nil {
		return "", err
	}
	b64 := base64.RawURLEncoding
	signed := b64.EncodeToString([]byte(`{"alg":"ES256","kid":"bench","typ":"JWT"}`)) + "." + b64.EncodeToString(claims)
	digest := sha256.Sum256([]byte(signed))
	r, s, err := ecdsa.Sign(rand.Reader, key, digest[:])
	if err != nil {
		return "", err
	}
	raw := append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...)
	return signed + "." + b64.EncodeToString(raw), nil
}

// Each client gets a certificate of step-ca's first, as only with that it may come over mutual TLS.
func stepPrepare(c *client) error {
	key, der, err := newRequest(device())
	if err != nil {
		return err
	}
	token, err := stepToken(c, "device")
	if err != nil {
		return err
	}
	var answer stepAnswer
	if err = c.postJSON("/1.0/sign", map[string]string{"csr": toPEM("CERTIFICATE REQUEST", der), "ott": token}, &answer); err != nil {
		return err
	}
	block, _ := pem.Decode([]byte(answer.Crt))
	if block == nil {
		return errors.New("no certificate came")
	}
	leaf := block.Bytes
	issuing, err := os.ReadFile(c.dir + "/issuing.pem")
	if err != nil {
		return err
	}
	above, _ := pem.Decode(issuing)
	c.identity = tls.Certificate{Certificate: [][]byte{leaf, above.Bytes}, PrivateKey: key}
	return nil
}

// step-ca's own rekey: a certificate for a new key, by right of the one shown in the handshake.
func stepEnrol(c *client) error {
	key, der, err := newRequest(device())
	if err != nil {
		return err
	}
	var answer stepAnswer
	if err = c.postJSON("/1.0/rekey", map[string]string{"csr": toPEM("CERTIFICATE REQUEST", der)}, &answer); err != nil {
		return err
	}
	return checkPEM(answer.Crt, key)
}

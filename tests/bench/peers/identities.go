package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math/big"
	"net"
	"os"
	"time"
)

type party struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// By which step-ca knows a device: its own extension, here with the UDID.
func deviceExtension(key *ecdsa.PublicKey) (pkix.Extension, error) {
	spki, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		return pkix.Extension{}, err
	}
	udid := sha256.Sum256(spki)
	value, err := asn1.Marshal(struct{ DeviceID string }{hex.EncodeToString(udid[:])})
	return pkix.Extension{Id: asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 37476, 9000, 64, 4}, Value: value}, err
}

// A certificate for a new key; by nil: self-signed.
func issue(name string, ca bool, by *party) (*party, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, err
	}
	t := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(1000 * time.Hour),
		BasicConstraintsValid: true, IsCA: ca, KeyUsage: x509.KeyUsageDigitalSignature,
	}
	if ca {
		t.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageCRLSign
	} else {
		t.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
		t.DNSNames, t.IPAddresses = []string{"localhost"}, []net.IP{net.IPv4(127, 0, 0, 1)}
		extension, err := deviceExtension(&key.PublicKey)
		if err != nil {
			return nil, err
		}
		t.ExtraExtensions = []pkix.Extension{extension}
	}
	issuer := &party{t, key}
	if by != nil {
		issuer = by
	}
	der, err := x509.CreateCertificate(rand.Reader, t, issuer.cert, &key.PublicKey, issuer.key)
	if err != nil {
		return nil, err
	}
	cert, err := x509.ParseCertificate(der)
	return &party{cert, key}, err
}

// Certificate and key in files of their own, and for clients both in one.
func (p *party) write(dir, name string, together bool) error {
	der, err := x509.MarshalECPrivateKey(p.key)
	if err != nil {
		return err
	}
	cert, key := toPEM("CERTIFICATE", p.cert.Raw), toPEM("EC PRIVATE KEY", der)
	if together {
		return os.WriteFile(dir+"/"+name+".pem", []byte(cert+key), 0600)
	}
	if err = os.WriteFile(dir+"/"+name+".pem", []byte(cert), 0600); err != nil {
		return err
	}
	return os.WriteFile(dir+"/"+name+"-key.pem", []byte(key), 0600)
}

func writeClients(dir string, by *party, n int) error {
	f, err := os.Create(dir + "/identities.jsonl")
	if err != nil {
		return err
	}
	defer f.Close()
	for i := 0; i < n; i++ {
		c, err := issue(fmt.Sprintf("client %d", i), false, by)
		if err != nil {
			return err
		}
		if err = c.write(dir, fmt.Sprintf("client-%03d", i), true); err != nil {
			return err
		}
		spki := c.cert.RawSubjectPublicKeyInfo
		udid := sha256.Sum256(spki)
		line := map[string]string{"udid": hex.EncodeToString(udid[:]), "key": base64.RawURLEncoding.EncodeToString(spki), "rot": "software"}
		if err = json.NewEncoder(f).Encode(line); err != nil {
			return err
		}
	}
	return nil
}

// root > issuing > server and clients; provisioner: a key for the tokens of step-ca.
func identities(dir string, n int) error {
	root, err := issue("root", true, nil)
	if err != nil {
		return err
	}
	issuing, err := issue("issuing", true, root)
	if err != nil {
		return err
	}
	server, err := issue("server", false, issuing)
	if err != nil {
		return err
	}
	provisioner, err := issue("provisioner", false, nil)
	if err != nil {
		return err
	}
	for name, p := range map[string]*party{"root": root, "issuing": issuing, "server": server, "provisioner": provisioner} {
		if err = p.write(dir, name, false); err != nil {
			return err
		}
	}
	x, y := provisioner.key.X.FillBytes(make([]byte, 32)), provisioner.key.Y.FillBytes(make([]byte, 32))
	jwk := map[string]string{"kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "kid": "bench",
		"x": base64.RawURLEncoding.EncodeToString(x), "y": base64.RawURLEncoding.EncodeToString(y)}
	text, err := json.Marshal(jwk)
	if err != nil {
		return err
	}
	if err = os.WriteFile(dir+"/provisioner.jwk", text, 0600); err != nil {
		return err
	}
	return writeClients(dir, issuing, n)
}

// scepserver is a SCEP CA made of smallstep's library, which shares no code with ours: scepserver -listen ADDRESS -ca FILE, a PEM with the CA's
// certificate and RSA key. At /scep it certifies what it is asked for, at /deny nothing.
package main

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"flag"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/smallstep/pkcs7"
	"github.com/smallstep/scep"
)

type ca struct {
	cert *x509.Certificate
	key  *rsa.PrivateKey
}

func load(path string) (c ca, err error) {
	text, err := os.ReadFile(path)
	for err == nil {
		var block *pem.Block
		if block, text = pem.Decode(text); block == nil {
			return c, nil
		}
		if block.Type == "CERTIFICATE" {
			c.cert, err = x509.ParseCertificate(block.Bytes)
			continue
		}
		var key interface{}
		if key, err = x509.ParsePKCS8PrivateKey(block.Bytes); err == nil {
			c.key = key.(*rsa.PrivateKey)
		}
	}
	return c, err
}

func (c ca) issue(csr *x509.CertificateRequest) (*x509.Certificate, error) {
	if err := csr.CheckSignature(); err != nil {
		return nil, err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, err
	}
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: serial, RawSubject: csr.RawSubject, NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(30 * 24 * time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature,
	}, c.cert, csr.PublicKey, c.key)
	if err != nil {
		return nil, err
	}
	return x509.ParseCertificate(der)
}

func (c ca) operate(raw []byte, deny bool) ([]byte, error) {
	msg, err := scep.ParsePKIMessage(raw)
	if err != nil {
		return nil, err
	}
	if err = msg.DecryptPKIEnvelope(c.cert, c.key); err != nil {
		return nil, err
	}
	if deny {
		rep, err := msg.Fail(c.cert, c.key, scep.BadRequest)
		if err != nil {
			return nil, err
		}
		return rep.Raw, nil
	}
	crt, err := c.issue(msg.CSRReqMessage.CSR)
	if err != nil {
		return nil, err
	}
	rep, err := msg.Success(c.cert, c.key, crt)
	if err != nil {
		return nil, err
	}
	return rep.Raw, nil
}

func (c ca) serve(w http.ResponseWriter, r *http.Request) {
	var body []byte
	var err error
	query := r.URL.Query()
	switch query.Get("operation") {
	case "GetCACaps":
		body = []byte("AES\nSHA-256\nPOSTPKIOperation\nSCEPStandard\n")
	case "GetCACert":
		w.Header().Set("Content-Type", "application/x-x509-ca-cert")
		body = c.cert.Raw
	case "PKIOperation":
		var raw []byte
		if r.Method == http.MethodGet {
			raw, err = base64.StdEncoding.DecodeString(query.Get("message"))
		} else {
			raw, err = io.ReadAll(r.Body)
		}
		if err == nil {
			w.Header().Set("Content-Type", "application/x-pki-message")
			body, err = c.operate(raw, r.URL.Path == "/deny")
		}
	default:
		err = fmt.Errorf("no operation %q", query.Get("operation"))
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	w.Write(body)
}

func main() {
	listen := flag.String("listen", "127.0.0.1:0", "address")
	path := flag.String("ca", "", "PEM with the CA's certificate and key")
	flag.Parse()
	c, err := load(*path)
	if err != nil || c.cert == nil || c.key == nil {
		log.Fatalf("%s: %v", *path, err)
	}
	if err = pkcs7.SetDefaultDigestAlgorithm(pkcs7.OIDDigestAlgorithmSHA256); err != nil {
		log.Fatal(err)
	}
	pkcs7.ContentEncryptionAlgorithm = pkcs7.EncryptionAlgorithmAES256CBC
	l, err := net.Listen("tcp", *listen)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(l.Addr())
	log.Fatal(http.Serve(l, http.HandlerFunc(c.serve)))
}

// acmeclient walks through an account's life with golang.org/x/crypto/acme: it registers with an external account binding, gets a certificate
// by http-01, fetches the alternate chains, replaces the account's key, revokes the certificate with its own key and ends the account. It
// prints each chain in PEM, the alternate ones after an empty line.
package main

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"os"
	"time"

	"golang.org/x/crypto/acme"
)

var (
	directory = flag.String("directory", "", "URL of the directory")
	roots     = flag.String("roots", "", "file of trust anchors, PEM")
	kid       = flag.String("kid", "", "key identifier of the external account binding")
	hmacKey   = flag.String("hmac", "", "its key, base64url")
	listen    = flag.String("listen", "", "address that answers http-01")
	domain    = flag.String("domain", "", "name to order for")
)

func newKey() *ecdsa.PrivateKey {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	return key
}

func newClient() (*acme.Client, error) {
	text, err := os.ReadFile(*roots)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return nil, errors.New("no trust anchors")
	}
	over := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}
	return &acme.Client{Key: newKey(), DirectoryURL: *directory, HTTPClient: &http.Client{Transport: over}}, nil
}

func register(ctx context.Context, c *acme.Client) error {
	secret, err := base64.RawURLEncoding.DecodeString(*hmacKey)
	if err != nil {
		return err
	}
	account := &acme.Account{
		Contact:                []string{"mailto:a@example.org"},
		ExternalAccountBinding: &acme.ExternalAccountBinding{KID: *kid, Key: secret},
	}
	if _, err = c.Register(ctx, account, acme.AcceptTOS); err != nil {
		return err
	}
	found, err := c.GetReg(ctx, "")
	if err == nil && found.Status != acme.StatusValid {
		err = fmt.Errorf("the account is %s", found.Status)
	}
	return err
}

// answer serves the key authorization of one http-01 challenge.
func answer(c *acme.Client, challenge *acme.Challenge) error {
	text, err := c.HTTP01ChallengeResponse(challenge.Token)
	if err != nil {
		return err
	}
	page := http.NewServeMux()
	page.HandleFunc(c.HTTP01ChallengePath(challenge.Token), func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, text) })
	go func() { fmt.Fprintln(os.Stderr, http.ListenAndServe(*listen, page)) }()
	return nil
}

func authorize(ctx context.Context, c *acme.Client, url string) error {
	z, err := c.GetAuthorization(ctx, url)
	if err != nil {
		return err
	}
	for _, challenge := range z.Challenges {
		if challenge.Type != "http-01" {
			continue
		}
		if err = answer(c, challenge); err != nil {
			return err
		}
		if _, err = c.Accept(ctx, challenge); err != nil {
			return err
		}
		_, err = c.WaitAuthorization(ctx, url)
		return err
	}
	return errors.New("no http-01 challenge")
}

func show(chain [][]byte) {
	for _, der := range chain {
		pem.Encode(os.Stdout, &pem.Block{Type: "CERTIFICATE", Bytes: der})
	}
	fmt.Println()
}

// certify answers the certificate itself.
func certify(ctx context.Context, c *acme.Client, key crypto.Signer) ([]byte, error) {
	order, err := c.AuthorizeOrder(ctx, acme.DomainIDs(*domain))
	if err != nil {
		return nil, err
	}
	for _, url := range order.AuthzURLs {
		if err = authorize(ctx, c, url); err != nil {
			return nil, err
		}
	}
	if order, err = c.WaitOrder(ctx, order.URI); err != nil {
		return nil, err
	}
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{DNSNames: []string{*domain}}, key)
	if err != nil {
		return nil, err
	}
	chain, url, err := c.CreateOrderCert(ctx, order.FinalizeURL, csr, true)
	if err != nil {
		return nil, err
	}
	show(chain)
	alternates, err := c.ListCertAlternates(ctx, url)
	for _, alternate := range alternates {
		other, err := c.FetchCert(ctx, alternate, true)
		if err != nil {
			return nil, err
		}
		show(other)
	}
	return chain[0], err
}

func run() error {
	ctx, done := context.WithTimeout(context.Background(), time.Minute)
	defer done()
	c, err := newClient()
	if err == nil {
		err = register(ctx, c)
	}
	if err != nil {
		return err
	}
	key := newKey()
	der, err := certify(ctx, c, key)
	if err != nil {
		return err
	}
	if err = c.AccountKeyRollover(ctx, newKey()); err != nil {
		return err
	}
	if err = c.RevokeCert(ctx, key, der, acme.CRLReasonSuperseded); err != nil {
		return err
	}
	return c.DeactivateReg(ctx)
}

func main() {
	flag.Parse()
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

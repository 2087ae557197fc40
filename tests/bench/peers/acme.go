package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"

	"golang.org/x/crypto/acme"
)

const acmeName = "localhost"

var (
	acmeAnswers  sync.Map // path to key authorization
	acmeListener sync.Once
	acmeAccounts sync.Map // *client to key
)

// http-01 is asked for at port 80, and nowhere else.
func acmeListen() (err error) {
	acmeListener.Do(func() {
		handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if text, known := acmeAnswers.Load(r.URL.Path); known {
				fmt.Fprint(w, text)
			} else {
				http.NotFound(w, r)
			}
		})
		var l net.Listener
		if l, err = net.Listen("tcp", "127.0.0.1:80"); err == nil {
			go func() { _ = http.Serve(l, handler) }()
		}
	})
	return err
}

func acmeClient(c *client, key *ecdsa.PrivateKey) *acme.Client {
	return &acme.Client{Key: key, HTTPClient: c.connection(), DirectoryURL: c.url}
}

func acmePrepare(c *client) error {
	c.identity = tls.Certificate{} // ACME knows no client certificate
	if err := acmeListen(); err != nil {
		return err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	acmeAccounts.Store(c, key)
	_, err = acmeClient(c, key).Register(context.Background(), &acme.Account{}, acme.AcceptTOS)
	return err
}

func acmeProve(a *acme.Client, url string) error {
	ctx := context.Background()
	z, err := a.GetAuthorization(ctx, url)
	if err != nil || z.Status == acme.StatusValid {
		return err
	}
	for _, challenge := range z.Challenges {
		if challenge.Type != "http-01" {
			continue
		}
		text, err := a.HTTP01ChallengeResponse(challenge.Token)
		if err != nil {
			return err
		}
		path := a.HTTP01ChallengePath(challenge.Token)
		acmeAnswers.Store(path, text)
		defer acmeAnswers.Delete(path)
		if _, err = a.Accept(ctx, challenge); err != nil {
			return err
		}
		_, err = a.WaitAuthorization(ctx, url)
		return err
	}
	return errors.New("no http-01 challenge")
}

// RFC 8555 from order to certificate, over one connection.
func acmeEnrol(c *client) error {
	stored, _ := acmeAccounts.Load(c)
	a, ctx := acmeClient(c, stored.(*ecdsa.PrivateKey)), context.Background()
	defer a.HTTPClient.CloseIdleConnections()
	order, err := a.AuthorizeOrder(ctx, acme.DomainIDs(acmeName))
	if err != nil {
		return err
	}
	for _, url := range order.AuthzURLs {
		if err = acmeProve(a, url); err != nil {
			return err
		}
	}
	key, der, err := newRequest(&x509.CertificateRequest{DNSNames: []string{acmeName}})
	if err != nil {
		return err
	}
	chain, _, err := a.CreateOrderCert(ctx, order.FinalizeURL, der, false)
	if err != nil {
		return err
	}
	return checkDER(chain[0], key)
}

// The load for other servers, and for ours in the same way: certificates, one after another, each over a TLS 1.3 connection of its own.
//
//	peers identities DIR N      keys and certificates for servers and N clients; identities.jsonl for a manifest
//	peers PROTOCOL URL DIR N    N certificates, by as many clients as DIR has; prints one JSON object
//
// All keys are ECDSA P-256, and so is the key exchange: it is what devices have, and what all of the servers offer. Every certificate is for a
// new key, and every answer must hold a certificate for that key.
package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"sort"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// One client; its functions are called by one goroutine.
type client struct {
	dir, url string
	identity tls.Certificate
}

// What a protocol is: prepare is not measured and may be nil, enrol is one certificate.
type protocol struct {
	prepare func(c *client) error
	enrol   func(c *client) error
}

var protocols = map[string]protocol{
	"est":         {nil, estEnrol},
	"step":        {stepPrepare, stepEnrol},
	"cfssl":       {nil, cfsslEnrol},
	"acme":        {acmePrepare, acmeEnrol},
	"acme-packed": {func(c *client) error { return attestPrepare(c, true) }, func(c *client) error { return attestEnrol(c, "packed") }},
	"acme-step":   {func(c *client) error { return attestPrepare(c, false) }, func(c *client) error { return attestEnrol(c, "step") }},
}

func fatal(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "peers:", err)
		os.Exit(1)
	}
}

// A client for one connection, which keeps nothing of the one before.
func (c *client) connection() *http.Client {
	return &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{MaxConnsPerHost: 1, TLSClientConfig: &tls.Config{
		MinVersion:         tls.VersionTLS13,
		CurvePreferences:   []tls.CurveID{tls.CurveP256},
		InsecureSkipVerify: true, // checking the server costs the client, which is not measured
		Certificates:       []tls.Certificate{c.identity},
	}}}
}

func (c *client) post(path string, body []byte, headers map[string]string) ([]byte, error) {
	h := c.connection()
	defer h.CloseIdleConnections()
	q, err := http.NewRequest("POST", c.url+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	for name, value := range headers {
		q.Header.Set(name, value)
	}
	r, err := h.Do(q)
	if err != nil {
		return nil, err
	}
	defer r.Body.Close()
	answer, err := io.ReadAll(r.Body)
	if err == nil && r.StatusCode/100 != 2 {
		err = fmt.Errorf("%s: %s: %.200s", path, r.Status, answer)
	}
	return answer, err
}

func (c *client) postJSON(path string, ask, answer any) error {
	body, err := json.Marshal(ask)
	if err != nil {
		return err
	}
	if body, err = c.post(path, body, map[string]string{"Content-Type": "application/json"}); err != nil {
		return err
	}
	return json.Unmarshal(body, answer)
}

func newKey() (*ecdsa.PrivateKey, error) { return ecdsa.GenerateKey(elliptic.P256(), rand.Reader) }

func newRequest(t *x509.CertificateRequest) (*ecdsa.PrivateKey, []byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, t, key)
	return key, der, err
}

func device() *x509.CertificateRequest {
	return &x509.CertificateRequest{Subject: pkix.Name{CommonName: "device"}, DNSNames: []string{"device.example"}}
}

func toPEM(kind string, der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}

// Is the first certificate in it for that key?
func checkPEM(text string, key *ecdsa.PrivateKey) error {
	block, _ := pem.Decode([]byte(text))
	if block == nil {
		return errors.New("no certificate came")
	}
	return checkDER(block.Bytes, key)
}

func checkDER(der []byte, key *ecdsa.PrivateKey) error {
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return err
	}
	if !key.PublicKey.Equal(cert.PublicKey) {
		return errors.New("the certificate is for another key")
	}
	return nil
}

func load(p protocol, clients []*client, n int64) ([]time.Duration, error) {
	var left, all, group = n, make([]time.Duration, 0, n), sync.WaitGroup{}
	var lock sync.Mutex
	var failed error
	for _, c := range clients {
		group.Add(1)
		go func(c *client) {
			defer group.Done()
			for atomic.AddInt64(&left, -1) >= 0 {
				began := time.Now()
				err := p.enrol(c)
				lock.Lock()
				all = append(all, time.Since(began))
				if err != nil {
					failed = err
					atomic.StoreInt64(&left, 0)
				}
				lock.Unlock()
			}
		}(c)
	}
	group.Wait()
	return all, failed
}

func clientsOf(dir, url string) (all []*client) {
	files, err := filepath.Glob(dir + "/client-*.pem")
	fatal(err)
	for _, f := range files {
		identity, err := tls.LoadX509KeyPair(f, f)
		fatal(err)
		all = append(all, &client{dir: dir, url: url, identity: identity})
	}
	return all
}

func measure(p protocol, dir, url string, n int64) {
	clients := clientsOf(dir, url)
	for _, c := range clients {
		if p.prepare != nil {
			fatal(p.prepare(c))
		}
	}
	// One line, and the go-ahead on standard input, so that what was prepared is not in the account.
	fmt.Println("ready")
	_, _ = os.Stdin.Read(make([]byte, 1))
	all, err := load(p, clients, n)
	fatal(err)
	sort.Slice(all, func(i, j int) bool { return all[i] < all[j] })
	at := func(share float64) float64 { return all[int(share*float64(len(all)-1))].Seconds() * 1000 }
	fatal(json.NewEncoder(os.Stdout).Encode(map[string]any{"operations": len(all), "p50_ms": at(0.5), "p99_ms": at(0.99)}))
}

func main() {
	if len(os.Args) == 4 && os.Args[1] == "identities" {
		n, err := strconv.Atoi(os.Args[3])
		fatal(err)
		fatal(identities(os.Args[2], n))
		return
	}
	if len(os.Args) != 5 {
		fatal(errors.New("usage: peers identities DIR N | peers est|step|cfssl|acme|acme-packed|acme-step URL DIR N"))
	}
	p, known := protocols[os.Args[1]]
	n, err := strconv.ParseInt(os.Args[4], 10, 64)
	if !known || err != nil {
		fatal(errors.New("no such protocol, or no number"))
	}
	measure(p, os.Args[3], os.Args[2], n)
}

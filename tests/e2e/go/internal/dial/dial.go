// Package dial makes DTLS 1.2 connections with pion, which shares no code with the server under test, from flags or files.
package dial

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/pion/dtls/v2"
	"github.com/pion/dtls/v2/pkg/crypto/elliptic"
)

// Identity says how a client presents itself, and whom it believes. Empty members are left out of the handshake.
type Identity struct {
	CA      string        // PEM of the roots; empty: the server is not checked
	Cert    string        // PEM, the leaf first
	Key     string        // PEM
	Ciphers string        // by their IANA names, comma between them
	Curves  string        // P-256, P-384, X25519
	PSK     string        // a shared key in place of certificates
	NoEMS   bool          // without extended master secret
	MTU     int           // of handshake messages; 0: pion's own
	Timeout time.Duration // of the whole handshake
	// All the client's handshake messages are sent again after this long.
	Flight time.Duration
}

var ciphers = map[string]dtls.CipherSuiteID{
	"TLS_ECDHE_ECDSA_WITH_AES_128_CCM":        dtls.TLS_ECDHE_ECDSA_WITH_AES_128_CCM,
	"TLS_ECDHE_ECDSA_WITH_AES_128_CCM_8":      dtls.TLS_ECDHE_ECDSA_WITH_AES_128_CCM_8,
	"TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256": dtls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
	"TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384": dtls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
	"TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA":    dtls.TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA,
	"TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256":   dtls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
	"TLS_PSK_WITH_AES_128_CCM_8":              dtls.TLS_PSK_WITH_AES_128_CCM_8,
}

var curves = map[string]elliptic.Curve{"P-256": elliptic.P256, "P-384": elliptic.P384, "X25519": elliptic.X25519}

func list(text string) []string {
	if text == "" {
		return nil
	}
	return strings.Split(text, ",")
}

// Config makes pion's configuration of it; host is the name or address that the server's certificate must carry.
func (id *Identity) Config(host string) (*dtls.Config, error) {
	config := &dtls.Config{ServerName: host, InsecureSkipVerify: id.CA == "", MTU: id.MTU, FlightInterval: id.Flight}
	if id.NoEMS {
		config.ExtendedMasterSecret = dtls.DisableExtendedMasterSecret
	}
	if id.PSK != "" {
		config.PSK = func([]byte) ([]byte, error) { return []byte(id.PSK), nil }
		config.PSKIdentityHint = []byte("device")
	}
	config.ConnectContextMaker = func() (context.Context, func()) {
		return context.WithTimeout(context.Background(), id.Timeout)
	}
	for _, name := range list(id.Ciphers) {
		suite, known := ciphers[name]
		if !known {
			return nil, fmt.Errorf("no cipher suite %q", name)
		}
		config.CipherSuites = append(config.CipherSuites, suite)
	}
	for _, name := range list(id.Curves) {
		curve, known := curves[name]
		if !known {
			return nil, fmt.Errorf("no curve %q", name)
		}
		config.EllipticCurves = append(config.EllipticCurves, curve)
	}
	return config, id.files(config)
}

func (id *Identity) files(config *dtls.Config) error {
	if id.CA != "" {
		pem, err := os.ReadFile(id.CA)
		if err != nil {
			return err
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(pem) {
			return errors.New("no certificate in " + id.CA)
		}
	}
	if id.Cert == "" {
		return nil
	}
	pair, err := tls.LoadX509KeyPair(id.Cert, id.Key)
	config.Certificates = []tls.Certificate{pair}
	return err
}

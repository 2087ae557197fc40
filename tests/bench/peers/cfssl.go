package main

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/json"
	"errors"
)

// The key of tests/bench/peers.py's configuration.
var cfsslKey = []byte("0123456789abcdef")

// CFSSL's own authsign: a request with an HMAC over it.
func cfsslEnrol(c *client) error {
	key, der, err := newRequest(device())
	if err != nil {
		return err
	}
	request, err := json.Marshal(map[string]any{"certificate_request": toPEM("CERTIFICATE REQUEST", der), "hosts": []string{"device.example"}})
	if err != nil {
		return err
	}
	mac := hmac.New(sha256.New, cfsslKey)
	mac.Write(request)
	var answer struct {
		Success bool
		Result  struct{ Certificate string }
	}
	err = c.postJSON("/api/v1/cfssl/authsign", map[string]any{"token": mac.Sum(nil), "request": request}, &answer)
	if err == nil && !answer.Success {
		err = errors.New("cfssl refused")
	}
	if err != nil {
		return err
	}
	return checkPEM(answer.Result.Certificate, key)
}

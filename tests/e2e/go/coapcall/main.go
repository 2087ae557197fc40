// coapcall makes CoAP requests over DTLS 1.2 with go-coap and pion, which share no code with the server under test. Each line of its standard
// input is a request, a JSON object (struct request below); each becomes a connection of its own, unless it says "again", which uses the one of
// the request before it. For each a line of JSON goes out, in the order of the requests. Block-wise transfer (RFC 7959) is go-coap's.
package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/plgd-dev/go-coap/v3/dtls"
	"github.com/plgd-dev/go-coap/v3/message"
	"github.com/plgd-dev/go-coap/v3/message/pool"
	"github.com/plgd-dev/go-coap/v3/net/blockwise"
	"github.com/plgd-dev/go-coap/v3/options"
	udp "github.com/plgd-dev/go-coap/v3/udp/client"

	"birthmark.test/tools/internal/dial"
)

const lineMax = 1 << 20

type request struct {
	Cert   string  `json:"cert"`
	Key    string  `json:"key"`
	Method string  `json:"method"` // get or post
	Path   string  `json:"path"`
	Query  string  `json:"query"`
	Format *uint16 `json:"format"` // of the body
	Accept *uint32 `json:"accept"`
	Body   []byte  `json:"body"`
	Block  int64   `json:"block"` // bytes: 16 to 1024
	Again  bool    `json:"again"`
}

type answer struct {
	Code   string  `json:"code,omitempty"` // "2.05"
	Format *uint16 `json:"format,omitempty"`
	MaxAge *uint32 `json:"max_age,omitempty"`
	Body   []byte  `json:"body"`
	Error  string  `json:"error,omitempty"`
}

type client struct {
	address, host string
	id            dial.Identity
	conn          *udp.Conn // of the request before
}

func sizeExponent(bytes int64) blockwise.SZX {
	for szx := blockwise.SZX16; szx < blockwise.SZX1024; szx++ {
		if szx.Size() >= bytes && bytes != 0 {
			return szx
		}
	}
	return blockwise.SZX1024
}

func (c *client) connect(r *request) error {
	if r.Again && c.conn != nil {
		return nil
	}
	if c.conn != nil {
		c.conn.Close()
		c.conn = nil
	}
	id := c.id
	id.Cert, id.Key = r.Cert, r.Key
	config, err := id.Config(c.host)
	if err != nil {
		return err
	}
	conn, err := dtls.Dial(c.address, config, options.WithBlockwise(true, sizeExponent(r.Block), id.Timeout))
	if err == nil {
		c.conn = conn
	}
	return err
}

func (c *client) ask(r *request) (*pool.Message, error) {
	ctx, cancel := context.WithTimeout(c.conn.Context(), c.id.Timeout)
	defer cancel()
	var opts message.Options
	if r.Query != "" {
		opts = append(opts, message.Option{ID: message.URIQuery, Value: []byte(r.Query)})
	}
	if r.Accept != nil {
		value := make([]byte, 4)
		n, err := message.EncodeUint32(value, *r.Accept)
		if err != nil {
			return nil, err
		}
		opts = append(opts, message.Option{ID: message.Accept, Value: value[:n]})
	}
	if r.Method == "get" {
		return c.conn.Get(ctx, r.Path, opts...)
	}
	format := message.TextPlain
	if r.Format != nil {
		format = message.MediaType(*r.Format)
	}
	return c.conn.Post(ctx, r.Path, format, bytes.NewReader(r.Body), opts...)
}

func (c *client) exchange(r *request) (a answer) {
	if err := c.connect(r); err != nil {
		a.Error = err.Error()
		return
	}
	got, err := c.ask(r)
	if err != nil {
		a.Error = err.Error()
		return
	}
	code := uint16(got.Code())
	a.Code = fmt.Sprintf("%d.%02d", code>>5, code&31)
	if format, err := got.ContentFormat(); err == nil {
		value := uint16(format)
		a.Format = &value
	}
	if age, err := got.Options().GetUint32(message.MaxAge); err == nil {
		a.MaxAge = &age
	}
	if a.Body, err = got.ReadBody(); err != nil {
		a.Error = err.Error()
	}
	return
}

// Runs the requests i, i + n, i + 2n and so on. A request that says "again" needs n = 1.
func (c *client) run(requests []request, answers []answer, i, n int) {
	for ; i < len(requests); i += n {
		answers[i] = c.exchange(&requests[i])
	}
	if c.conn != nil {
		c.conn.Close()
	}
}

func read() (requests []request) {
	in := bufio.NewScanner(os.Stdin)
	in.Buffer(nil, lineMax)
	for in.Scan() {
		var r request
		if err := json.Unmarshal(in.Bytes(), &r); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(2)
		}
		requests = append(requests, r)
	}
	return
}

func main() {
	var base client
	parallel := flag.Int("parallel", 1, "clients at once")
	flag.StringVar(&base.address, "addr", "", "host:port of the server")
	flag.StringVar(&base.id.CA, "ca", "", "PEM of the roots; without: the server is not checked")
	flag.StringVar(&base.id.Ciphers, "ciphers", "", "cipher suites, comma between them")
	flag.StringVar(&base.id.Curves, "curves", "", "curves, comma between them")
	flag.DurationVar(&base.id.Timeout, "timeout", 30*time.Second, "of a handshake, and of a request")
	flag.DurationVar(&base.id.Flight, "flight", time.Second, "retransmission of handshake messages")
	flag.Parse()
	base.host = base.address[:strings.LastIndex(base.address, ":")]

	requests := read()
	answers := make([]answer, len(requests))
	var all sync.WaitGroup
	for i := 0; i < *parallel; i++ {
		all.Add(1)
		go func(c client, i int) {
			defer all.Done()
			c.run(requests, answers, i, *parallel)
		}(base, i)
	}
	all.Wait()
	out := json.NewEncoder(os.Stdout)
	for i := range answers {
		if err := out.Encode(&answers[i]); err != nil {
			os.Exit(1)
		}
	}
}

// dtlspipe carries datagrams over DTLS 1.2: what a test writes to its standard input, each behind its length in four bytes (network
// order), goes out as one record each, and what comes back is written to standard output in the same form. So a test can say anything
// at all inside of a good connection. The first frame out is a JSON object about the handshake. It ends with its input; exits 1 when
// the handshake fails, with the reason on standard error.
//
// With -idle N it makes N connections instead, one after the other, holds them until its input ends, and tells in that first frame how many there are.
package main

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"time"

	"github.com/pion/dtls/v2"
	dtlsnet "github.com/pion/dtls/v2/pkg/net"

	"birthmark.test/tools/internal/dial"
)

const datagramMax = 65535

type handshake struct {
	Cipher       string   `json:"cipher,omitempty"`
	Certificates [][]byte `json:"certificates,omitempty"` // the server's, DER
	Local        string   `json:"local,omitempty"`
	Idle         int      `json:"idle"`
	Failed       string   `json:"failed,omitempty"` // what ended -idle early
}

func connect(address, from string, id *dial.Identity) (*dtls.Conn, error) {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	config, err := id.Config(host)
	if err != nil {
		return nil, err
	}
	dialer := net.Dialer{}
	if from != "" {
		dialer.LocalAddr = &net.UDPAddr{IP: net.ParseIP(from)}
	}
	udp, err := dialer.Dial("udp", address)
	if err != nil {
		return nil, err
	}
	return dtls.Client(dtlsnet.PacketConnFromConn(udp), udp.RemoteAddr(), config)
}

func writeFrame(out io.Writer, bytes []byte) error {
	_, err := out.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(bytes))), bytes...))
	return err
}

func tell(what handshake) {
	text, err := json.Marshal(what)
	if err == nil {
		err = writeFrame(os.Stdout, text)
	}
	if err != nil {
		fail(err)
	}
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

func outward(conn *dtls.Conn) error {
	in := bufio.NewReader(os.Stdin)
	for {
		var n uint32
		if err := binary.Read(in, binary.BigEndian, &n); err != nil {
			return nil // the test is done
		}
		datagram := make([]byte, n)
		if _, err := io.ReadFull(in, datagram); err != nil {
			return err
		}
		if _, err := conn.Write(datagram); err != nil {
			return err
		}
	}
}

func inward(conn *dtls.Conn) {
	buffer := make([]byte, datagramMax)
	for {
		n, err := conn.Read(buffer)
		if err != nil || writeFrame(os.Stdout, buffer[:n]) != nil {
			os.Stdout.Close()
			return
		}
	}
}

func idle(n int, address, from string, id *dial.Identity) {
	var held []*dtls.Conn
	var got handshake
	for len(held) < n {
		conn, err := connect(address, from, id)
		if err != nil {
			got.Failed = err.Error()
			break
		}
		held = append(held, conn)
	}
	got.Idle = len(held)
	tell(got)
	_, _ = io.Copy(io.Discard, os.Stdin)
	for _, conn := range held {
		conn.Close()
	}
}

func main() {
	var id dial.Identity
	address := flag.String("addr", "", "host:port of the server")
	from := flag.String("from", "", "the address to come from")
	many := flag.Int("idle", 0, "make this many connections and hold them")
	abrupt := flag.Bool("abrupt", false, "leave without a close_notify, as a device that lost power")
	flag.StringVar(&id.CA, "ca", "", "PEM of the roots; without: the server is not checked")
	flag.StringVar(&id.Cert, "cert", "", "PEM of the client's certificate")
	flag.StringVar(&id.Key, "key", "", "PEM of its key")
	flag.StringVar(&id.Ciphers, "ciphers", "", "cipher suites, comma between them")
	flag.StringVar(&id.Curves, "curves", "", "curves, comma between them")
	flag.StringVar(&id.PSK, "psk", "", "a shared key in place of certificates")
	flag.BoolVar(&id.NoEMS, "no-ems", false, "without extended master secret")
	flag.IntVar(&id.MTU, "mtu", 0, "of handshake messages")
	flag.DurationVar(&id.Timeout, "timeout", 20*time.Second, "of the handshake")
	flag.DurationVar(&id.Flight, "flight", time.Second, "retransmission of handshake messages")
	flag.Parse()
	if *many > 0 {
		idle(*many, *address, *from, &id)
		return
	}
	conn, err := connect(*address, *from, &id)
	if err != nil {
		fail(err)
	}
	state := conn.ConnectionState()
	tell(handshake{Cipher: state.CipherSuiteID.String(), Certificates: state.PeerCertificates, Local: conn.LocalAddr().String()})
	go inward(conn)
	if err := outward(conn); err != nil {
		fail(err)
	}
	if !*abrupt {
		conn.Close()
	}
}

// logverify checks RFC 9162 Merkle proofs with an implementation that is not ours. It reads one JSON object per line from standard
// input and prints "ok" or "refused: WHY" for each; it exits 1 when anything was refused and 2 when the input makes no sense.
//
//	{"kind":"inclusion","index":3,"size":8,"leaf":HEX,"root":HEX,"path":[HEX,...]}       leaf: the leaf's data, not its hash
//	{"kind":"consistency","size1":3,"root1":HEX,"size2":8,"root2":HEX,"path":[HEX,...]}
package main

import (
	"bufio"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"

	"github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"
)

const lineMax = 4 << 20

// octets is a byte string that JSON carries as hex.
type octets []byte

func (o *octets) UnmarshalText(text []byte) error {
	raw, err := hex.DecodeString(string(text))
	*o = raw
	return err
}

type claim struct {
	Kind  string   `json:"kind"`
	Index uint64   `json:"index"`
	Size  uint64   `json:"size"`
	Leaf  octets   `json:"leaf"`
	Root  octets   `json:"root"`
	Size1 uint64   `json:"size1"`
	Root1 octets   `json:"root1"`
	Size2 uint64   `json:"size2"`
	Root2 octets   `json:"root2"`
	Path  []octets `json:"path"`
}

func (c claim) hashes() [][]byte {
	all := make([][]byte, len(c.Path))
	for i, h := range c.Path {
		all[i] = h
	}
	return all
}

// RFC 9162 hashes leaves and nodes as RFC 6962 did (section 2.1.1 of both), hence the name of the hasher.
func (c claim) verify() error {
	switch c.Kind {
	case "inclusion":
		leaf := rfc6962.DefaultHasher.HashLeaf(c.Leaf)
		return proof.VerifyInclusion(rfc6962.DefaultHasher, c.Index, c.Size, leaf, c.hashes(), c.Root)
	case "consistency":
		return proof.VerifyConsistency(rfc6962.DefaultHasher, c.Size1, c.Size2, c.hashes(), c.Root1, c.Root2)
	}
	return fmt.Errorf("unknown kind %q", c.Kind)
}

func complain(err error) {
	fmt.Fprintln(os.Stderr, "logverify:", err)
	os.Exit(2)
}

func main() {
	status, claims := 0, 0
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, lineMax)
	for lines.Scan() {
		var c claim
		if err := json.Unmarshal(lines.Bytes(), &c); err != nil {
			complain(err)
		}
		claims++
		if err := c.verify(); err != nil {
			fmt.Println("refused:", err)
			status = 1
			continue
		}
		fmt.Println("ok")
	}
	if err := lines.Err(); err != nil {
		complain(err)
	}
	if claims == 0 {
		complain(fmt.Errorf("no proof on standard input"))
	}
	os.Exit(status)
}

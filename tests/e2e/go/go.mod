module birthmark.test/tools

go 1.19

require (
	github.com/globalsign/est v1.0.6
	github.com/pion/dtls/v2 v2.2.8-0.20231026152330-9cc3df9c3369
	github.com/plgd-dev/go-coap/v3 v3.3.0
	github.com/smallstep/pkcs7 v0.2.1
	github.com/smallstep/scep v0.0.0-20250318231241-a25cabb69492
	github.com/transparency-dev/merkle v0.0.2
	github.com/zmap/zlint/v3 v3.6.1
	golang.org/x/crypto v0.33.0
)

require (
	github.com/ThalesIgnite/crypto11 v1.2.1 // indirect
	github.com/dsnet/golib/memfile v1.0.0 // indirect
	github.com/globalsign/pemfile v1.0.0 // indirect
	github.com/globalsign/tpmkeys v1.0.3 // indirect
	github.com/go-chi/chi v4.1.2+incompatible // indirect
	github.com/google/go-tpm v0.3.2 // indirect
	github.com/hashicorp/errwrap v1.1.0 // indirect
	github.com/hashicorp/go-multierror v1.1.1 // indirect
	github.com/miekg/pkcs11 v1.0.3-0.20190429190417-a667d056470f // indirect
	github.com/pelletier/go-toml v1.9.3 // indirect
	github.com/pion/logging v0.2.2 // indirect
	github.com/pion/transport/v3 v3.0.1 // indirect
	github.com/pkg/errors v0.8.1 // indirect
	github.com/sirupsen/logrus v1.9.0 // indirect
	github.com/thales-e-security/pool v0.0.1 // indirect
	github.com/weppos/publicsuffix-go v0.30.0 // indirect
	github.com/zmap/zcrypto v0.0.0-20230310154051-c8b263fd8300 // indirect
	go.mozilla.org/pkcs7 v0.0.0-20200128120323-432b2356ecb1 // indirect
	go.uber.org/atomic v1.11.0 // indirect
	golang.org/x/exp v0.0.0-20231006140011-7918f672742d // indirect
	golang.org/x/net v0.17.0 // indirect
	golang.org/x/sync v0.4.0 // indirect
	golang.org/x/sys v0.15.0 // indirect
	golang.org/x/term v0.15.0 // indirect
	golang.org/x/text v0.14.0 // indirect
	golang.org/x/time v0.0.0-20210220033141-f8bda1e9f3ba // indirect
)

// what pkcs7 asks for wants a newer Go than Debian 12 has; the little it uses of it (cryptobyte) is in here
replace golang.org/x/crypto => golang.org/x/crypto v0.17.0

module birthmark.test/tpmclient

go 1.18

require (
	github.com/fxamacker/cbor/v2 v2.4.0
	github.com/google/go-tpm v0.3.3
	github.com/mholt/acmez v1.1.0
)

require (
	github.com/x448/float16 v0.8.4 // indirect
	go.uber.org/atomic v1.7.0 // indirect
	go.uber.org/multierr v1.6.0 // indirect
	go.uber.org/zap v1.23.0 // indirect
	golang.org/x/crypto v0.5.0 // indirect
	golang.org/x/net v0.5.0 // indirect
	golang.org/x/sys v0.4.0 // indirect
	golang.org/x/text v0.6.0 // indirect
)

package sender_test

import (
	"crypto/tls"
	"fmt"
	"io"
	"os"
	"testing"

	"go.uber.org/goleak"

	"hookledger/consumers/sender/receivertest"
)

// receiverEnv makes the test binary a receiver: benchmarks run one in another
// process, so that their CPU time is the sender's alone.
const receiverEnv = "SENDER_TEST_RECEIVER"

func TestMain(m *testing.M) {
	if kind := os.Getenv(receiverEnv); kind != "" {
		receive(kind)
		return
	}
	goleak.VerifyTestMain(m)
}

// receive serves until standard input closes, which it does when the parent ends.
func receive(kind string) {
	opts := receivertest.Options{Respond: func(*receivertest.Request) receivertest.Answer {
		return receivertest.Answer{Header: []string{"Content-Type: application/json", "Date: Sun, 01 Nov 2026 10:00:00 GMT"}, Body: `{"ok":true}`}
	}}
	if kind == "any" { // on every address of this machine
		opts.Address = "0.0.0.0:0"
	}
	if kind == "tls" {
		cert, err := tls.LoadX509KeyPair(os.Getenv(receiverEnv+"_CERT"), os.Getenv(receiverEnv+"_KEY"))
		if err != nil {
			panic(err)
		}
		opts.TLS = &tls.Config{Certificates: []tls.Certificate{cert}}
	}
	r, err := receivertest.Start(opts)
	if err != nil {
		panic(err)
	}
	defer r.Close()
	fmt.Println(r.URL())
	_, _ = io.Copy(io.Discard, os.Stdin)
}

package sender_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"hookledger/consumers/sender"
	facts "hookledger/schemas/proto/hookledger/facts/v1"
)

// The benchmarks run 64 sends at a time against a receiver in another process
// and report, beside the usual, µs of CPU per request in this process: go test
// ./consumers/sender -run - -bench 'Send|NetHTTP' -benchmem
func eachKind(b *testing.B, run func(b *testing.B, url string, roots *x509.CertPool)) {
	for _, kind := range []string{"plain", "tls"} {
		b.Run(kind, func(b *testing.B) {
			url, roots := startReceiver(b, kind)
			run(b, url, roots)
		})
	}
}

func startReceiver(b *testing.B, kind string) (string, *x509.CertPool) {
	b.Helper()
	cert := issue(b, "127.0.0.1", time.Hour)
	dir := b.TempDir()
	certFile, keyFile := filepath.Join(dir, "cert"), filepath.Join(dir, "key")
	key, err := x509.MarshalPKCS8PrivateKey(cert.PrivateKey)
	if err != nil {
		b.Fatal(err)
	}
	for file, block := range map[string]*pem.Block{
		certFile: {Type: "CERTIFICATE", Bytes: cert.Certificate[0]},
		keyFile:  {Type: "PRIVATE KEY", Bytes: key},
	} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			b.Fatal(err)
		}
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), receiverEnv+"="+kind, receiverEnv+"_CERT="+certFile, receiverEnv+"_KEY="+keyFile)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		_ = in.Close()
		_ = cmd.Wait()
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		b.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(cert.Leaf)
	return strings.TrimSpace(line) + "/hook?tenant=42", roots
}

func cpu(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func measure(b *testing.B, send func()) {
	b.ReportAllocs()
	b.SetParallelism(32)
	b.ResetTimer()
	before := cpu(b)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			send()
		}
	})
	b.ReportMetric(float64((cpu(b)-before).Nanoseconds())/1000/float64(b.N), "cpu-µs/op")
}

var benchBody = bytes.Repeat([]byte("x"), 1024)

func BenchmarkSend(b *testing.B) {
	eachKind(b, func(b *testing.B, url string, roots *x509.CertPool) {
		s := newSender(b, sender.Options{RootCAs: roots})
		req := request(url, benchBody)
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		measure(b, func() {
			if res := s.Send(ctx, req); res.Outcome != facts.Outcome_OUTCOME_DELIVERED {
				b.Error(res)
			}
		})
		b.ReportMetric(float64(s.Stats().Dials), "dials")
	})
}

// BenchmarkManyHosts sends to 10,000 hosts in no order, where the most
// connections kept decide how often a new one is made: what MaxIdle is worth.
func BenchmarkManyHosts(b *testing.B) {
	for _, idle := range []int{1024, sender.DefaultMaxIdle, 16384} {
		b.Run("idle="+strconv.Itoa(idle), func(b *testing.B) {
			url, _ := startReceiver(b, "any")
			_, tail, _ := strings.Cut(strings.TrimPrefix(url, "http://[::]"), ":")
			s := newSender(b, sender.Options{MaxIdle: idle})
			measure(b, func() {
				host := rand.IntN(10_000)
				url := "http://127.0." + strconv.Itoa(host/250) + "." + strconv.Itoa(1+host%250) + ":" + tail
				if res := s.Send(context.Background(), request(url, benchBody)); res.Outcome != facts.Outcome_OUTCOME_DELIVERED {
					b.Error(res)
				}
			})
			b.ReportMetric(float64(s.Stats().Dials)/float64(b.N), "dials/op")
		})
	}
}

// BenchmarkNetHTTP is the same work with net/http's client and nothing else.
func BenchmarkNetHTTP(b *testing.B) {
	eachKind(b, func(b *testing.B, url string, roots *x509.CertPool) {
		transport := &http.Transport{
			MaxIdleConns: 2048, MaxIdleConnsPerHost: 128, DisableCompression: true,
			TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
		}
		defer transport.CloseIdleConnections()
		client := &http.Client{Transport: transport, Timeout: 15 * time.Second}
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		r := request(url, benchBody)
		measure(b, func() {
			req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(r.Body))
			if err != nil {
				b.Error(err)
				return
			}
			req.GetBody = nil
			own := hmac.New(sha256.New, []byte(r.Secrets.Current))
			own.Write(r.Body)
			std := hmac.New(sha256.New, []byte(r.Secrets.Current[6:]))
			std.Write([]byte(r.MessageID + ".1793527200."))
			std.Write(r.Body)
			for name, value := range map[string]string{
				"Content-Type": "application/json", "User-Agent": "hookledger/dev", "X-Webhook-Id": r.WebhookID, "X-Delivery-Id": r.MessageID,
				"X-Delivery-Attempt-Id": r.AttemptID, "Idempotency-Key": r.MessageID, "X-Event-Type": r.EventType,
				"X-Webhook-Signature": "sha256=" + hex.EncodeToString(own.Sum(nil)), "Webhook-Id": r.MessageID, "Webhook-Timestamp": "1793527200",
				"Webhook-Signature": "v1," + base64.StdEncoding.EncodeToString(std.Sum(nil)),
			} {
				req.Header.Set(name, value)
			}
			resp, err := client.Do(req)
			if err != nil {
				b.Error(err)
				return
			}
			if _, err := io.ReadAll(resp.Body); err != nil {
				b.Error(err)
			}
			_ = resp.Body.Close()
		})
	})
}

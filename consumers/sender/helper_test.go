package sender_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"net"
	"testing"
	"time"

	"hookledger/consumers/sender"
	"hookledger/consumers/sender/egress"
	"hookledger/consumers/sender/receivertest"
)

const (
	// specSecret is the one of the Standard Webhooks test suite.
	specSecret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
	// testSecret is the bytes 0 to 31.
	testSecret = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
)

func newSender(t testing.TB, o sender.Options) *sender.Sender {
	t.Helper()
	if o.Guard == nil {
		g, err := egress.New(egress.Policy{AllowHTTP: true, AllowPrivateNetworks: true})
		if err != nil {
			t.Fatal(err)
		}
		o.Guard = g
	}
	s, err := sender.New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

func startTest(t testing.TB, o receivertest.Options) *receivertest.Receiver {
	t.Helper()
	r, err := receivertest.Start(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	return r
}

func request(url string, body []byte) sender.Request {
	return sender.Request{
		URL: url, Body: body, WebhookID: "wh_golden", MessageID: "del_golden", AttemptID: "att_golden",
		EventType: "export.ready", Secrets: sender.Secrets{Current: testSecret},
		Timestamp: time.Unix(1793527200, 0),
	}
}

// issue makes a self-signed certificate for a host, valid for the given time from an hour ago on.
func issue(t testing.TB, host string, valid time.Duration) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	begin := time.Now().Add(-time.Hour)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: host}, NotBefore: begin, NotAfter: begin.Add(time.Hour + valid),
		BasicConstraintsValid: true, IsCA: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	if ip := net.ParseIP(host); ip != nil {
		template.IPAddresses = []net.IP{ip}
	} else {
		template.DNSNames = []string{host}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}

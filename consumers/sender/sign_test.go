package sender_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"hookledger/consumers/sender"
	"hookledger/consumers/sender/egress"
	"hookledger/consumers/sender/receivertest"
	facts "hookledger/schemas/proto/hookledger/facts/v1"
)

// The vector of the Standard Webhooks test suites, and others made with Python's hmac.
func TestKnownSignatures(t *testing.T) {
	r := startTest(t, receivertest.Options{Keep: -1})
	s := newSender(t, sender.Options{})
	for _, c := range []struct {
		secrets      sender.Secrets
		standard, x_ string
	}{
		{
			sender.Secrets{Current: specSecret},
			"v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
			"sha256=80ec8a89ce3cd22133a1066caecb4d04fea7467657c8514d717ec42c38a5c94c",
		},
		{
			sender.Secrets{Current: specSecret, Former: []sender.Secret{testSecret}},
			"v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE= v1,O4Gjv1HqPqsMrjmczoggs/sWA8gZD0VyHG+fLh4+ktI=",
			"sha256=80ec8a89ce3cd22133a1066caecb4d04fea7467657c8514d717ec42c38a5c94c",
		},
	} {
		req := request(r.URL(), []byte(`{"test": 2432232314}`))
		req.MessageID, req.Timestamp, req.Secrets = "msg_p5jXN8AQM9LWM0D4loKWxJek", time.Unix(1614265330, 0), c.secrets
		if res := s.Send(t.Context(), req); res.Outcome != facts.Outcome_OUTCOME_DELIVERED {
			t.Fatal(res)
		}
		got := r.Requests()[r.Count()-1]
		if h := got.Header("webhook-signature"); h != c.standard {
			t.Errorf("webhook-signature %q, want %q", h, c.standard)
		}
		if h := got.Header("X-Webhook-Signature"); h != c.x_ {
			t.Errorf("X-Webhook-Signature %q, want %q", h, c.x_)
		}
		if err := got.Verify(specSecret); err != nil {
			t.Error(err)
		}
		if err := got.VerifyStandard(testSecret); (err == nil) != (len(c.secrets.Former) > 0) {
			t.Errorf("the old secret verifies: %v", err)
		}
	}
}

// Whatever is sent, the receiver's own HMAC agrees.
func TestSignaturesVerify(t *testing.T) {
	var last *receivertest.Request
	r := startTest(t, receivertest.Options{Respond: func(q *receivertest.Request) receivertest.Answer {
		last = q.Clone()
		return receivertest.Answer{}
	}})
	s := newSender(t, sender.Options{})
	rapid.Check(t, func(rt *rapid.T) {
		body := rapid.SliceOfN(rapid.Byte(), 0, 300).Draw(rt, "body")
		if rapid.IntRange(0, 9).Draw(rt, "large") == 0 {
			body = bytes.Repeat(append(body, 'x'), 300)
		}
		req := request(r.URL(), body)
		req.Test = rapid.Bool().Draw(rt, "test")
		req.Timestamp = time.Unix(rapid.Int64Range(0, 1<<33).Draw(rt, "at"), 0)
		if rapid.Bool().Draw(rt, "overlap") {
			req.Secrets.Former = []sender.Secret{specSecret}
		}
		if res := s.Send(context.Background(), req); res.Outcome != facts.Outcome_OUTCOME_DELIVERED {
			rt.Fatal(res)
		}
		if err := last.Verify(testSecret); err != nil {
			rt.Error(err)
		}
		if len(req.Secrets.Former) > 0 {
			if err := last.VerifyStandard(specSecret); err != nil {
				rt.Error(err)
			}
		}
		if !bytes.Equal(last.Body(), body) {
			rt.Error("the body changed on the way")
		}
		if h, err := last.Parsed(); err != nil || h.ContentLength != int64(len(body)) {
			rt.Errorf("net/http reads it differently: %v", err)
		}
	})
}

// The request as bytes on the wire, for a delivery and for a test event.
func TestGoldenRequests(t *testing.T) {
	body := []byte(`{"id":"evt_1","event":"export.ready","created_at":"2026-11-01T10:00:00.000Z","api_version":"2024-01","data":{"n":1}}`)
	delivery := request("", body)
	delivery.Secrets.Former = []sender.Secret{specSecret}
	test := request("", body)
	test.Test, test.MessageID, test.EventType = true, "evt_test_golden", "test"
	for name, req := range map[string]sender.Request{"delivery": delivery, "test": test} {
		r := startTest(t, receivertest.Options{Keep: 1})
		req.URL = r.URL() + "/hook?tenant=42"
		if res := newSender(t, sender.Options{Version: "1.2.3"}).Send(t.Context(), req); res.Outcome != facts.Outcome_OUTCOME_DELIVERED {
			t.Fatal(res)
		}
		got := bytes.ReplaceAll(r.Requests()[0].Raw(), []byte(r.Addr()), []byte("receiver.example"))
		file := filepath.Join("testdata", name+".golden")
		want, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%s is\n%s\nwant\n%s", file, got, want)
		}
	}
}

func TestWhatCantBeComposedIsNotSent(t *testing.T) {
	r := startTest(t, receivertest.Options{})
	s := newSender(t, sender.Options{})
	for want, change := range map[string]func(*sender.Request){
		"current secret":       func(q *sender.Request) { q.Secrets.Current = "hunter2" },
		"rotate the webhook":   func(q *sender.Request) { q.Secrets.Current = "whsec_hunter2!" },
		"former secret":        func(q *sender.Request) { q.Secrets.Former = []sender.Secret{"whsec_"} },
		"event type":           func(q *sender.Request) { q.EventType = "a\r\nX-Evil: hunter2" },
		"message id":           func(q *sender.Request) { q.MessageID = "ü" },
		"attempt id":           func(q *sender.Request) { q.AttemptID = "\x00" },
		"webhook id":           func(q *sender.Request) { q.WebhookID = "\n" },
		"credentials":          func(q *sender.Request) { q.URL = "http://u:hunter2@127.0.0.1/" },
		"can't be read":        func(q *sender.Request) { q.URL = "http://127.0.0.1:hunter2/" },
		"cloud metadata":       func(q *sender.Request) { q.URL = "http://169.254.169.254/" },
		"at most 2048 are all": func(q *sender.Request) { q.URL = "http://x/" + strings.Repeat("hunter2", 400) },
	} {
		req := request(r.URL(), []byte("{}"))
		change(&req)
		res := s.Send(t.Context(), req)
		if res.Outcome != facts.Outcome_OUTCOME_BLOCKED || res.RequestSent || !strings.Contains(res.Error, want) {
			t.Errorf("%s: %v %q, sent %v", want, res.Outcome, res.Error, res.RequestSent)
		}
		if strings.Contains(res.Error, "hunter2") && want != "event type" {
			t.Errorf("the error shows what it must not: %s", res.Error)
		}
	}
	if r.Connections() != 0 {
		t.Errorf("%d connections were made", r.Connections())
	}
}

func TestSecretsHide(t *testing.T) {
	req := request("https://example.com", nil)
	req.Secrets.Former = []sender.Secret{specSecret}
	var log bytes.Buffer
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "request", req, "secret", req.Secrets.Current)
	slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "request", req, "secret", req.Secrets.Current)
	encoded, err := json.Marshal(req)
	if err != nil {
		t.Fatal(err)
	}
	all := log.String() + string(encoded) + fmt.Sprintf("%v %+v %#v %s %q %x", req, req, req, req.Secrets, req.Secrets, req.Secrets)
	if slices.ContainsFunc([]string{"AAEC", "MfKQ", fmt.Sprintf("%x", "whsec_A")}, func(s string) bool { return strings.Contains(all, s) }) {
		t.Errorf("a secret shows in %s", all)
	}
}

func TestGuardIsRequired(t *testing.T) {
	if _, err := sender.New(sender.Options{}); err == nil || !strings.Contains(err.Error(), "Guard") {
		t.Error(err)
	}
	g, err := egress.New(egress.Policy{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := sender.New(sender.Options{Guard: g, Version: "1\r\n"}); err == nil {
		t.Error("a version with a line break passed")
	}
}

package sender

import (
	"fmt"
	"strconv"
	"time"

	"hookledger/consumers/sender/egress"
)

// Request is one delivery attempt or test event.
type Request struct {
	// URL of the webhook; judged by the egress guard on every send.
	URL string
	// Body is sent and signed byte for byte. It is not changed, and not kept after Send.
	Body []byte
	// WebhookID is the value of X-Webhook-ID.
	WebhookID string
	// MessageID is the delivery's id, or the test event's id if Test.
	MessageID string
	// AttemptID is this attempt's own id; unused if Test.
	AttemptID string
	// EventType is the event's name.
	EventType string
	// Secrets to sign with.
	Secrets Secrets
	// Timestamp of the Standard Webhooks signature; the time of Send if zero.
	Timestamp time.Time
	// Test leaves out the headers that only deliveries have.
	Test bool
}

// appendHead appends the request line and header of req, to the empty line.
func (s *Sender) appendHead(b []byte, target *egress.Target, req *Request, started time.Time) ([]byte, error) {
	for _, f := range [...]struct{ name, value string }{
		{"webhook id", req.WebhookID}, {"message id", req.MessageID}, {"attempt id", req.AttemptID}, {"event type", req.EventType},
	} {
		if !printable(f.value) {
			return b, fmt.Errorf("%s %q can't be a header's value: only printable ASCII can", f.name, f.value)
		}
	}
	at := req.Timestamp
	if at.IsZero() {
		at = started
	}
	b = append(b, "POST "...)
	b = append(b, target.RequestURI...)
	b = append(b, " HTTP/1.1\r\nHost: "...)
	b = append(b, target.Host...)
	b = append(b, "\r\nUser-Agent: "...)
	b = append(b, s.agent...)
	b = append(b, "\r\nContent-Type: application/json\r\nContent-Length: "...)
	b = strconv.AppendInt(b, int64(len(req.Body)), 10)
	b = append(b, "\r\nX-Webhook-ID: "...)
	b = append(b, req.WebhookID...)
	if !req.Test {
		b = append(b, "\r\nX-Delivery-ID: "...)
		b = append(b, req.MessageID...)
		b = append(b, "\r\nX-Delivery-Attempt-ID: "...)
		b = append(b, req.AttemptID...)
		b = append(b, "\r\nIdempotency-Key: "...)
		b = append(b, req.MessageID...)
	}
	b = append(b, "\r\nX-Event-Type: "...)
	b = append(b, req.EventType...)
	b = append(b, "\r\nX-Webhook-Signature: "...)
	b = appendBodySignature(b, req.Secrets.Current, req.Body)
	b = append(b, "\r\nwebhook-id: "...)
	id := len(b)
	b = append(b, req.MessageID...)
	b = append(b, "\r\nwebhook-timestamp: "...)
	b = strconv.AppendInt(b, at.Unix(), 10)

	var scratch [128]byte
	prefix := append(scratch[:0], b[id:id+len(req.MessageID)]...)
	prefix = strconv.AppendInt(append(prefix, '.'), at.Unix(), 10)
	prefix = append(prefix, '.')
	b, err := appendStandardSignature(append(b, "\r\nwebhook-signature: "...), req.Secrets, prefix, req.Body)
	return append(b, "\r\n\r\n"...), err
}

// printable keeps a value from ending its header line.
func printable(v string) bool {
	for i := range len(v) {
		if v[i] < ' ' || v[i] > '~' {
			return false
		}
	}
	return true
}

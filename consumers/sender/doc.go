// Package sender makes one attempt: it signs a request, sends it and says
// exactly what became of it. The dispatcher uses it for deliveries and the API
// for test events. Below it, egress decides where a connection may go.
//
// It promises:
//
//   - One Send is at most one request on the wire, and RequestSent says whether
//     a byte of it left. Nothing is replayed, redirected or proxied.
//   - Every Send ends, within the timeout, in one outcome of the closed set in
//     facts.Outcome, and holds no more than its limits (header 32 KiB, body 64 KiB)
//     whatever the receiver does.
//   - No address is connected to that the egress guard forbids.
//   - Result.Error can be stored and shown to the tenant.
//
// It never retries, never judges whether to retry, never counts what is in
// flight (that is the dispatcher's), and never logs.
//
// # Outcomes
//
// An answer counts only if it arrived whole, up to the body limit. If it breaks
// off in its body, the outcome names what broke it (timeout, reset, protocol,
// interrupted) even after a 2xx, with StatusCode set: the receiver may not have
// done its work, and sending twice is the smaller harm. A body beyond the limit
// is cut, and the status stands. DNS failures are dns also when it was the
// deadline that ended them, since the receiver has no part in that. A closed
// connection in the TLS handshake is reset, what TLS itself refuses is tls. A
// request that can't be composed (a URL that the rules no longer accept, a broken
// secret) is blocked: nothing was sent, and somebody must change something.
//
// # Why not net/http's client
//
// Its parser is used (http.ReadResponse), its Transport is not. The Transport
// replays a POST with an Idempotency-Key header when a kept connection fails,
// and it can't say whether a byte left. It has two goroutines for each
// connection, and costs twice as much: 86 to 89 µs of CPU for a signed request
// of 1 KB, plain or TLS, against 42 to 45 here, of which 18 are system calls
// (BenchmarkNetHTTP and BenchmarkSend: two cores, kept connections, the receiver in
// another process). fasthttp's client takes 37 with a parser of its own and
// has neither of the two properties, so net/http's parser is worth its price.
//
// Here a Send runs in its caller's goroutine and an idle connection costs no
// goroutine. Whether a kept connection still lives is asked by one read that
// doesn't wait, just before use: one that was closed, or on which anything was
// said unasked, is dropped and the next one taken, before a byte is sent. If it
// breaks between that and the write, so that the kernel takes no byte, the Send
// begins once more on a fresh connection: provably nothing had left. If the
// kernel took a byte, the outcome is reset with RequestSent true: the receiver
// may have read it. To make that rare, connections are kept for 30 s at most,
// and a second less than the receiver's Keep-Alive header says.
//
// Connections are bounded by what is in flight (one each) and what is idle
// (4,096 in all, 128 for a host, the longest unused go first). A connection that
// must be made anew costs about 120 µs more, TLS aside: with 10,000 receivers in no
// order that is what the limit decides (BenchmarkManyHosts).
package sender

// Package api is the HTTP API as its specification says it: types and gorilla/mux interface generated from
// openapi.yaml ([ServerInterface]), and what acts on that document at run time, so that no rule of it is written twice:
// [Load] reads it, [Spec.Handler] routes, authorises and validates by it, and package apitest holds every
// answer of a test against it.
//
// It promises that a handler of [ServerInterface] is called only with a request that the specification allows, by a
// caller whom Authorize let pass for the scope that the operation names; and that whatever goes wrong before that, and a
// panic, is answered in the one error shape with X-Request-ID.
//
// It never interprets `data` and `metadata` and never changes a byte of them, never keeps state between requests, and
// never decides about accounts, keys or versions: that is the handlers' work.
//
// Decisions.
//   - Bodies are judged by kin-openapi's schema visitor on a body that this package decoded, not by openapi3filter's
//     ValidateRequest: that one decodes numbers and repeated names its own way, stops at the first unknown field unless
//     told otherwise, and hides which parameter was unknown.
//   - POST /events, the hot path, has a validator written by hand ([ReadEvents]): one pass, no allocation for
//     `data`. A property test and a fuzz target hold its verdicts equal to the specification's.
//   - Authorisation comes before validation: who may not ask is not told what would have been wrong.
//   - An id in a path of a form that is never given out is 404, not 422: to the caller there is no such resource.
//   - A request without Content-Type is read as JSON, as the clients of the platform expect.
//   - HEAD is answered as GET without body. OPTIONS is 405 like any method that a path does not have: its Allow says all that
//     OPTIONS would, and browsers of other origins have no business here.
//   - Accept is not looked at, so 406 is never said: there is one representation, and many clients send odd headers.
//   - A compressed body is 415: a few bytes could become all memory there is, and an Idempotency-Key is compared by
//     the bytes that came. A proxy in front may decompress.
//   - A path with a slash too many is 404 and says which path was meant. A redirect would lose a POST's body, and cost who
//     follows it with each request.
//   - A limit is told of in RateLimit-Limit, -Remaining and -Reset, which most clients that look at limits read. The
//     structured fields RateLimit and RateLimit-Policy of the IETF's draft are not final.
package api

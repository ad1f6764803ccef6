package main

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// The contract is what existing clients send and expect (CONTRACT.md of the
// project). Its lines, in its order, and the tests that hold the program to
// them: by HTTP, against a process of it. Those of the files contract_*_test.go
// share one server, each with an account of its own; those that kill it, cut its
// log or need a second node have their own.
//
// What is silent there and was decided:
//
//   - A webhook's ETag names its version and its figures, so that who polls with
//     If-None-Match sees new figures; If-Match looks at the version only. Deliveries,
//     events and API keys have strong ETags of their content, and no If-Match: what
//     one does to them (retry, revoke, rotate) is judged by what they are, not by
//     what they were.
//   - A row of a list that is there, and passes the filter, all the while comes
//     exactly once, whatever is inserted, changed or deleted between two pages. One
//     whose status changes meanwhile comes at most once, as it was when its page was
//     read. Cursors are good for 7 days, for the same list with the same filters, on
//     every node; any other is 422.
//   - "The first answer again" is its bytes, also those figures that have moved on
//     since. What was refused (4xx) or had no effect (503 that says nothing was
//     accepted) takes no key. POST /events answers a repeat without
//     Idempotency-Replayed: nobody has to know the first request.
//   - A retry of a pending delivery leaves it pending until its try.
//
// TestContractTable checks that each test named here exists, and that no test of
// the contract is missing.
var contract = []struct{ line, tests string }{
	{"JSON in and out, snake_case, timestamps RFC 3339 in UTC with milliseconds", "TestContractWebhookEndpoints TestContractKeyCreate TestTimeIsUTCWithMilliseconds"},
	{"Every response carries X-Request-ID", "TestContractErrors TestContractWebhookEndpoints"}, // and every answer of every test: apitest

	// Authentication
	{"X-API-Key, or Bearer with an API key or JWT; both forms on every endpoint", "TestContractScopes TestContractBadCredentials"},
	{"Scopes form a ladder; which method needs which; GET /webhooks/events is public", "TestContractScopes"},
	{"Everything belongs to an account: another's is a 404, never a 403", "TestContractAccounts"},
	{"/api-keys takes a JWT only", "TestContractScopes"},

	// Errors
	{"One shape everywhere, also for an unknown path, 405, 413, 415 and panics", "TestContractErrors TestFaultsOfOursTellNothing"},
	{"401, 403, 404, 409, 413, 422 with every offending field, 400 for malformed JSON", "TestContractErrors TestContractUnknownFields"},
	{"429 with Retry-After and error.retry_after", "TestRateLimits"},
	{"503 with Retry-After while the log or the history can't be reached", "TestContractAcrossNodes TestGuardAndStandstill"},

	// Webhooks
	{"The table: method, path, answer", "TestContractWebhookEndpoints"},
	{"The table: scope", "TestContractScopes"},
	{"GET deliveries: a bare array, newest first, limit 1 to 100, default 50", "TestContractDeliveryList"},
	{"Paging by Link, X-Next-Cursor and ?cursor=", "TestContractPagingDeliveries TestContractPagingUnderFilter TestContractPagingConfiguration TestContractPagingAttempts TestContractCursors"},
	{"Unknown query parameters and body fields are 422, named", "TestContractUnknownFields"},
	{"The fields of a webhook and their rules", "TestContractWebhookFields TestContractWebhookEndpoints"},
	{"url: https; http only where the operator allows it", "TestGuardAndStandstill TestContractWebhookFields"},
	{"The API keeps the order of events; a field left out stays; null clears index_ids and metadata", "TestContractPatch"},
	{"status; paused, disabled", "TestContractWebhookFields TestPause TestGone"},
	{"failure_count, last_failure_at, last_success_at", "TestContractFigures"},
	{"If-Match is 412; without it a PATCH that lost a race is judged again", "TestContractVersions TestContractAcrossNodes"},
	{"ETag and If-None-Match", "TestContractFigures TestContractEntityTags"},

	// The secret
	{"Returned by create and rotate, never again; whsec_ and the base64 of 32 bytes", "TestContractSecretIsShownOnce"},
	{"Repeating the same create or rotate gives the same secret", "TestContractIdempotency"},
	{"Signed with the decoded bytes, and with the string as it stands", "TestContractReceiverGets"},

	// Filtering and event names
	{"index_id and index_ids", "TestIndexFilter"},
	{"The event names; an operator can add some", "TestContractEventNames"},

	// Idempotency
	{"On every POST and PATCH the first answer again, with Idempotency-Replayed", "TestContractIdempotency TestContractIdempotentTwins"},
	{"Across restarts", "TestContractIdempotencyAcrossRestarts"},
	{"Across nodes", "TestContractAcrossNodes"},
	{"For at least 24 hours", "TestCreateIsRepeatedUntilItsKeyAges"},
	{"Another body: 409 idempotency_request_mismatch", "TestContractIdempotency TestContractAcrossNodes"},
	{"After a deletion the create key makes a webhook anew, with a fresh secret", "TestContractIdempotencyAfterDeletion TestContractAcrossNodes"},
	{"/test and /retry: the recorded answer, or 409 while unanswered", "TestContractIdempotentTwins TestIdempotentCallInProgress TestContractIdempotencyAcrossRestarts TestCalls"},
	{"POST /events: the key becomes the ids; the first content stands, the other goes to the dead letters", "TestContractIdempotentEvents"},

	// Deliveries
	{"The fields of a delivery", "TestContractWebhookEndpoints TestContractDeliveryStatuses"},
	{"pending, retrying, delivered, failed", "TestContractDeliveryStatuses TestPause"},
	{"Retry on delivered is 409, on failed a new round, on retrying and pending now; numbers go on", "TestContractDeliveryStatuses TestManualRetry"},
	{"A new round is retrying, due now, also while paused", "TestContractRetryWhilePaused"},
	{"409 payload_expired", "TestContractPayloadExpired"},
	{"Cancelled by a deletion: failed, end cancelled; deliveries stay readable, their retry is 409", "TestContractDeletedWebhook"},

	// What a receiver gets
	{"The body; metadata left out when null; each header; both signatures", "TestContractReceiverGets"},
	{"Overlap of a rotation, to 7 days, default 0", "TestContractRotationOverlap"},
	{"The same bytes on every attempt; data verbatim; payload is what was sent", "TestContractPayload TestContractReceiverGets TestDataIsTheBytesThatWereSent"},
	{"Test events", "TestContractTestEvent"},
	{"Any 2xx is success; redirects are not followed", "TestContractAny2xx"},

	// API keys
	{"POST /api-keys: fields, defaults, bounds, the key shown once; GET", "TestContractKeyCreate"},
	{"DELETE, revoke, rotate", "TestContractKeyEnds"},
}

// The table names tests that exist, and all that are named after the contract.
func TestContractTable(t *testing.T) {
	t.Parallel()
	declared := regexp.MustCompile(`(?m)^func (Test\w+)\(t \*testing\.T\)`)
	known := map[string]bool{}
	for _, dir := range []string{".", "../../schemas/api", "../../projections/subscriptions"} {
		files, err := filepath.Glob(filepath.Join(dir, "*_test.go"))
		if err != nil || len(files) == 0 {
			t.Fatalf("%s has no tests: %v", dir, err)
		}
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range declared.FindAllSubmatch(text, -1) {
				known[string(m[1])] = true
			}
		}
	}
	var named []string
	for _, row := range contract {
		for name := range strings.FieldsSeq(row.tests) {
			named = append(named, name)
			if !known[name] {
				t.Errorf("%q names %s, which is not there", row.line, name)
			}
		}
	}
	for name := range known {
		if strings.HasPrefix(name, "TestContract") && name != "TestContractTable" && !slices.Contains(named, name) {
			t.Errorf("%s stands for no line of the contract", name)
		}
	}
}

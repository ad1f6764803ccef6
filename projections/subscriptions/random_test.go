package subscriptions

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"testing"

	diff "github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"hookledger/ledger/ids"
	facts "hookledger/schemas/proto/hookledger/facts/v1"
)

// logged is a record of the simulated log.
type logged struct {
	time int64
	fact *facts.ConfigFact
}

// world is three nodes, each with a fold that lags as it likes, over one log.
type world struct {
	*rapid.T
	log      [testPartitions][]logged
	verdicts [testPartitions][]Verdict // as the first node that got there said
	nodes    [3]*Fold
	clock    int64
	drawn    uint64
	calls    [][]byte
	keys     []string
}

var (
	worldAccounts = []string{"a", "b", "globex"} // both partitions, and two in one
	worldEvents   = []string{"export.ready", "export.failed", "media.created"}
	worldIndexes  = []string{"i1", "i2", "i3"}
)

func (w *world) id() []byte {
	w.drawn++
	// Spread, so that the order of ids is not that of creation.
	id := testID(w.drawn * 0x9E3779B97F4A7C15)
	return id[:]
}

func (w *world) sealed() *facts.Sealed { return &facts.Sealed{KeyId: "s", Box: w.id()} }

func (w *world) chance(label string, percent int) bool {
	return rapid.IntRange(0, 99).Draw(w.T, label) < percent
}

func (w *world) subset(of []string, label string) []string {
	return slices.Clone(rapid.SliceOfN(rapid.SampledFrom(of), 0, 4).Draw(w.T, label))
}

// webhook is what the node knows: living ones mostly, sometimes one that is
// gone, or somebody else's.
func (w *world) webhook(f *Fold, account string) *Webhook {
	if w.chance("stranger", 10) {
		account = rapid.SampledFrom(worldAccounts).Draw(w.T, "whose")
	}
	list, _ := f.Webhooks(account, Newest, 100)
	if len(list) == 0 {
		return &Webhook{ID: ids.ID(w.id()), Account: account, Version: 1, Status: active}
	}
	return rapid.SampledFrom(list).Draw(w.T, "webhook")
}

func (w *world) change(f *Fold, account string) *facts.ConfigFact {
	limit := rapid.Uint32Range(1, 6).Draw(w.T, "limit")
	at := func() (*Webhook, []byte) { h := w.webhook(f, account); return h, slices.Clone(h.ID[:]) }
	apiKey := func() *facts.ApiKey {
		id := w.id()
		key := fmt.Sprintf("%x", id)
		w.keys = append(w.keys, key)
		return &facts.ApiKey{KeyId: key, KeyHash: append(id, id...), CreatedMs: w.clock}
	}
	someKey := func() string {
		if len(w.keys) == 0 {
			return "none"
		}
		return rapid.SampledFrom(w.keys).Draw(w.T, "key")
	}
	c := new(facts.ConfigFact)
	switch rapid.SampledFrom(strings.Fields("create create create update update update rotate disable delete call call answer answer key rotate-key revoke-key delete-key")).Draw(w.T, "change") {
	case "create":
		c.Change = &facts.ConfigFact_WebhookCreated{WebhookCreated: &facts.WebhookCreated{Limit: limit, Secret: w.sealed(), Webhook: &facts.Webhook{
			WebhookId: w.id(), Url: "u", Events: w.subset(worldEvents, "events"), IndexIds: w.subset(worldIndexes, "indexes"),
			Status: active, CreatedMs: w.clock, Version: 1, Metadata: []byte(rapid.SampledFrom([]string{"", "{}"}).Draw(w.T, "metadata")),
		}}}
	case "update":
		h, _ := at()
		u := h.Fact()
		u.Version++
		switch rapid.SampledFrom(strings.Fields("name url events indexes metadata active paused")).Draw(w.T, "field") {
		case "name":
			u.Name += "x"
		case "url":
			u.Url += "/x"
		case "events":
			u.Events = w.subset(worldEvents, "events")
		case "indexes":
			u.IndexIds = w.subset(worldIndexes, "indexes")
			u.IndexIdsSet = len(u.GetIndexIds()) > 0
		case "metadata":
			u.Metadata = []byte(rapid.SampledFrom([]string{"", "{}", "{1}"}).Draw(w.T, "metadata"))
		case "active":
			u.Status = active
		case "paused":
			u.Status = paused
		}
		c.Change = &facts.ConfigFact_WebhookUpdated{WebhookUpdated: &facts.WebhookUpdated{ExpectedVersion: h.Version, Webhook: u}}
	case "rotate":
		h, id := at()
		until := rapid.SampledFrom([]int64{0, w.clock + hour, w.clock + 48*hour}).Draw(w.T, "until")
		c.Change = &facts.ConfigFact_SecretRotated{SecretRotated: &facts.SecretRotated{WebhookId: id, ExpectedVersion: h.Version, Secret: w.sealed(), OverlapUntilMs: until}}
	case "disable":
		h, id := at()
		c.Change = &facts.ConfigFact_WebhookDisabled{WebhookDisabled: &facts.WebhookDisabled{
			WebhookId: id, ExpectedVersion: max(1, h.Version-rapid.Uint64Range(0, 1).Draw(w.T, "behind")), Reason: "gone",
		}}
	case "delete":
		h, id := at()
		c.Change = &facts.ConfigFact_WebhookDeleted{WebhookDeleted: &facts.WebhookDeleted{
			WebhookId: id, ExpectedVersion: h.Version * rapid.Uint64Range(0, 1).Draw(w.T, "if match"),
		}}
	case "call":
		_, id := at()
		c.Change = &facts.ConfigFact_CallStarted{CallStarted: &facts.CallStarted{WebhookId: id}}
	case "answer":
		started := w.id()
		if len(w.calls) > 0 {
			started = rapid.SampledFrom(w.calls).Draw(w.T, "call")
		}
		c.Change = &facts.ConfigFact_CallAnswered{CallAnswered: &facts.CallAnswered{
			StartedId: started, Status: rapid.SampledFrom([]uint32{0, 200, 200}).Draw(w.T, "status"),
		}}
	case "key":
		c.Change = &facts.ConfigFact_ApiKeyCreated{ApiKeyCreated: &facts.ApiKeyCreated{Key: apiKey(), Limit: limit}}
	case "rotate-key":
		old := someKey()
		c.Change = &facts.ConfigFact_ApiKeyRotated{ApiKeyRotated: &facts.ApiKeyRotated{OldKeyId: old, Key: apiKey()}}
	case "revoke-key":
		c.Change = &facts.ConfigFact_ApiKeyRevoked{ApiKeyRevoked: &facts.ApiKeyRevoked{KeyId: someKey()}}
	case "delete-key":
		c.Change = &facts.ConfigFact_ApiKeyDeleted{ApiKeyDeleted: &facts.ApiKeyDeleted{KeyId: someKey()}}
	}
	return c
}

// command is a node that makes a fact of what it knows, and appends it with
// its own idea of the time, which may jump.
func (w *world) command(node int) {
	f := w.nodes[node]
	account := rapid.SampledFrom(worldAccounts).Draw(w.T, "account")
	w.clock += rapid.SampledFrom([]int64{0, 0, 0, 0, 0, 0, 1, 1, 1000, 1000, ClaimLife - 1, ClaimLife, hour, 12 * hour}).Draw(w.T, "passes")
	skew := rapid.SampledFrom([]int64{0, 0, 0, -hour, 30_000, -ClaimLife}).Draw(w.T, "skew")
	fact := w.change(f, account)
	fact.FactId, fact.Rules, fact.Account, fact.AtMs = w.id(), Rules, account, w.clock+skew
	started := fact.GetCallStarted() != nil
	if started || idempotent(&facts.ConfigFact{Change: fact.GetChange(), Idempotency: idem(1, 1)}) && w.chance("idempotent", 60) {
		fact.Idempotency = idem(rapid.ByteRange(1, 4).Draw(w.T, "key"), rapid.ByteRange(1, 5).Draw(w.T, "body")/4+1)
		fact.Idempotency.KeyHash[1] = account[0]
	}
	if f.Precheck(fact).Kind != Applied && w.chance("checked", 50) {
		return
	}
	if started {
		w.calls = append(w.calls, fact.GetFactId())
	}
	p := testPartition(account)
	w.log[p] = append(w.log[p], logged{fact.GetAtMs(), fact})
}

// follow lets a node apply up to n more records of a partition.
func (w *world) follow(node int, p int32, n int) {
	f := w.nodes[node]
	for ; n > 0 && f.Next(p) < int64(len(w.log[p])); n-- {
		at := f.Next(p)
		r := w.log[p][at]
		// A copy, as decoding makes one: nodes share nothing.
		v, err := f.Apply(p, at, r.time, proto.CloneOf(r.fact))
		if err != nil {
			w.Fatal(err)
		}
		if int(at) == len(w.verdicts[p]) {
			w.verdicts[p] = append(w.verdicts[p], v)
		} else if d := diff.Diff(w.verdicts[p][at], v, diff.AllowUnexported(Webhook{})); d != "" {
			w.Fatalf("node %d judges config/%d/%d otherwise:\n%s", node, p, at, d)
		}
	}
}

// restart throws a node's memory away and starts it from its snapshot, or from nothing.
func (w *world) restart(node int) {
	fresh := New(testPartitions, testPartition)
	if w.chance("snapshot", 70) {
		parts := make([]savedPart, testPartitions)
		for p := range parts {
			parts[p] = w.nodes[node].save(p)
		}
		head := snapshotHead{Format: snapshotFormat, Partitions: testPartitions}
		b, err := encodeSnapshot(head, parts)
		if err != nil {
			w.Fatal(err)
		}
		if parts, err = decodeSnapshot(b, head); err != nil {
			w.Fatal(err)
		}
		for p, s := range parts {
			fresh.restore(p, s)
		}
	}
	w.nodes[node] = fresh
}

// check brings every node to the end and compares them with each other and with the model.
func (w *world) check() {
	for node := range w.nodes {
		for p := range int32(testPartitions) {
			w.follow(node, p, len(w.log[p]))
		}
	}
	for p := range w.log {
		first := w.nodes[0].save(p)
		for node := 1; node < len(w.nodes); node++ {
			if d := diff.Diff(first, w.nodes[node].save(p), diff.AllowUnexported(Webhook{})); d != "" {
				w.Fatalf("nodes 0 and %d differ in partition %d:\n%s", node, p, d)
			}
		}
		m := new(model)
		for at, r := range w.log[p] {
			want, got := m.apply(int64(at), r.time, r.fact), w.verdicts[p][at]
			if got.Kind != want.Kind || got.First != want.First || got.Version != want.Version ||
				got.Deleted != want.Deleted || got.Allowed != want.Allowed || got.Offset != int64(at) {
				w.Fatalf("config/%d/%d: the fold says %+v, the model %+v", p, at, got, want)
			}
		}
		w.compare(int32(p), m)
	}
}

func (w *world) compare(p int32, m *model) {
	f := w.nodes[0]
	for _, h := range m.hooks {
		id := ids.ID([]byte(h.id))
		got, ok := f.Webhook(h.account, id)
		if _, gone := f.Tombstone(id); ok == h.deleted || gone != h.deleted {
			w.Fatalf("webhook %x: there %v, tombstone %v, model says deleted %v", id, ok, gone, h.deleted)
		}
		if !ok {
			continue
		}
		var secrets []string
		var until []int64
		secrets = append(secrets, string(got.Secret.Box))
		for _, s := range got.Former {
			secrets, until = append(secrets, string(s.Sealed.Box)), append(until, s.UntilMs)
		}
		if got.Name != h.name || got.URL != h.url || got.Status != h.status || got.DisabledReason != h.reason ||
			string(got.Metadata) != h.metadata || got.MetadataOffset != h.metadataAt || got.Version != h.version ||
			!slices.Equal(secrets, h.secrets) || !slices.Equal(until, h.until) {
			w.Fatalf("webhook %+v, model %+v", got, h)
		}
	}
	for _, account := range worldAccounts {
		if testPartition(account) != p {
			continue
		}
		for _, event := range append(worldEvents, "unknown") {
			for _, index := range append(worldIndexes, "", "unknown") {
				var want []ids.ID
				for _, h := range m.hooks {
					if h.account == account && h.matches(event, index) {
						want = append(want, ids.ID([]byte(h.id)))
					}
				}
				slices.SortFunc(want, func(a, b ids.ID) int { return cmp.Compare(string(a[:]), string(b[:])) })
				var got []ids.ID
				for _, h := range f.Match(nil, account, event, index) {
					got = append(got, h.ID)
				}
				if !slices.Equal(got, want) {
					w.Fatalf("%s, %s, %q goes to %x, want %x", account, event, index, got, want)
				}
			}
		}
	}
	for _, k := range m.keys {
		got, ok := f.APIKey(k.account, k.id)
		if ok == k.deleted || ok && (got.RevokedMs != 0) != k.revoked {
			w.Fatalf("API key %+v, there %v; model %+v", got, ok, k)
		}
		if ok {
			if found, _ := f.KeyByHash(got.Hash); found != got {
				w.Fatalf("API key %s is not found by its hash", k.id)
			}
		}
	}
}

// TestRandomCommands: three nodes, one log; all end equal, and equal to the
// model. More: go test -run RandomCommands -rapid.checks=10000 ./projections/subscriptions
func TestRandomCommands(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := &world{T: t, clock: start}
		for i := range w.nodes {
			w.nodes[i] = New(testPartitions, testPartition)
		}
		node := rapid.IntRange(0, len(w.nodes)-1)
		for range rapid.IntRange(20, 150).Draw(t, "steps") {
			n := node.Draw(t, "node")
			switch step := rapid.IntRange(0, 99).Draw(t, "step"); {
			case step < 60:
				w.command(n)
			case step < 97:
				w.follow(n, rapid.Int32Range(0, testPartitions-1).Draw(t, "partition"), rapid.IntRange(1, 20).Draw(t, "records"))
			default:
				w.restart(n)
			}
		}
		w.check()
	})
}

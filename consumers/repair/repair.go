package repair

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"hookledger/ledger"
	"hookledger/ledger/ids"
	"hookledger/projections/history"
	"hookledger/projections/subscriptions"
	facts "hookledger/schemas/proto/hookledger/facts/v1"
)

// Options of Examine. All are required.
type Options struct {
	Log     *ledger.Log
	History *history.History
	// Known says whether `config` has a webhook that is not deleted.
	Known func(webhook ids.ID) bool
	// Actor is who repairs, as the record names them.
	Actor string
	Now   func() time.Time
	// Moving: a server works on the log meanwhile, so what would need a still one
	// is not looked at.
	Moving bool
}

// Finding is one thing that is wrong, and what mends it.
type Finding struct {
	// Where is topic/partition.
	Where string
	// What was found, and Plan what is done about it; empty where nothing can be.
	What, Plan string
	// Facts are details: what is known of what was lost.
	Facts []string

	mend func(ctx context.Context) error
}

// Mendable says whether Mend does anything about it.
func (f *Finding) Mendable() bool { return f.mend != nil }

// Report is what Examine found, in the order in which it is mended.
type Report struct {
	Findings []*Finding
	o        Options
}

// Mendable says whether there is anything to do.
func (r *Report) Mendable() bool {
	for _, f := range r.Findings {
		if f.Mendable() {
			return true
		}
	}
	return false
}

// Account is where the facts about repairs lie.
const Account = "hookledger"

// Mend carries out what the findings plan, and tells done of each. It is on the
// record before the first, and as a whole after the last.
func (r *Report) Mend(ctx context.Context, done func(*Finding)) error {
	started, err := ids.Random(rand.Reader)
	if err != nil {
		return err
	}
	key, err := ids.Random(rand.Reader)
	if err != nil {
		return err
	}
	type line struct {
		Where string   `json:"where"`
		What  string   `json:"what"`
		Done  string   `json:"done"`
		Facts []string `json:"facts,omitempty"`
	}
	var lines []line
	for _, f := range r.Findings {
		lines = append(lines, line{f.Where, f.What, f.Plan, f.Facts})
	}
	body, err := json.Marshal(map[string]any{"repaired": lines})
	if err != nil {
		return err
	}
	// `config` may have to be brought to its end before it takes a fact.
	say := func() error { return nil }
	begin := func(where string) error {
		say = func() error {
			return r.say(ctx, &facts.ConfigFact{Change: &facts.ConfigFact_CallAnswered{
				CallAnswered: &facts.CallAnswered{StartedId: started[:], Status: 200, Body: body},
			}})
		}
		return r.say(ctx, &facts.ConfigFact{
			FactId: started[:], Idempotency: &facts.Idempotency{KeyHash: key[:], RequestHash: key[:]},
			Change: &facts.ConfigFact_CallStarted{CallStarted: &facts.CallStarted{Operation: "repair", Target: where}},
		})
	}
	begun := false
	for _, f := range r.Findings {
		if !f.Mendable() {
			continue
		}
		first := strings.HasPrefix(f.Where, string(ledger.Config))
		if !first && !begun {
			begun = true
			if err := begin(f.Where); err != nil {
				return err
			}
		}
		if err := f.mend(ctx); err != nil {
			return fmt.Errorf("%s: %w", f.Where, err)
		}
		done(f)
	}
	if !begun {
		if err := begin(string(ledger.Config)); err != nil {
			return err
		}
	}
	if err := say(); err != nil {
		return err
	}
	return r.o.Log.Synced(ctx)
}

// say appends a fact about the repair to `config`.
func (r *Report) say(ctx context.Context, f *facts.ConfigFact) error {
	if f.GetFactId() == nil {
		id, err := ids.Random(rand.Reader)
		if err != nil {
			return err
		}
		f.FactId = id[:]
	}
	f.Rules, f.Account, f.AtMs = subscriptions.Rules, Account, r.o.Now().UnixMilli()
	f.Actor = &facts.Actor{Kind: facts.ActorKind_ACTOR_KIND_OPERATOR, Id: r.o.Actor}
	if _, err := r.o.Log.Append(ctx, r.o.Log.ConfigRecord(f)); err != nil {
		return fmt.Errorf("put the repair on the record: %w", err)
	}
	return r.o.Log.Synced(ctx)
}

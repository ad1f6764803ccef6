package partition

import (
	"fmt"

	"hookledger/ledger/ids"
	facts "hookledger/schemas/proto/hookledger/facts/v1"
)

// judge knows everything that happened, and checks the promises against it.
type judge struct {
	w       *world
	marks   sources
	known   map[ids.ID]*judged
	order   []*judged // by offset of `deliveries`
	tries   map[ids.ID]*try
	last    map[tryKey]*try
	done    map[tryKey]bool  // its fact was acknowledged to the valid owner
	ended   map[roundKey]int // lowest offset of a terminal fact
	closed  map[roundKey]bool
	byID    map[string]*facts.AttemptFact
	asked   map[uint64]string
	refused map[uint64]bool
	retries map[uint64]*facts.DeliveryRetry
	inLanes []*facts.AttemptFact
}

// judged is an accepted delivery, and what the API would say of it.
type judged struct {
	id       ids.ID
	hook     *hook
	opened   uint64 // the offset of the accepted request
	tried    bool
	round    uint64
	end      facts.End
	attempts uint32
	content  *facts.Content
	subject  *facts.Subject
	facts    []*facts.AttemptFact
}

type try struct {
	id      ids.ID
	key     tryKey
	p       *proc
	life    int
	repeat  bool
	outcome facts.Outcome
}

type tryKey struct {
	delivery ids.ID
	round    uint64
	number   uint32
}

type roundKey struct {
	delivery ids.ID
	round    uint64
}

func newJudge(w *world) *judge {
	return &judge{
		w: w, marks: make(sources), known: make(map[ids.ID]*judged), tries: make(map[ids.ID]*try), last: make(map[tryKey]*try),
		done: make(map[tryKey]bool), ended: make(map[roundKey]int), closed: make(map[roundKey]bool), byID: make(map[string]*facts.AttemptFact),
		asked: make(map[uint64]string), refused: make(map[uint64]bool), retries: make(map[uint64]*facts.DeliveryRetry),
	}
}

// request folds a request by the rule of sources: what is accepted is owed.
func (j *judge) request(at uint64, d ids.ID, h *hook, c *facts.Content, part, event int) bool {
	if !j.marks.accept(c.GetSource(), h.id) {
		return false
	}
	if j.known[d] != nil {
		j.w.fail("the model accepts %s twice", name(d))
	}
	webhook := h.id
	x := &judged{
		id: d, hook: h, opened: at, round: at, content: c,
		subject: &facts.Subject{DeliveryId: d[:], WebhookId: webhook[:], Account: "a", EventId: fmt.Sprint(part, "/", event)},
	}
	j.known[d] = x
	j.order = append(j.order, x)
	return true
}

func (j *judge) retry(at uint64, r *facts.DeliveryRetry) { j.retries[at] = r }

func (j *judge) view(d ids.ID) *judged { return j.known[d] }

// send checks a try at the moment at which it starts.
func (j *judge) send(p *proc, s *Send, h *hook) {
	w := j.w
	d := deliveryOf(s.Subject)
	w.stats.sends++
	w.say("%s sends %s round %d number %d as %d repeat=%v", p.name, name(d), s.Round, s.Number, counterOf(s.AttemptID[:]), s.MaybeRepeat)
	x := j.known[d]
	if x == nil {
		w.fail("%s is sent and was never accepted", name(d))
		return
	}
	if h.state != Active {
		w.fail("%s is sent while its webhook is in state %d", name(d), h.state)
	}
	if string(s.Content.GetBodyHash()) != string(x.content.GetBodyHash()) || s.Content.GetMetadataOffset() != x.content.GetMetadataOffset() {
		w.fail("%s is sent with other bytes", name(d))
	}
	key, round := tryKey{d, s.Round, s.Number}, roundKey{d, s.Round}
	if epoch := epochOf(s.AttemptID[:]); epoch != w.epoch {
		w.fail("%s is sent under epoch %d, while %d owns the partition", name(d), epoch, w.epoch)
	}
	if r := j.retries[s.Round]; r != nil {
		for i, f := range w.attempts[:p.readers[LogAttempts].next] {
			if deliveryOf(f.GetSubject()) == d && f.GetRound() > r.GetRound() && f.GetRound() < s.Round && f.GetKind() != facts.FactKind_FACT_KIND_RETRY_REFUSED {
				w.fail("the retry D%d of round %d opened a round although A%d is of a newer one", s.Round, r.GetRound(), i)
			}
		}
	}
	if at, ok := j.ended[round]; ok && at < int(p.readers[LogAttempts].next) {
		w.fail("%s is sent again although %s has read the end of round %d at A%d", name(d), p.name, s.Round, at)
	}
	if j.closed[round] {
		w.fail("%s is sent again although the end of round %d was acknowledged to the owner", name(d), s.Round)
	}
	if before := j.last[key]; before != nil {
		w.stats.repeats++
		if !s.MaybeRepeat {
			w.fail("attempt %d of %s is sent again, unmarked", s.Number, name(d))
		}
		if j.done[key] {
			w.fail("attempt %d of %s is sent again although its fact was acknowledged to the owner", s.Number, name(d))
		}
		if before.p == p && before.life == p.lives && before.id != s.AttemptID && epochOf(before.id[:]) == epochOf(s.AttemptID[:]) {
			w.fail("attempt %d of %s is sent twice by one owner", s.Number, name(d))
		}
	}
	if s.Number > 1 && s.Number > x.attempts+1 {
		w.fail("%s is sent as number %d after %d attempts", name(d), s.Number, x.attempts)
	}
	if !x.tried && s.Round == x.opened {
		x.tried = true
		for _, older := range j.order {
			if older.opened >= x.opened {
				break
			}
			_, over := j.ended[roundKey{older.id, older.opened}]
			if older.hook == h && !older.tried && !over {
				w.fail("%s overtakes %s", name(d), name(older.id))
			}
		}
	}
	t := &try{id: s.AttemptID, key: key, p: p, life: p.lives, repeat: s.MaybeRepeat}
	if j.tries[s.AttemptID] != nil {
		w.fail("attempt id %x is used twice", s.AttemptID)
	}
	j.tries[s.AttemptID], j.last[key] = t, t
}

func (j *judge) result(id ids.ID, o facts.Outcome) { j.tries[id].outcome = o }

// unsent takes a try back: nothing was sent.
func (j *judge) unsent(id ids.ID) {
	t := j.tries[id]
	delete(j.tries, id)
	if j.last[t.key] == t {
		delete(j.last, t.key)
	}
}

// crashed notes the tries whose results no one will hear.
func (j *judge) crashed(*proc) {}

func (j *judge) lane(_ int64, r *facts.LaneRecord) {
	if f := r.GetWaiting().GetFact(); isAttempt(f) && !r.GetCarried() {
		j.inLanes = append(j.inLanes, f)
	}
}

// fact follows a fact that landed.
func (j *judge) fact(at int64, f *facts.AttemptFact) {
	id := string(f.GetFactId())
	first := j.byID[id] == nil
	if first {
		j.byID[id] = f
	}
	d := deliveryOf(f.GetSubject())
	x := j.known[d]
	if x == nil {
		j.w.fail("a fact about %s, which was never accepted", name(d))
		return
	}
	if f.GetKind() == facts.FactKind_FACT_KIND_RETRY_REFUSED {
		j.refused[f.GetCommandOffset()] = true
		return
	}
	x.facts = append(x.facts, f)
	switch f.GetKind() {
	case facts.FactKind_FACT_KIND_ATTEMPT:
		t := j.tries[ids.ID(f.GetFactId())]
		switch {
		case t == nil:
			j.w.fail("a fact without a try: %s", factText(f))
		case t.outcome != f.GetOutcome() || t.key != tryKey{d, f.GetRound(), f.GetAttempt()} || t.repeat != f.GetMaybeRepeat():
			j.w.fail("a fact that differs from its try: %s", factText(f))
		}
		x.attempts = max(x.attempts, f.GetAttempt())
	case facts.FactKind_FACT_KIND_RETRY_ASKED:
		if was := j.asked[f.GetCommandOffset()]; was != "" && was != id {
			j.w.fail("the retry D%d was applied twice", f.GetCommandOffset())
		}
		j.asked[f.GetCommandOffset()] = id
	default:
	}
	if f.GetRound() > x.round {
		x.round, x.end = f.GetRound(), 0
	}
	if f.GetRound() == x.round {
		x.end = max(x.end, f.GetEnd())
	}
	if f.GetEnd() != facts.End_END_UNSPECIFIED {
		key := roundKey{d, f.GetRound()}
		if _, ok := j.ended[key]; !ok {
			j.ended[key] = int(at)
		}
	}
}

// acked notes what the valid owner knows to be durable.
func (j *judge) acked(p *proc, f *facts.AttemptFact) {
	if f == nil || f.GetEpoch() != j.w.epoch || p.m.t.mode != owning || p.m.t.epoch != j.w.epoch {
		return
	}
	d := deliveryOf(f.GetSubject())
	if isAttempt(f) {
		j.done[tryKey{d, f.GetRound(), f.GetAttempt()}] = true
	}
	if f.GetEnd() != facts.End_END_UNSPECIFIED {
		j.closed[roundKey{d, f.GetRound()}] = true
	}
}

// final checks what must hold when everything has come to rest.
func (j *judge) final() {
	w := j.w
	for _, x := range j.order {
		rounds := map[uint64]bool{x.opened: true}
		for _, f := range x.facts {
			rounds[f.GetRound()] = true
		}
		for r := range rounds {
			if _, ok := j.ended[roundKey{x.id, r}]; !ok {
				w.fail("lost: round %d of %s has no end", r, name(x.id))
			}
		}
	}
	for at, r := range j.retries {
		d := deliveryOf(r.GetSubject())
		taken := j.refused[at]
		for _, f := range j.known[d].facts {
			if f.GetUpto() >= at || f.GetRound() == at {
				taken = true
			}
		}
		if j.refused[at] && j.asked[at] != "" {
			w.fail("the retry D%d of %s was applied and refused", at, name(d))
		}
		if !taken {
			w.fail("lost: the retry D%d of %s", at, name(d))
		}
	}
	for _, t := range j.tries {
		if t.outcome != 0 && t.p.alive && t.p.lives == t.life && j.byID[string(t.id[:])] == nil {
			w.fail("lost: the fact of attempt %d of %s", t.key.number, name(t.key.delivery))
		}
	}
	for _, f := range j.inLanes {
		if j.byID[string(f.GetFactId())] == nil {
			w.fail("lost: a fact that was in `lanes`: %s", factText(f))
		}
	}
}

package partition

import (
	"math"
	"time"

	"hookledger/ledger/ids"
	facts "hookledger/schemas/proto/hookledger/facts/v1"
)

// mode is how far a claim has come.
type mode uint8

const (
	idle       mode = iota // owns nothing, wants nothing
	deposed                // lost to another owner record; claims anew when the group confirms it
	reading                // reads `lanes` to its end
	claiming               // its owner record is not read back yet
	folding                // reads `attempts`
	completing             // appends the facts that lane records have and `attempts` lacks
	opening                // asks for the bounds of `deliveries`
	owning
)

// tenure is everything that belongs to one claim: what the logs said, and what
// this owner has done since. It is thrown away as a whole.
type tenure struct {
	mode mode
	now  Time // of the last input

	// lanes
	lanesStart, lanesPos, lanesEnd int64
	lanesOpen                      bool
	epoch                          uint64 // the valid owner, at lanesPos
	base                           uint64 // the valid owner at lanesStart, as far as records name it
	claim                          ids.ID // key of this machine's owner record
	claimWork                      *work
	checkpoint                     *facts.Checkpoint
	checkpointAt                   int64
	clean                          bool // nothing valid followed a clean checkpoint
	live                           live
	ix                             *index
	candidates                     []candidate // lane records with a fact, above the floor
	wanted                         map[ids.ID]*laneHold
	incomplete                     int
	firstCandidate                 int
	former                         map[ids.ID][]former // without ruleReplaces
	laneHolds                      queue[*laneHold]
	loads                          map[int64]*work
	again                          []int64 // loads that failed
	againAt                        time.Duration
	trimmedLanes, trimmedDelivered int64
	readBackFloor                  int64
	readBack                       bool // a checkpoint of this epoch was
	carrying                       int
	short                          bool // the node had fewer slots than could be used
	open                           int  // webhooks whose breaker is open

	// webhooks
	lanes      []*lane
	freeLanes  []uint32
	byWebhook  map[ids.ID]uint32
	turns      queue[uint32] // lanes that may start, in turn
	starved    queue[uint32] // lanes that wait for room to load
	dying      []uint32      // lanes of deleted webhooks
	expired    queue[ref]    // held for too long
	dirty      []uint32      // lanes whose health is to be written
	bells      least[bell]   // when a lane is to be looked at
	gated      []uint32      // lanes that wait for `deliveries` to be read
	sendLoads  int
	ending     int // rounds that end without a try
	timers     heap
	freshQueue queue[ref]

	// attempts
	attemptsPos, attemptsEnd int64
	attemptsOpen             bool
	factHolds                least[factHold]
	unacked                  queue[unacked]
	remembered               least[factHold]
	ends                     map[ids.ID]ended
	refused                  map[uint64]bool

	// deliveries
	window    window
	sources   sources
	reader    uint64 // next offset
	claimEnd  uint64 // end at the claim
	highest   uint64 // above every order that `lanes` had at the claim
	handed    bool   // the former owner drained: nothing it had can have been in flight
	unclean   bool   // the broker stopped uncleanly: all that is read again is marked
	commands  map[ids.ID][]queued
	commanded int
	deferred  []queued // to be refused, once the lease allows it

	// lease and checkpoints
	proven        time.Duration // when the newest checkpoint that was read back was made
	made          time.Duration
	checkpointing bool
	changed       bool
	lastChange    time.Duration
	lastWord      bool

	waiting, undecided, inFlight, bodyBytes, repeats int
}

// ref names an entry as long as it is the same delivery's same round.
type ref struct {
	id    uint32
	order uint64
	at    time.Duration
}

// bell is a moment at which a lane is to be looked at.
type bell struct {
	at   time.Duration
	lane uint32
}

func newTenure() *tenure {
	t := &tenure{
		ix: newIndex(), lanes: make([]*lane, 1), byWebhook: make(map[ids.ID]uint32),
		loads: make(map[int64]*work), ends: make(map[ids.ID]ended), refused: make(map[uint64]bool), wanted: make(map[ids.ID]*laneHold), former: make(map[ids.ID][]former),
		commands: make(map[ids.ID][]queued), checkpointAt: -1,
		proven: math.MinInt64 / 2, made: math.MinInt64 / 2,
	}
	t.timers.byDue = true
	t.bells.less = func(a, b *bell) bool { return a.at < b.at }
	earlier := func(a, b *factHold) bool { return a.at < b.at }
	t.factHolds.less, t.remembered.less = earlier, earlier
	return t
}

// same returns the entry that a ref names, or nil.
func (t *tenure) same(r ref) *entry {
	if e := t.ix.at(r.id); e.state != free && e.order == r.order {
		return e
	}
	return nil
}

// touch says that something changed that a checkpoint should know.
func (t *tenure) touch() {
	t.changed = true
	t.lastChange = t.now.Mono
}

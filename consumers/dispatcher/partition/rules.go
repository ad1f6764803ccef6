package partition

// rule is a set of the protocol's rules. A machine follows all of them; the
// tests take one away at a time, to show that each is needed and that the
// model would notice. Production code never sets one.
type rule uint32

const (
	ruleUnfinishedBypass rule = 1 << iota // 1: unfinished offsets bypass the sources map
	ruleInherit                           // 1: a claimant inherits the unfinished list
	ruleTerminalSettles                   // 2: only terminal facts settle
	ruleFloors                            // 3: floors pass no open transition
	ruleUpto                              // 4: what is not above upto was applied
	ruleAbsorb                            // 4: a terminal fact absorbs every upto of its round
	ruleRememberSettled                   // 5: what ended at or above the read position is remembered
	ruleOneFact                           // 6: the last failure and given up are one fact
	ruleAttemptID                         // 7: a completed fact keeps its id
	ruleTail                              // 8: the owner tails `attempts`
	ruleNamesReplaced                     // 9: a claim names whom it replaces
	ruleLease                             // 10: checkpoint and heartbeat prove ownership
	ruleReadBack                          // 12: an append to `lanes` counts when read back
	ruleLaneFirst                         // 13: a failure's lane record comes before its fact
	ruleFactFirst                         // 13: a deletion comes after its fact
	ruleCompleteReplaced                  // 14: attempts of replaced records are completed too
	ruleCarriedReadBack                   // 14: a carried record's original stays until its copy was read back
	ruleNeverSkip                         // 14: a reader below the log's start begins again, empty
	ruleTrimBound                         // 14: the trim's bound respects the checkpoint and its floor
	ruleNamedAnew                         // 14: named anew means claiming anew
	ruleCarryHolds                        // 14: a lane sends nothing while its oldest moves
	ruleOrder                             // 15: order is the offset in `deliveries`
	ruleFrozen                            // 16: the content is the request's
	ruleMarks                             // what may be a repeat says so
	ruleEnds                              // ends are remembered to judge retries by hand
	ruleEpochs                            // 11: what an older epoch writes later is void
	ruleBarrierView                       // Start looks at the webhook before each send
	ruleReplaces                          // 14: a record replaces all earlier ones of its delivery; only an end deletes
)

// Two sentences of the protocol have no rule here. "Keys are written once": no
// transition writes a record under a key that there was, a carried copy has a
// new one too, so there is nothing to take away; the model checks every record
// that lands. What the sentence guards against, an older epoch's record over a
// newer one's, is ruleEpochs.

// off reports whether a test has taken this rule away.
func (m *Machine) off(r rule) bool { return m.without&r != 0 }

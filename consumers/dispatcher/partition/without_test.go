package partition

import (
	"flag"
	"slices"
	"strings"
	"testing"
)

var modelWithout = flag.String("model.without", "", "`rule` of rules.go that TestModelWithout takes away, such as Lease, or all: as many random schedules as -model.schedules, from -model.seed on, until one breaks a promise")

// ablations are the rules, and after how many random schedules, from seed 1 on,
// the model first saw a promise broken without each. It is what was measured
// (-model.without=all -model.schedules=200000), not what is required.
var ablations = []struct {
	name  string
	rule  rule
	after int
}{
	{"UnfinishedBypass", ruleUnfinishedBypass, 35},
	{"Inherit", ruleInherit, 35},
	{"TerminalSettles", ruleTerminalSettles, 30},
	{"Floors", ruleFloors, 15},
	{"Upto", ruleUpto, 1},
	{"Absorb", ruleAbsorb, 7589},
	{"RememberSettled", ruleRememberSettled, 1},
	{"OneFact", ruleOneFact, 5240},
	{"AttemptID", ruleAttemptID, 10},
	{"Tail", ruleTail, 91},
	{"NamesReplaced", ruleNamesReplaced, 1},
	{"Lease", ruleLease, 35},
	{"ReadBack", ruleReadBack, 100000},
	{"LaneFirst", ruleLaneFirst, 44},
	{"FactFirst", ruleFactFirst, 1520},
	{"CompleteReplaced", ruleCompleteReplaced, 113},
	{"CarriedReadBack", ruleCarriedReadBack, 272},
	{"NeverSkip", ruleNeverSkip, 23},
	{"TrimBound", ruleTrimBound, 2},
	{"NamedAnew", ruleNamedAnew, 10000},
	{"CarryHolds", ruleCarryHolds, 16},
	{"Order", ruleOrder, 8},
	{"Frozen", ruleFrozen, 5},
	{"Marks", ruleMarks, 8},
	{"Ends", ruleEnds, 43},
	{"Epochs", ruleEpochs, 35},
	{"BarrierView", ruleBarrierView, 17},
	{"Replaces", ruleReplaces, 10000},
}

const (
	// quickAblation is how many schedules a run of `make test` may need.
	quickAblation = 200
	// slackAblation: a change of the machine shifts which schedule is the first.
	slackAblation = 10
)

// TestModelWithout takes away one rule at a time: the random model must then
// find a broken promise. Without a flag it tries those rules that it finds
// quickly; every rule has its named case besides.
//
//	go test ./consumers/dispatcher/partition -run TestModelWithout -model.without=all -model.schedules=200000 -v
func TestModelWithout(t *testing.T) {
	names := make([]string, 0, len(ablations))
	for _, a := range ablations {
		names = append(names, a.name)
	}
	if *modelWithout != "" && *modelWithout != "all" && !slices.Contains(names, *modelWithout) {
		t.Fatalf("-model.without=%s: want all, or one of %s", *modelWithout, strings.Join(names, ", "))
	}
	for _, a := range ablations {
		bound := *modelSchedules
		if *modelWithout == "" {
			bound = quickAblation * slackAblation
		}
		if *modelWithout == "" && a.after > quickAblation || *modelWithout != "" && *modelWithout != "all" && *modelWithout != a.name {
			continue
		}
		t.Run(a.name, func(t *testing.T) {
			for i := range bound {
				seed := *modelSeed + uint64(i)
				if w := runSchedule(seed, *modelSteps, a.rule); w.err != nil {
					t.Logf("broken after %d schedules, by seed %d: %.160s", i+1, seed, w.err)
					return
				}
			}
			t.Errorf("without this rule %d random schedules kept every promise", bound)
		})
	}
}

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
	{"UnfinishedBypass", ruleUnfinishedBypass, 8},
	{"Inherit", ruleInherit, 8},
	{"TerminalSettles", ruleTerminalSettles, 24},
	{"Floors", ruleFloors, 5},
	{"Upto", ruleUpto, 5},
	{"Absorb", ruleAbsorb, 71409},
	{"RememberSettled", ruleRememberSettled, 5},
	{"OneFact", ruleOneFact, 31119},
	{"AttemptID", ruleAttemptID, 5},
	{"Tail", ruleTail, 331},
	{"NamesReplaced", ruleNamesReplaced, 25},
	{"Lease", ruleLease, 20},
	{"ReadBack", ruleReadBack, 28873},
	{"LaneFirst", ruleLaneFirst, 27},
	{"FactFirst", ruleFactFirst, 1496},
	{"CompleteReplaced", ruleCompleteReplaced, 1276},
	{"CarriedReadBack", ruleCarriedReadBack, 2222},
	{"NeverSkip", ruleNeverSkip, 101},
	{"TrimBound", ruleTrimBound, 6},
	{"NamedAnew", ruleNamedAnew, 4067},
	{"CarryHolds", ruleCarryHolds, 16},
	{"Order", ruleOrder, 5},
	{"Frozen", ruleFrozen, 5},
	{"Marks", ruleMarks, 8},
	{"Ends", ruleEnds, 1332},
	{"Epochs", ruleEpochs, 44},
	{"BarrierView", ruleBarrierView, 23},
	{"Replaces", ruleReplaces, 3324},
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

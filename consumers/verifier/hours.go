package verifier

import (
	"context"
	"fmt"
	"slices"
	"time"

	"hookledger/ledger/ids"
	"hookledger/projections/history"
)

// hoursLook is between two looks at an hour that differs. An hour that the
// historian owed when it last wrote a place is waited for longer.
const (
	hoursLook    = 500 * time.Millisecond
	owedPatience = 8
)

// hours adds attempts_hourly up again. The historian does so seconds after the
// attempts, so an hour that differs is looked at again; a row that still differs
// though no attempt has come is a difference.
func (v *Verifier) hours(ctx context.Context) (*Table, error) {
	out := &Table{Name: "attempts_hourly"}
	all, err := v.History.Hours(ctx)
	if err != nil {
		return nil, err
	}
	places, err := v.History.Places(ctx)
	if err != nil {
		return nil, err
	}
	owed := make(map[int64]bool)
	for _, p := range places {
		for _, hour := range p.Hours {
			owed[hour.Unix()] = true
		}
	}
	for _, hour := range all {
		v.say("adding up the attempts of " + hour.Format("2006-01-02 15:04"))
		patience := v.Settle
		if owed[hour.Unix()] { // under load the historian takes its time
			patience *= owedPatience
		}
		if err := v.hour(ctx, out, hour, patience); err != nil {
			return nil, err
		}
		out.Compared++
	}
	return out, nil
}

func (v *Verifier) hour(ctx context.Context, out *Table, hour time.Time, patience time.Duration) error {
	type key struct {
		account string
		webhook ids.ID
		outcome string
	}
	first := make(map[key]uint64)
	var faults []history.HourFault
	for began := time.Now(); ; {
		var err error
		if faults, err = v.History.HourFaults(ctx, hour); err != nil || len(faults) == 0 {
			return err
		}
		now := make(map[key]uint64)
		for _, f := range faults {
			k := key{f.Account, f.Webhook, f.Outcome}
			now[k] = f.Rows
			if was, ok := first[k]; ok {
				now[k] = was
			}
		}
		first = now
		behind := slices.ContainsFunc(faults, func(f history.HourFault) bool { return f.Behind })
		if waited := time.Since(began); waited > patience || waited > v.Settle && !behind {
			break
		}
		if err := sleep(ctx, hoursLook); err != nil {
			return err
		}
	}
	for _, f := range faults {
		if first[key{f.Account, f.Webhook, f.Outcome}] != f.Rows {
			out.Moving++ // attempts come all the time
			continue
		}
		d := Difference{Kind: Differs, Row: fmt.Sprintf("%s of %s, %s", f.Hour.Format("2006-01-02 15:04"), f.Webhook.Text(ids.Webhook), f.Outcome)}
		switch {
		case f.Stored == 0:
			d.Kind, d.Detail = Missing, fmt.Sprintf("%d attempts", f.Counted)
		case f.Counted == 0:
			d.Kind, d.Detail = Surplus, fmt.Sprintf("it says %d attempts", f.Stored)
		default:
			d.Detail = fmt.Sprintf("it says %d attempts, there are %d", f.Stored, f.Counted)
			if f.Stored == f.Counted {
				d.Detail = "durations or times differ"
			}
		}
		out.found(v.List, d)
	}
	return nil
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

package verifier

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"hookledger/ledger/ids"
	"hookledger/projections/history"
)

// about says in a few words what a row is.
func about(row any) string {
	at := func(ms int64) string { return time.UnixMilli(ms).UTC().Format(time.RFC3339) }
	switch r := row.(type) {
	case *history.AttemptRow:
		return fmt.Sprintf("attempt %d of %s, %s", r.Attempt, r.Delivery.Text(ids.Delivery), at(r.StartedMs))
	case *history.EventRow:
		return fmt.Sprintf("event %q of account %q, %s", cut(r.EventID), cut(r.Account), at(r.RecordMs))
	case *history.ConfigRow:
		return fmt.Sprintf("change of %s of account %q, %s", r.SubjectID, cut(r.Account), at(r.RecordMs))
	case *history.DeliveryRow:
		return fmt.Sprintf("%s after %d attempts, %s", r.Status, r.Attempt, at(r.ChangedMs))
	}
	return ""
}

// difference names the columns in which rows are not as the log says.
func difference(detail string, want history.Plain, rows []history.Plain) string {
	var parts []string
	if detail != "" {
		parts = append(parts, detail)
	}
	for _, row := range rows {
		for _, name := range slices.Sorted(maps.Keys(want.Columns)) {
			if is, must := row.Columns[name], want.Columns[name]; is != must {
				parts = append(parts, fmt.Sprintf("%s is %q, the log says %q", name, cut(is), cut(must)))
			}
		}
	}
	return strings.Join(parts, "; ")
}

// cut keeps a report readable.
func cut(s string) string {
	const most = 60
	if len(s) <= most {
		return s
	}
	s = s[:most]
	for !utf8.ValidString(s) && len(s) > most-4 {
		s = s[:len(s)-1]
	}
	return s + "..."
}

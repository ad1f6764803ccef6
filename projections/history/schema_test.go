package history_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"google.golang.org/protobuf/reflect/protoreflect"

	"hookledger/deploy/embedded/engine/enginetest"
	"hookledger/projections/history"
	"hookledger/projections/subscriptions"
	schema "hookledger/schemas/clickhouse"
	facts "hookledger/schemas/proto/hookledger/facts/v1"
)

func TestApplyTwiceAndCheck(t *testing.T) {
	h := openEmpty(t, db.Database(t))
	must(t, h.Apply(t.Context()))
	must(t, h.Apply(t.Context()))
	must(t, h.Check(t.Context()))
}

func TestApplyMakesTheDatabase(t *testing.T) {
	h, err := history.Open(history.Options{DSN: db.Database(t), Database: "made `here`"})
	must(t, err)
	t.Cleanup(func() { _ = h.Close() })
	if err := h.Check(t.Context()); err == nil {
		t.Error("a missing database was found in order")
	}
	must(t, h.Apply(t.Context()))
	must(t, h.Check(t.Context()))
}

func TestSchemaOfAnotherProgramIsRefused(t *testing.T) {
	for _, c := range []struct {
		name, sql string
		want      error
	}{
		{"newer", "INSERT INTO schema_migrations (version, name, checksum) VALUES (999, '0999_later.sql', repeat('0', 64))", history.ErrSchemaNewer},
		{"changed", "INSERT INTO schema_migrations (version, name, checksum) SELECT version, name, repeat('0', 64) FROM schema_migrations WHERE version = 1", history.ErrSchemaChanged},
		{"older", "TRUNCATE TABLE schema_migrations", history.ErrSchemaOlder},
	} {
		t.Run(c.name, func(t *testing.T) {
			dsn := db.Database(t)
			h := openEmpty(t, dsn)
			must(t, h.Apply(t.Context()))
			must(t, enginetest.Open(t, dsn).Exec(t.Context(), c.sql))
			if err := h.Check(t.Context()); !errors.Is(err, c.want) {
				t.Errorf("Check: %v, want %v", err, c.want)
			}
			err := h.Apply(t.Context())
			if errors.Is(c.want, history.ErrSchemaOlder) {
				must(t, err) // statements may be run again
				must(t, h.Check(t.Context()))
			} else if !errors.Is(err, c.want) {
				t.Errorf("Apply: %v, want %v", err, c.want)
			}
		})
	}
}

func TestStatementsAreWhole(t *testing.T) {
	all, err := schema.Migrations()
	must(t, err)
	for _, m := range all {
		for _, s := range m.Statements("some db") {
			var code []string
			for line := range strings.Lines(s) {
				if !strings.HasPrefix(line, "--") {
					code = append(code, line)
				}
			}
			if first := strings.Join(code, ""); !strings.HasPrefix(first, "CREATE TABLE IF NOT EXISTS `some db`.") {
				t.Errorf("%s: a statement begins with %.60q", m.Name, first)
			}
		}
	}
}

// The closed sets are those of the facts, by name and number.
func TestEnumsAreThoseOfTheFacts(t *testing.T) {
	dsn := db.Database(t)
	must(t, openEmpty(t, dsn).Apply(t.Context()))
	conn := enginetest.Open(t, dsn)
	enum := func(values protoreflect.EnumValueDescriptors, prefix, zero string) string {
		var all []string
		for i := range values.Len() {
			v := values.Get(i)
			name := strings.ToLower(strings.TrimPrefix(string(v.Name()), prefix))
			if v.Number() == 0 {
				name = zero
			}
			all = append(all, fmt.Sprintf("'%s' = %d", name, v.Number()))
		}
		return "Enum8(" + strings.Join(all, ", ") + ")"
	}
	outcome := enum(facts.Outcome(0).Descriptor().Values(), "OUTCOME_", "none")
	end := enum(facts.End(0).Descriptor().Values(), "END_", "none")
	reason := enum(facts.EndReason(0).Descriptor().Values(), "END_REASON_", "none")
	kind := enum(facts.FactKind(0).Descriptor().Values(), "FACT_KIND_", "undecodable")
	actor := enum(facts.ActorKind(0).Descriptor().Values(), "ACTOR_KIND_", "unknown")
	var verdicts []string
	for k := subscriptions.Applied; k <= subscriptions.Invalid; k++ {
		name, _, _ := strings.Cut(k.String(), " exceeded")
		verdicts = append(verdicts, fmt.Sprintf("'%s' = %d", strings.ReplaceAll(name, " ", "_"), k))
	}
	var changes []string
	for i, oneof := 0, (&facts.ConfigFact{}).ProtoReflect().Descriptor().Oneofs().ByName("change").Fields(); i < oneof.Len(); i++ {
		changes = append(changes, fmt.Sprintf("'%s' = %d", oneof.Get(i).Name(), oneof.Get(i).Number()))
	}
	for column, want := range map[string]string{
		"attempts.outcome": outcome, "attempts_hourly.outcome": outcome, "attempts.end": end, "deliveries.end": end,
		"attempts.end_reason": reason, "deliveries.end_reason": reason, "attempts.kind": kind,
		"config_changes.actor_kind": actor,
		"config_changes.verdict":    "Enum8(" + strings.Join(verdicts, ", ") + ")",
		"config_changes.change":     "Enum8(" + strings.Join(changes, ", ") + ")",
		"deliveries.status":         "Enum8('pending' = 1, 'retrying' = 2, 'delivered' = 3, 'failed' = 4)",
	} {
		table, name, _ := strings.Cut(column, ".")
		var got string
		must(t, conn.QueryRow(t.Context(), "SELECT type FROM system.columns WHERE database = currentDatabase() AND table = ? AND name = ?", table, name).Scan(&got))
		if got != want {
			t.Errorf("%s is\n%s, want\n%s", column, got, want)
		}
	}
}

func TestEveryColumnIsExplained(t *testing.T) {
	dsn := db.Database(t)
	must(t, openEmpty(t, dsn).Apply(t.Context()))
	conn := enginetest.Open(t, dsn)
	var bare []string
	must(t, conn.QueryRow(t.Context(), "SELECT groupArray(table || '.' || name) FROM system.columns WHERE database = currentDatabase() AND comment = ''").Scan(&bare))
	if len(bare) > 0 {
		t.Errorf("columns without a comment: %v", bare)
	}
}

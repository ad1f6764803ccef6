package history

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	driver "github.com/ClickHouse/clickhouse-go/v2"

	"hookledger/ledger"
	schema "hookledger/schemas/clickhouse"
)

// long is the context of what may take as long as it takes.
func (h *History) long(ctx context.Context) context.Context {
	return driver.Context(ctx, driver.WithSettings(driver.Settings{
		"max_execution_time": 0, "async_insert": 0, "max_partitions_per_insert_block": 0, "max_threads": 2,
		"do_not_merge_across_partitions_select_final": 1,
	}))
}

// databases are those that ClickHouse has.
func (h *History) databases(ctx context.Context) (map[string]bool, error) {
	var names []string
	if err := h.conn.Conn.QueryRow(h.asking(ctx), "SELECT groupArray(name) FROM system.databases").Scan(&names); err != nil {
		return nil, fmt.Errorf("list the databases: %w", err)
	}
	all := make(map[string]bool, len(names))
	for _, n := range names {
		all[n] = true
	}
	return all, nil
}

// remove drops a database; of the home all but what says which generations there are.
func (h *History) remove(ctx context.Context, database string) error {
	ctx = h.long(ctx)
	if database != h.home {
		if err := h.conn.Conn.Exec(ctx, "DROP DATABASE IF EXISTS "+schema.Identifier(database)+" SYNC"); err != nil {
			return fmt.Errorf("drop database %s: %w", database, err)
		}
		return nil
	}
	var tables []string
	if err := h.conn.Conn.QueryRow(ctx, "SELECT groupArray(name) FROM system.tables WHERE database = "+text(h.home)+
		" AND name NOT IN ('generations', 'rebuild_lease')").Scan(&tables); err != nil {
		return fmt.Errorf("list the tables of %s: %w", database, err)
	}
	for _, t := range tables {
		if err := h.conn.Conn.Exec(ctx, "DROP TABLE IF EXISTS "+schema.Identifier(h.home)+"."+schema.Identifier(t)+" SYNC"); err != nil {
			return fmt.Errorf("drop table %s.%s: %w", database, t, err)
		}
	}
	return nil
}

// Leftovers are the generations that are not live and still take room: those
// that were live before, those half made, and those whose dropping was cut short.
func (h *History) Leftovers(ctx context.Context) (old, half []Generation, err error) {
	all, err := h.Generations(ctx)
	if err != nil {
		return nil, nil, err
	}
	there, err := h.databases(ctx)
	if err != nil {
		return nil, nil, err
	}
	live := LiveOf(all)
	for _, g := range all {
		switch {
		case g.Number == live.Number || !there[g.Database]:
		case g.Database == h.home:
			var tables uint64
			if err := h.conn.Conn.QueryRow(h.asking(ctx), "SELECT count() FROM system.tables WHERE database = "+text(h.home)+
				" AND name NOT IN ('generations', 'rebuild_lease')").Scan(&tables); err != nil {
				return nil, nil, fmt.Errorf("list the tables of %s: %w", h.home, err)
			}
			if tables > 0 {
				old = append(old, g)
			}
		case g.WasLive && g.State != Dropped:
			old = append(old, g)
		default:
			half = append(half, g)
		}
	}
	return old, half, nil
}

// Space is what a history takes, and what is free where ClickHouse keeps its data.
type Space struct{ Used, Free uint64 }

// Space asks for both.
func (h *History) Space(ctx context.Context) (Space, error) {
	var s Space
	err := h.conn.Conn.QueryRow(h.asking(ctx), "SELECT (SELECT sum(bytes_on_disk) FROM system.parts WHERE active AND database = "+
		text(h.Database())+"), (SELECT min(unreserved_space) FROM system.disks)").Scan(&s.Used, &s.Free)
	if err != nil {
		return s, fmt.Errorf("ask for the room on ClickHouse's disk: %w", err)
	}
	return s, nil
}

// carried is, for the tables with a row for each record, the table of a topic
// and the condition that a row is of it.
func carriedTables(topic ledger.Topic) map[string]string {
	switch topic {
	case ledger.Events:
		return map[string]string{"events": ""}
	case ledger.Attempts:
		return map[string]string{"attempts": "", "deliveries": " AND is_fact"}
	case ledger.Config, ledger.EventIDs, ledger.Deliveries, ledger.Lanes, ledger.DeadLetters:
	}
	return nil
}

// Carry copies into this history the rows of another one whose records lie in a
// range of offsets, and says how many records there were and from when. It is
// for what the log no longer holds. Rows keep their keys, so it may be repeated.
//
// Of `deliveries` nothing needs to be carried: what was trimmed there has ended,
// or was tried, or waits in `lanes`.
func (h *History) Carry(ctx context.Context, from *History, topic ledger.Topic, part int32, first, end int64) (rows uint64, oldest time.Time, err error) {
	for table, condition := range carriedTables(topic) {
		columns, err := h.shared(ctx, from, table)
		if err != nil {
			return rows, oldest, err
		}
		where := fmt.Sprintf(" FROM %s.%s FINAL WHERE part = %d AND off >= %d AND off < %d%s",
			schema.Identifier(from.Database()), table, part, first, end, condition)
		if table == string(topic) {
			at := map[string]string{"events": "record_time", "attempts": "started_at"}[table]
			err := h.conn.Conn.QueryRow(h.long(ctx), "SELECT count(), min("+at+")"+where).Scan(&rows, &oldest)
			if err != nil {
				return rows, oldest, fmt.Errorf("count what the log no longer holds of %s/%d: %w", topic, part, err)
			}
		}
		list := strings.Join(columns, ", ")
		if err := h.conn.Exec(h.long(ctx), "INSERT INTO {{db}}."+table+" ("+list+") SELECT "+list+where); err != nil {
			return rows, oldest, fmt.Errorf("carry over what the log no longer holds of %s/%d: %w", topic, part, err)
		}
	}
	return rows, oldest.UTC(), nil
}

// shared are the columns that are stored in both: the other history may be of an
// older program.
func (h *History) shared(ctx context.Context, other *History, table string) ([]string, error) {
	ours, err := h.stored(ctx, table)
	if err != nil {
		return nil, err
	}
	theirs, err := other.stored(ctx, table)
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(ours, func(c string) bool { return !slices.Contains(theirs, c) }), nil
}

// stored are the columns of a table that are inserted.
func (h *History) stored(ctx context.Context, table string) ([]string, error) {
	var columns []string
	err := h.conn.Conn.QueryRow(h.asking(ctx), "SELECT groupArray(name) FROM system.columns WHERE database = "+text(h.Database())+
		" AND table = "+text(table)+" AND default_kind IN ('', 'DEFAULT')").Scan(&columns)
	if err != nil {
		return nil, fmt.Errorf("read the columns of %s: %w", table, err)
	}
	for i, c := range columns {
		columns[i] = schema.Identifier(c)
	}
	return columns, nil
}

// Hours are the hours in which attempts began, the oldest first.
func (h *History) Hours(ctx context.Context) ([]time.Time, error) {
	rows, err := h.conn.Query(h.long(ctx), h.sql("SELECT DISTINCT toStartOfHour(started_at) AS hour FROM {{db}}.attempts WHERE kind = 'attempt' "+
		"UNION DISTINCT SELECT DISTINCT hour FROM {{db}}.attempts_hourly"))
	if err != nil {
		return nil, fmt.Errorf("list the hours of attempts: %w", err)
	}
	defer rows.Close()
	var all []time.Time
	for rows.Next() {
		var t time.Time
		if err := rows.Scan(&t); err != nil {
			return nil, fmt.Errorf("list the hours of attempts: %w", err)
		}
		all = append(all, t.UTC())
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("list the hours of attempts: %w", err)
	}
	slices.SortFunc(all, time.Time.Compare)
	return all, nil
}

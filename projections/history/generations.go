package history

import (
	"context"
	"fmt"
	"time"

	driver "github.com/ClickHouse/clickhouse-go/v2"

	"hookledger/ledger"
	schema "hookledger/schemas/clickhouse"
)

// A history that was made again lies in a database of its own. The configured
// one, the home, keeps a table that only grows: which databases there are, and
// which is live. Number 1 is the home itself, live until a row says otherwise.
//
// Who reads asks the table each second and goes over when the new one has all
// that the old one has (see follow.go). What is written here is never changed:
// a generation is building, then live, and dropped at last.
const generationsTable = `CREATE TABLE IF NOT EXISTS {{home}}.generations
(
    generation UInt32 COMMENT 'Number of the history; 1 is the database of this table',
    state      Enum8('building' = 1, 'live' = 2, 'dropped' = 3) COMMENT 'What became of it. The greatest that was ever live is live',
    database   String COMMENT 'Where it lies',
    program    String COMMENT 'Version of the program that said so',
    holder     String COMMENT 'Who said so: host and process',
    at         DateTime64(3, 'UTC') DEFAULT now64(3) COMMENT 'When'
)
ENGINE = MergeTree
ORDER BY (generation, state, at)
COMMENT 'Which databases hold a history, and which of them is live'`

// leaseTable is who may make or drop generations: one at a time.
const leaseTable = `CREATE TABLE IF NOT EXISTS {{home}}.rebuild_lease
(
    token  String COMMENT 'Drawn for each rebuild',
    holder String COMMENT 'Host and process',
    until  DateTime64(3, 'UTC') COMMENT 'Until when it holds, by the clock of ClickHouse',
    at     DateTime64(3, 'UTC') DEFAULT now64(3) COMMENT 'When it was said'
)
ENGINE = ReplacingMergeTree(at)
ORDER BY token
COMMENT 'Which rebuild may go on: at most one at a time'`

// GenerationState is what became of a generation.
type GenerationState int8

// The states of a generation.
const (
	Building GenerationState = 1
	Live     GenerationState = 2
	Dropped  GenerationState = 3
)

// Generation is one history among those that were made.
type Generation struct {
	Number   uint32
	Database string
	// State is the last that it reached: of those that were live only the
	// greatest is (see LiveOf), the others are old.
	State GenerationState
	// WasLive says that it was, whatever it is now.
	WasLive bool
	// Since is when it reached the state.
	Since time.Time
	// Program is the version of the program that said so last.
	Program string
}

// LiveOf is the generation among these whose answers count. Home, if none was
// ever made.
func LiveOf(all []Generation) Generation {
	live := all[0]
	for _, g := range all {
		if g.State == Live {
			live = g
		}
	}
	return live
}

// Home is the database that was configured.
func (h *History) Home() string { return h.home }

func (h *History) inHome(statement string) string {
	return replaceAll(statement, "{{home}}", schema.Identifier(h.home))
}

// Generations lists all histories, the first (home) first.
func (h *History) Generations(ctx context.Context) ([]Generation, error) {
	all := []Generation{{Number: 1, Database: h.home, State: Live, WasLive: true}}
	rows, err := h.conn.Conn.Query(h.asking(ctx), h.inHome("SELECT generation, database, state, at, program FROM {{home}}.generations "+
		"ORDER BY generation, toInt8(state), at"))
	if missing(err) {
		return all, nil
	}
	if err != nil {
		return nil, fmt.Errorf("ask which history is live: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var g Generation
		var state int8
		if err := rows.Scan(&g.Number, &g.Database, &state, &g.Since, &g.Program); err != nil {
			return nil, fmt.Errorf("ask which history is live: %w", err)
		}
		g.State, g.Since = GenerationState(state), g.Since.UTC()
		last := &all[len(all)-1]
		if last.Number != g.Number {
			all = append(all, g)
			last = &all[len(all)-1]
		}
		was := last.WasLive || g.State == Live
		*last = g
		last.WasLive = was
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("ask which history is live: %w", err)
	}
	return all, nil
}

// Live is the history that is live now, for who writes it. It stays there.
func (h *History) Live(ctx context.Context) (*History, Generation, error) {
	all, err := h.Generations(ctx)
	if err != nil {
		return nil, Generation{}, err
	}
	live := LiveOf(all)
	return h.At(live.Database), live, nil
}

// choose is where reading begins: at the live history, or at the one before
// while the live one lacks what that had.
func (h *History) choose(ctx context.Context) (target, error) {
	all, err := h.Generations(ctx)
	if err != nil {
		return target{}, err
	}
	live := LiveOf(all)
	for _, g := range all {
		if g.Number >= live.Number || !g.WasLive || g.State == Dropped {
			continue
		}
		covers, err := h.covers(ctx, g.Database, live.Database)
		if err != nil {
			return target{}, err
		}
		if !covers {
			return target{g.Database, g.Number}, nil
		}
	}
	return target{live.Database, live.Number}, nil
}

// covers says whether a history has all that another one has. One that is gone has nothing.
func (h *History) covers(ctx context.Context, old, next string) (bool, error) {
	had, err := h.At(old).reached(ctx)
	if missing(err) {
		return true, nil
	}
	if err != nil {
		return false, err
	}
	return h.coversThese(ctx, next, had)
}

func (h *History) coversThese(ctx context.Context, next string, had map[partition]uint64) (bool, error) {
	has, err := h.At(next).reached(ctx)
	if missing(err) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	for where, off := range had {
		if has[where] < off {
			return false, nil
		}
	}
	return true, nil
}

// partition is one of the log's.
type partition struct {
	topic ledger.Topic
	part  uint16
}

// reached is how far the history has come everywhere.
func (h *History) reached(ctx context.Context) (map[partition]uint64, error) {
	rows, err := h.conn.Query(h.asking(ctx), h.sql("SELECT topic, part, max(next_off) FROM {{db}}.places GROUP BY topic, part"))
	if err != nil {
		return nil, fmt.Errorf("read the places of database %s: %w", h.Database(), err)
	}
	defer rows.Close()
	all := make(map[partition]uint64)
	for rows.Next() {
		var topic string
		var part uint16
		var next uint64
		if err := rows.Scan(&topic, &part, &next); err != nil {
			return nil, fmt.Errorf("read the places of database %s: %w", h.Database(), err)
		}
		all[partition{ledger.Topic(topic), part}] = next
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("read the places of database %s: %w", h.Database(), err)
	}
	return all, nil
}

// Covers says whether this history has all that another one has. Both should be pinned (At).
func (h *History) Covers(ctx context.Context, other *History) (bool, error) {
	return h.covers(ctx, other.Database(), h.Database())
}

// StillRead says from where histories have yet to read a topic: the live one, and
// one that is being made. What lies there must not be trimmed, though another
// history has read it.
func (h *History) StillRead(ctx context.Context, topic ledger.Topic) (map[int32]int64, error) {
	all, err := h.Generations(ctx)
	if err != nil {
		return nil, err
	}
	live := LiveOf(all)
	needed := make(map[int32]int64)
	for _, g := range all {
		if g.Number != live.Number {
			if g.State != Building {
				continue
			}
			if held, err := h.leased(ctx); err != nil || !held {
				if err != nil {
					return nil, err
				}
				continue
			}
		}
		places, err := h.At(g.Database).Covered(ctx, topic)
		if missing(err) {
			continue
		}
		if err != nil {
			return nil, err
		}
		for p, next := range places {
			if least, ok := needed[p]; !ok || next < least {
				needed[p] = next
			}
		}
	}
	return needed, nil
}

// leased says whether a rebuild is under way.
func (h *History) leased(ctx context.Context) (bool, error) {
	var n uint64
	err := h.conn.Conn.QueryRow(h.asking(ctx), h.inHome("SELECT count() FROM {{home}}.rebuild_lease FINAL WHERE until > now64(3)")).Scan(&n)
	if err != nil && !missing(err) {
		return false, fmt.Errorf("ask who rebuilds: %w", err)
	}
	return n > 0, nil
}

// applyHome makes the home database and its tables of generations.
func (h *History) applyHome(ctx context.Context) error {
	ddl := driver.Context(ctx, driver.WithSettings(driver.Settings{"max_execution_time": 0}))
	for _, statement := range []string{"CREATE DATABASE IF NOT EXISTS {{home}}", generationsTable, leaseTable} {
		if err := h.conn.Conn.Exec(ddl, h.inHome(statement)); err != nil {
			return fmt.Errorf("make database %s: %w", h.home, err)
		}
	}
	return nil
}

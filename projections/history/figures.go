package history

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"hookledger/ledger/ids"
)

func (q *Question) from() time.Time { return q.Edges[0] }
func (q *Question) to() time.Time   { return q.Edges[len(q.Edges)-1] }

// where is the condition that attempts and deliveries share.
func (q *Question) where() string {
	where := "account = " + text(q.Account)
	if !q.Webhook.IsZero() {
		where += " AND webhook_id = " + id(q.Webhook)
	}
	if q.Event != "" {
		where += " AND event_type = " + text(q.Event)
	}
	return where
}

// group is the column that the groups are made by, as String.
func (q *Question) group() string {
	switch q.GroupBy {
	case ByWebhook:
		return "substring(webhook_id, 1, 16)" // a cast would cut zero bytes off its end
	case ByEvent:
		return "toString(event_type)"
	case NoGroups:
	}
	return "''"
}

// bucket is the edge below a time in milliseconds.
func (q *Question) bucket(ms string) string {
	if len(q.Edges) == 2 {
		return "toInt64(0)"
	}
	edges := make([]string, len(q.Edges)-1)
	for i := range edges { // the last one is an end only
		edges[i] = strconv.FormatInt(q.Edges[i].UnixMilli(), 10)
	}
	return "roundDown(" + ms + ", [" + strings.Join(edges, ", ") + "]::Array(Int64))"
}

// figuresSQL is what is counted over rows that have a group g and a bucket b:
// each an aggregate that makes an array.
type figuresSQL struct{ rows, counts, first, second, quantiles string }

// countEach counts how often an expression is 0, 1, ... most.
func countEach(of string, most int) string {
	counts := make([]string, most+1)
	for i := range counts {
		counts[i] = fmt.Sprintf("countIf(%s = %d)", of, i)
	}
	return "[" + strings.Join(counts, ", ") + "]"
}

// figuresRow is the figures of all, of a group, of a bucket, or of a group's bucket.
type figuresRow struct {
	grouped               bool
	group                 string
	bucketed              bool
	bucket                int
	counts, first, second []uint64
	quantiles             []int64
}

func (r *figuresRow) times(unit time.Duration) Quantiles {
	return Quantiles{time.Duration(r.quantiles[0]) * unit, time.Duration(r.quantiles[1]) * unit, time.Duration(r.quantiles[2]) * unit}
}

// counting is one of the questions that an answer is put together from.
type counting[F any] struct {
	figuresSQL
	set func(*F, *figuresRow)
}

// collect puts an answer together. The first counting decides which groups are shown.
func collect[F any](ctx context.Context, h *History, q *Question, all ...counting[F]) (*Answer[F], error) {
	a := &Answer[F]{Buckets: make([]F, len(q.Edges)-1)}
	whole, grouped := []string{"()"}, []string{}
	if len(q.Edges) > 2 {
		whole, grouped = append(whole, "(b)"), append(grouped, "(g, b)")
	}
	for i, c := range all {
		add := func(row *figuresRow) {
			switch f := a.place(row); {
			case f != nil:
				c.set(f, row)
			case i == 0: // a group that was not met before
				g := Group[F]{name: row.group, size: row.counts[0], Buckets: make([]F, len(a.Buckets))}
				c.set(&g.Total, row)
				a.Groups = append(a.Groups, g)
			}
		}
		sets := whole
		if q.GroupBy != NoGroups && i == 0 {
			sets = append(slices.Clone(whole), "(g)")
		}
		if err := h.figures(ctx, q, c.figuresSQL, sets, "", add); err != nil {
			return nil, err
		}
		if i == 0 {
			a.chooseGroups(q)
		} else if q.GroupBy != NoGroups {
			grouped = append(grouped, "(g)")
		}
		if len(a.Groups) == 0 || len(grouped) == 0 {
			continue
		}
		if err := h.figures(ctx, q, c.figuresSQL, grouped, a.shown(), add); err != nil {
			return nil, err
		}
	}
	if len(q.Edges) == 2 { // one bucket is all of it
		a.Buckets[0] = a.Total
		for i := range a.Groups {
			a.Groups[i].Buckets[0] = a.Groups[i].Total
		}
	}
	return a, nil
}

// place is where a row's figures belong; nil for a group that is not there.
func (a *Answer[F]) place(row *figuresRow) *F {
	total, buckets := &a.Total, a.Buckets
	if row.grouped {
		i := slices.IndexFunc(a.Groups, func(g Group[F]) bool { return g.name == row.group })
		if i < 0 {
			return nil
		}
		total, buckets = &a.Groups[i].Total, a.Groups[i].Buckets
	}
	if row.bucketed {
		return &buckets[row.bucket]
	}
	return total
}

func (a *Answer[F]) chooseGroups(q *Question) {
	a.GroupsTotal = len(a.Groups)
	slices.SortFunc(a.Groups, func(x, y Group[F]) int { return cmp.Or(cmp.Compare(y.size, x.size), cmp.Compare(x.name, y.name)) })
	if len(a.Groups) > q.Groups {
		a.Groups = a.Groups[:q.Groups]
	}
	for i := range a.Groups {
		if g := &a.Groups[i]; q.GroupBy == ByWebhook {
			g.Webhook = ids.ID([]byte(g.name))
		} else {
			g.Event = g.name
		}
	}
}

// shown is the condition that takes the groups that are shown.
func (a *Answer[F]) shown() string {
	names := make([]string, len(a.Groups))
	for i, g := range a.Groups {
		names[i] = text(g.name)
	}
	return " WHERE g IN (" + strings.Join(names, ", ") + ")"
}

// figures asks one question for several groupings at once.
func (h *History) figures(ctx context.Context, q *Question, s figuresSQL, sets []string, where string, add func(*figuresRow)) error {
	g, b, by := "'', false", "toInt64(0), false", strings.Join(sets, ", ")
	if strings.Contains(by, "g") {
		g = "g, grouping(g) = 0"
	}
	if strings.Contains(by, "b") {
		b = "b, grouping(b) = 0"
	}
	if by == "()" {
		by = ""
	} else {
		by = " GROUP BY GROUPING SETS (" + by + ")"
	}
	sql := "SELECT " + g + ", " + b + ", " + s.counts + ", " + s.first + ", " + s.second + ", arrayMap(x -> toInt64(x), " + s.quantiles + ")" +
		" FROM (" + s.rows + ")" + where + by
	rows, err := h.conn.Query(h.asking(ctx), h.sql(sql))
	if err != nil {
		return fmt.Errorf("ask ClickHouse: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var r figuresRow
		var edge int64
		if err := rows.Scan(&r.group, &r.grouped, &edge, &r.bucketed, &r.counts, &r.first, &r.second, &r.quantiles); err != nil {
			return fmt.Errorf("read the answer of ClickHouse: %w", err)
		}
		r.bucket, _ = slices.BinarySearchFunc(q.Edges, edge, func(e time.Time, ms int64) int { return cmp.Compare(e.UnixMilli(), ms) })
		if r.bucketed && r.bucket >= len(q.Edges)-1 {
			return fmt.Errorf("ClickHouse answered with a bucket that begins at %d ms, which was not asked for", edge)
		}
		add(&r)
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("ask ClickHouse: %w", err)
	}
	return nil
}

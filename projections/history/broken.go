package history

import (
	"context"
	"fmt"
	"strings"

	schema "hookledger/schemas/clickhouse"
)

// ForgetBroken looks for parts that ClickHouse could not read when it started and set aside: rows are missing then,
// and the places must not say that they are there. If there are any it removes the places, so that the historian
// folds the log again from its start, which adds nothing twice, and then the parts; and returns what they were.
// What the log no longer holds can't be brought back by it.
//
// It is for an engine that nobody else writes to, and before the historian starts.
func (h *History) ForgetBroken(ctx context.Context) ([]string, error) {
	rows, err := h.conn.Query(h.asking(ctx), "SELECT table, name FROM system.detached_parts WHERE database = ? AND startsWith(reason, 'broken') ORDER BY ALL", h.Database())
	if err != nil {
		return nil, fmt.Errorf("look for broken parts of database %s: %w", h.Database(), err)
	}
	defer rows.Close()
	type part struct{ table, name string }
	var broken []part
	var names []string
	for rows.Next() {
		var p part
		if err := rows.Scan(&p.table, &p.name); err != nil {
			return nil, fmt.Errorf("look for broken parts of database %s: %w", h.Database(), err)
		}
		broken = append(broken, p)
		names = append(names, p.table+"/"+p.name)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("look for broken parts of database %s: %w", h.Database(), err)
	}
	if len(broken) == 0 {
		return nil, nil
	}
	if err := h.conn.Exec(h.computing(ctx), h.sql("TRUNCATE TABLE {{db}}.places")); err != nil {
		return nil, fmt.Errorf("remove the places of database %s, of which parts are broken (%q): %w", h.Database(), names, err)
	}
	for _, p := range broken {
		drop := "ALTER TABLE {{db}}." + schema.Identifier(p.table) + " DROP DETACHED PART " + quote(p.name) + " SETTINGS allow_drop_detached = 1"
		if err := h.conn.Exec(h.computing(ctx), h.sql(drop)); err != nil {
			return nil, fmt.Errorf("remove the broken part %s of table %s.%s: %w", p.name, h.Database(), p.table, err)
		}
	}
	return names, nil
}

// quote is a literal where no expression is allowed.
func quote(name string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(name) + "'"
}

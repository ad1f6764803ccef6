package history

import (
	"context"
	"fmt"

	driver "github.com/ClickHouse/clickhouse-go/v2"

	schema "hookledger/schemas/clickhouse"
)

// DefaultAuditDatabase is the database of the views for auditors.
const DefaultAuditDatabase = "audit"

// ApplyViews makes the audit database and its views over this history: the
// stable surface for auditors. Views that are over another history, or of
// another program, are replaced, each in one step; all together are not one
// step, so a question that names two views may meanwhile see two histories.
//
// It costs one question when the views are these already.
func (h *History) ApplyViews(ctx context.Context) error {
	views, err := schema.Views()
	if err != nil {
		return err
	}
	statements := make([]string, len(views))
	for i, v := range views {
		statements[i] = v.Statement(h.audit, h.Database())
	}
	statements, checksum := schema.Marked(statements)
	if h.hasViews(ctx, len(views), checksum) {
		return nil
	}
	ddl := driver.Context(ctx, driver.WithSettings(driver.Settings{"max_execution_time": 0}))
	for i, s := range append([]string{"CREATE DATABASE IF NOT EXISTS " + schema.Identifier(h.audit)}, statements...) {
		if err := h.conn.Exec(ddl, s); err != nil {
			name := "the database itself"
			if i > 0 {
				name = "view " + views[i-1].Name
			}
			return fmt.Errorf("make the audit database %s over %s: %s: %w", h.audit, h.Database(), name, err)
		}
	}
	return nil
}

// hasViews says whether all views are there, and the mark of these.
func (h *History) hasViews(ctx context.Context, views int, checksum string) bool {
	var there uint64
	err := h.conn.QueryRow(h.asking(ctx), "SELECT count() FROM system.tables WHERE database = ?", h.audit).Scan(&there)
	if err != nil || there < uint64(views) {
		return false
	}
	var found string
	err = h.conn.QueryRow(h.asking(ctx), "SELECT checksum FROM "+schema.Identifier(h.audit)+".about").Scan(&found)
	return err == nil && found == checksum
}

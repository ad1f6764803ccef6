package history

import (
	"context"
	"errors"
	"fmt"

	driver "github.com/ClickHouse/clickhouse-go/v2"

	schema "hookledger/schemas/clickhouse"
)

// Errors of the schema. None of them heals by itself.
var (
	// ErrSchemaNewer: a newer program has migrated the database.
	ErrSchemaNewer = errors.New("the history's schema is newer than this program")
	// ErrSchemaChanged: a migration that was applied is not the one that this program has.
	ErrSchemaChanged = errors.New("a migration of the history was changed after it was applied")
	// ErrSchemaOlder: migrations are missing.
	ErrSchemaOlder = errors.New("the history's schema is older than this program")
)

const migrationsTable = `CREATE TABLE IF NOT EXISTS {{db}}.schema_migrations
(
    version    UInt32 COMMENT 'Number of the migration',
    name       String COMMENT 'File name',
    checksum   FixedString(64) COMMENT 'SHA-256 of the file, in hex',
    applied_at DateTime64(3, 'UTC') DEFAULT now64(3) COMMENT 'When'
)
ENGINE = ReplacingMergeTree
ORDER BY version
COMMENT 'Migrations of this database that were applied'`

// Apply makes the database and applies the migrations that are missing, in
// order. Two that do it at once do no harm. It refuses a database that is newer
// than this program, and one whose applied migrations differ from this program's.
func (h *History) Apply(ctx context.Context) error {
	all, err := schema.Migrations()
	if err != nil {
		return err
	}
	if !h.conn.at.pinned {
		if err := h.applyHome(ctx); err != nil {
			return err
		}
	}
	ddl := driver.Context(ctx, driver.WithSettings(driver.Settings{"max_execution_time": 0}))
	for _, statement := range []string{"CREATE DATABASE IF NOT EXISTS {{db}}", migrationsTable} {
		if err := h.conn.Exec(ddl, h.sql(statement)); err != nil {
			return fmt.Errorf("make database %s: %w", h.Database(), err)
		}
	}
	applied, err := h.applied(ctx)
	if err != nil {
		return err
	}
	if err := judge(h.Database(), all, applied); err != nil && !errors.Is(err, ErrSchemaOlder) {
		return err
	}
	for _, m := range all {
		if _, ok := applied[m.Version]; ok {
			continue
		}
		for _, statement := range m.Statements(h.Database()) {
			if err := h.conn.Exec(ddl, statement); err != nil {
				return fmt.Errorf("apply migration %s to database %s: %w", m.Name, h.Database(), err)
			}
		}
		if err := h.conn.Exec(ddl, h.sql("INSERT INTO {{db}}.schema_migrations (version, name, checksum) VALUES (?, ?, ?)"),
			m.Version, m.Name, m.Checksum); err != nil {
			return fmt.Errorf("note that migration %s was applied: %w", m.Name, err)
		}
	}
	return nil
}

// Check says whether the database has exactly this program's migrations, and
// changes nothing.
func (h *History) Check(ctx context.Context) error {
	all, err := schema.Migrations()
	if err != nil {
		return err
	}
	applied, err := h.applied(ctx)
	if err != nil {
		return err
	}
	return judge(h.Database(), all, applied)
}

type appliedMigration struct{ name, checksum string }

func (h *History) applied(ctx context.Context) (map[uint32]appliedMigration, error) {
	rows, err := h.conn.Query(h.asking(ctx), h.sql("SELECT version, name, checksum FROM {{db}}.schema_migrations FINAL"))
	if err != nil {
		return nil, fmt.Errorf("read the migrations of database %s: %w", h.Database(), err)
	}
	defer rows.Close()
	found := make(map[uint32]appliedMigration)
	for rows.Next() {
		var version uint32
		var m appliedMigration
		if err := rows.Scan(&version, &m.name, &m.checksum); err != nil {
			return nil, fmt.Errorf("read the migrations of database %s: %w", h.Database(), err)
		}
		found[version] = m
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("read the migrations of database %s: %w", h.Database(), err)
	}
	return found, nil
}

func judge(database string, all []schema.Migration, applied map[uint32]appliedMigration) error {
	for version, m := range applied {
		if int(version) > len(all) {
			return fmt.Errorf("%w: database %s has migration %d (%s), this program knows %d: upgrade it",
				ErrSchemaNewer, database, version, m.name, len(all))
		}
	}
	for _, m := range all {
		was, ok := applied[m.Version]
		if !ok {
			return fmt.Errorf("%w: database %s lacks migration %s: start `hookledger serve` once", ErrSchemaOlder, database, m.Name)
		}
		if was.checksum != m.Checksum {
			return fmt.Errorf("%w: database %s has %s with checksum %.12s, this program has %s with %.12s: use the program that made it, or rebuild the history into a new database",
				ErrSchemaChanged, database, was.name, was.checksum, m.Name, m.Checksum)
		}
	}
	return nil
}

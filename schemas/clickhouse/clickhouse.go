// Package clickhouse is the schema of the history as numbered migrations: data,
// and how to read it.
//
// A file is named NNNN_what.sql, its number follows the one before, and its
// statements end with a semicolon at the end of a line. Each statement may be
// run twice (IF NOT EXISTS and the like), because a process may die between a
// statement and the note that its file was applied. {{db}} stands for the
// database's name.
//
// Beside the migrations, audit/ holds the views for auditors: see [View].
//
// Migrations go forward only, and a file that was released is never edited: its
// checksum is kept in schema_migrations, and one that differs is refused. A
// mistake is mended by the next file.
package clickhouse

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"
)

//go:embed *.sql
var files embed.FS

// placeholder stands for the database's name in a file.
const placeholder = "{{db}}"

// Migration is one file.
type Migration struct {
	Version uint32
	// Name is the file's name.
	Name string
	// Checksum is the SHA-256 of the file, in hex.
	Checksum string
	text     string
}

// Migrations returns all migrations in order.
func Migrations() ([]Migration, error) { return read(files) }

func read(from fs.FS) ([]Migration, error) {
	names, err := fs.Glob(from, "*.sql")
	if err != nil {
		return nil, fmt.Errorf("list the migrations: %w", err)
	}
	slices.Sort(names)
	all := make([]Migration, 0, len(names))
	for i, name := range names {
		number, _, ok := strings.Cut(name, "_")
		version, err := strconv.ParseUint(number, 10, 32)
		if !ok || len(number) != 4 || err != nil || version != uint64(i)+1 {
			return nil, fmt.Errorf("migration %s: want the name %04d_what.sql, without gaps", name, i+1)
		}
		text, err := fs.ReadFile(from, name)
		if err != nil {
			return nil, fmt.Errorf("read migration %s: %w", name, err)
		}
		sum := sha256.Sum256(text)
		all = append(all, Migration{uint32(version), name, hex.EncodeToString(sum[:]), string(text)})
	}
	return all, nil
}

// Statements are the migration's statements for a database, whose name is put
// in as an identifier.
func (m Migration) Statements(database string) []string {
	var all []string
	for s := range strings.SplitSeq(m.text, ";\n") {
		if s = strings.TrimSpace(s); s != "" {
			all = append(all, strings.ReplaceAll(s, placeholder, Identifier(database)))
		}
	}
	return all
}

// Identifier quotes a name for use in a statement.
func Identifier(name string) string {
	return "`" + strings.NewReplacer("\\", "\\\\", "`", "\\`").Replace(name) + "`"
}

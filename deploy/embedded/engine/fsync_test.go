package engine_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"

	"hookledger/deploy/embedded/engine"
	"hookledger/deploy/embedded/engine/enginetest"
)

// Inserts and merges are synced when that is asked for, counted by the engine itself. Without it nothing is: so the
// library's defaults are what fsync.go says, and a newer one that changes them is noticed.
func TestInsertsAndMergesAreSynced(t *testing.T) {
	t.Parallel()
	for _, fsync := range []bool{true, false} {
		t.Run(fmt.Sprint(fsync), func(t *testing.T) {
			t.Parallel()
			e := enginetest.Start(t, t.TempDir(), quiet, func(o *engine.Options) { o.Fsync = fsync })
			conn := enginetest.Open(t, e.DSN(engine.UserService))
			must(t, conn, "CREATE TABLE k (n UInt64) ENGINE = ReplacingMergeTree ORDER BY n")
			must(t, conn, "SYSTEM STOP MERGES k")
			files, folders := syncs(t, conn)
			const inserts = 5
			for i := range inserts {
				must(t, conn, "INSERT INTO k SELECT number + ? FROM numbers(10)", i)
			}
			inserted, renamed := syncs(t, conn)
			must(t, conn, "SYSTEM START MERGES k")
			must(t, conn, "OPTIMIZE TABLE k FINAL")
			merged, again := syncs(t, conn)
			if fsync && (inserted-files < 3*inserts || renamed-folders < inserts || merged == inserted || again == renamed) {
				t.Errorf("files synced: %d, %d after the inserts, %d after the merge; folders: %d, %d, %d", files, inserted, merged, folders, renamed, again)
			}
			if !fsync && (merged != files || again != folders) {
				t.Errorf("without fsync files synced: %d, then %d; folders: %d, then %d", files, merged, folders, again)
			}
			if got := one[string](t, conn, "SELECT value FROM system.merge_tree_settings WHERE name = 'old_parts_lifetime'"); got != "0" {
				t.Errorf("old_parts_lifetime is %s", got)
			}
			for range 3 {
				if err := e.Sync(timeout(t, time.Minute)); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

// syncs are how many files and folders the engine has synced so far.
func syncs(t *testing.T, conn clickhouse.Conn) (files, folders uint64) {
	t.Helper()
	count := func(event string) uint64 {
		return one[uint64](t, conn, "SELECT toUInt64(sum(value)) FROM system.events WHERE event = ?", event)
	}
	return count("FileSync"), count("DirectorySync")
}

package engine_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"

	"hookledger/deploy/embedded/engine"
	"hookledger/deploy/embedded/engine/enginetest"
)

// BenchmarkStart is from nothing to the first answer, with the child's resident
// memory then.
func BenchmarkStart(b *testing.B) {
	var resident int
	for range b.N {
		o, err := enginetest.Options(b.TempDir())
		if err != nil {
			b.Fatal(err)
		}
		o.Logger = nil
		e, err := engine.Start(b.Context(), o)
		if err != nil {
			b.Fatal(err)
		}
		conn := enginetest.Open(b, e.DSN(engine.UserService))
		if err := conn.Ping(b.Context()); err != nil {
			b.Fatal(err)
		}
		resident = rss(b, e.PID())
		e.Close()
	}
	b.ReportMetric(float64(resident)/1024, "MiB-resident")
}

// rss is a process's resident memory in KiB, 0 where the system doesn't say.
func rss(b *testing.B, pid int) (kib int) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	_, after, _ := strings.Cut(string(status), "VmRSS:")
	if _, err := fmt.Sscan(after, &kib); err != nil {
		b.Fatal(err)
	}
	return kib
}

// cpu reports the child's processor time per operation since the returned
// function was made, which a loaded machine spoils less than the wall clock.
func cpu(b *testing.B) (report func()) {
	pid := db.Engine(b).PID()
	ticks := func() (user, system float64) {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			return 0, 0
		}
		fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+2:]))
		if _, err := fmt.Sscan(fields[11]+" "+fields[12], &user, &system); err != nil {
			b.Fatal(err)
		}
		return user, system
	}
	user, system := ticks()
	return func() {
		u, s := ticks()
		b.ReportMetric((u-user+s-system)*10/float64(b.N), "engine-CPU-ms/op")
	}
}

func BenchmarkSelect(b *testing.B) {
	conn := db.Open(b)
	must(b, conn, "CREATE TABLE s (n UInt64, v String) ENGINE = ReplacingMergeTree ORDER BY n")
	must(b, conn, "INSERT INTO s SELECT number, toString(number) FROM numbers(100000)")
	b.ReportAllocs()
	for name, sql := range map[string]string{"one": "SELECT 1", "row by key": "SELECT v FROM s FINAL WHERE n = {n:UInt64}"} {
		b.Run(name, func(b *testing.B) {
			defer cpu(b)()
			for range b.N {
				rows, err := conn.Query(b.Context(), sql, clickhouse.Named("n", rand.Uint64N(100000)))
				if err != nil {
					b.Fatal(err)
				}
				for rows.Next() {
					_ = rows
				}
				_ = rows.Close()
			}
		})
	}
}

// BenchmarkInsert inserts attempts in batches, one after the other.
func BenchmarkInsert(b *testing.B) {
	for _, size := range []int{500, 5_000, 20_000} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			conn := db.Open(b)
			must(b, conn, `CREATE TABLE attempts (
				account LowCardinality(String) CODEC(ZSTD(1)), webhook_id FixedString(16) CODEC(ZSTD(1)), delivery_id FixedString(16) CODEC(ZSTD(3)), event_id FixedString(16) CODEC(ZSTD(1)),
				event_type LowCardinality(String) CODEC(ZSTD(1)), attempt UInt16 CODEC(T64, ZSTD(1)), outcome Enum8('delivered' = 1, 'status' = 2) CODEC(ZSTD(1)), status_code UInt16 CODEC(ZSTD(1)),
				started_at DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)), duration_us UInt32 CODEC(T64, ZSTD(1)), response_headers String CODEC(ZSTD(1)), response_body String CODEC(ZSTD(1)),
				part UInt16 CODEC(ZSTD(1)), off UInt64 CODEC(Delta, ZSTD(1)), record_hash UInt64 CODEC(NONE)
			) ENGINE = ReplacingMergeTree PARTITION BY toYYYYMMDD(started_at) ORDER BY (account, webhook_id, delivery_id, off, part) SETTINGS index_granularity = 2048`)
			b.ReportAllocs()
			defer cpu(b)()
			id := make([]byte, 16)
			for n := range b.N {
				batch, err := conn.PrepareBatch(b.Context(), "INSERT INTO attempts")
				if err != nil {
					b.Fatal(err)
				}
				for i := range size {
					for j := range id[:8] {
						id[j] = byte(rand.Uint32())
					}
					if err := batch.Append("acme", string(id), string(id), string(id), "export.ready", uint16(1), "delivered", uint16(200), time.Now(), uint32(1234),
						"content-type: application/json\r\nserver: nginx", `{"ok":true,"message":"received, thank you"}`, uint16(1), uint64(n*size+i), rand.Uint64()); err != nil {
						b.Fatal(err)
					}
				}
				if err := batch.Send(); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(size*b.N)/b.Elapsed().Seconds(), "rows/s")
		})
	}
}

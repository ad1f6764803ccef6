package engine_test

import (
	"bytes"
	"context"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/google/uuid"

	"hookledger/deploy/embedded/engine/enginetest"
)

func TestHello(t *testing.T) {
	conn := db.Open(t)
	v, err := conn.ServerVersion()
	if err != nil {
		t.Fatal(err)
	}
	if v.Revision != 0 || v.Version.Major < 26 || v.Timezone.String() != "UTC" {
		t.Fatalf("handshake %+v", v)
	}
	if err := conn.Ping(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := one[string](t, conn, "SELECT timezone()"); got != "UTC" {
		t.Fatalf("time zone %q", got)
	}
}

// TestTypes brings every column type of the history there and back.
func TestTypes(t *testing.T) {
	conn := db.Open(t)
	must(t, conn, `CREATE TABLE all_types (
		id FixedString(16), account LowCardinality(String) CODEC(ZSTD(1)), at DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)), hour DateTime('UTC'),
		outcome Enum8('delivered' = 1, 'http_status' = 2), u8 UInt8, u16 UInt16 CODEC(T64, ZSTD(1)), u32 UInt32, u64 UInt64 CODEC(NONE), i32 Int32, i64 Int64, f64 Float64, b Bool,
		body String, lb Array(UInt8), ln Array(UInt32), maybe Nullable(String), maybe_at Nullable(DateTime64(3, 'UTC')),
		headers Map(String, String), list Array(String), u UUID,
		lag Int32 ALIAS i32 + 1
	) ENGINE = ReplacingMergeTree ORDER BY id PARTITION BY toYYYYMMDD(at)`)

	every := make([]byte, 256)
	for i := range every {
		every[i] = byte(i)
	}
	id := string(every[:16])
	at := time.Date(2026, 11, 23, 1, 2, 3, 4_000_000, time.UTC)
	when := at.Add(time.Hour)
	text := "maybe"
	uid := uuid.MustParse("0190a7d6-7c2a-7000-8000-00000000002a")

	batch, err := conn.PrepareBatch(t.Context(), "INSERT INTO all_types")
	if err != nil {
		t.Fatal(err)
	}
	if err := batch.Append(id, "acme", at, at.Truncate(time.Hour), "http_status", uint8(200), uint16(65535), uint32(1<<32-1), uint64(1<<64-1), int32(-7), int64(-1<<63), 1.5, true,
		string(every), []uint8{0, 255}, []uint32{1, 1<<32 - 1}, &text, &when, map[string]string{"a": "\x00\n", "": "'"}, []string{"", "\t"}, uid); err != nil {
		t.Fatal(err)
	}
	if err := batch.Append(strings.Repeat("\xff", 16), "", time.UnixMilli(0).UTC(), time.Unix(0, 0), "delivered", uint8(0), uint16(0), uint32(0), uint64(0), int32(0), int64(0), 0.0, false,
		"", []uint8{}, []uint32{}, nil, nil, map[string]string{}, []string{}, uuid.Nil); err != nil {
		t.Fatal(err)
	}
	if err := batch.Send(); err != nil {
		t.Fatal(err)
	}

	var row struct {
		ID      string            `ch:"id"`
		Account string            `ch:"account"`
		At      time.Time         `ch:"at"`
		Hour    time.Time         `ch:"hour"`
		Outcome string            `ch:"outcome"`
		U8      uint8             `ch:"u8"`
		U16     uint16            `ch:"u16"`
		U32     uint32            `ch:"u32"`
		U64     uint64            `ch:"u64"`
		I32     int32             `ch:"i32"`
		I64     int64             `ch:"i64"`
		F64     float64           `ch:"f64"`
		B       bool              `ch:"b"`
		Body    string            `ch:"body"`
		LB      []uint8           `ch:"lb"`
		LN      []uint32          `ch:"ln"`
		Maybe   *string           `ch:"maybe"`
		MaybeAt *time.Time        `ch:"maybe_at"`
		Headers map[string]string `ch:"headers"`
		List    []string          `ch:"list"`
		U       uuid.UUID         `ch:"u"`
		Lag     int32             `ch:"lag"`
	}
	if err := conn.QueryRow(t.Context(), "SELECT *, lag FROM all_types FINAL WHERE id = {id:FixedString(16)}", clickhouse.Named("id", id)).ScanStruct(&row); err != nil {
		t.Fatal(err)
	}
	if row.ID != id || row.Account != "acme" || !row.At.Equal(at) || !row.Hour.Equal(at.Truncate(time.Hour)) || row.Outcome != "http_status" || row.Body != string(every) {
		t.Errorf("text and times: %+v", row)
	}
	if row.U8 != 200 || row.U16 != 65535 || row.U32 != 1<<32-1 || row.U64 != 1<<64-1 || row.I32 != -7 || row.I64 != -1<<63 || row.F64 != 1.5 || !row.B || row.Lag != -6 {
		t.Errorf("numbers: %+v", row)
	}
	if !bytes.Equal(row.LB, []byte{0, 255}) || !slices.Equal(row.LN, []uint32{1, 1<<32 - 1}) || !slices.Equal(row.List, []string{"", "\t"}) || row.Headers["a"] != "\x00\n" || row.Headers[""] != "'" || row.U != uid {
		t.Errorf("collections: %+v", row)
	}
	if row.Maybe == nil || *row.Maybe != text || row.MaybeAt == nil || !row.MaybeAt.Equal(when) {
		t.Errorf("nullables: %+v", row)
	}
	if n := one[uint64](t, conn, "SELECT count() FROM all_types WHERE maybe IS NULL AND maybe_at IS NULL AND empty(headers) AND u = toUUID('00000000-0000-0000-0000-000000000000')"); n != 1 {
		t.Errorf("empty row: %d", n)
	}
}

func TestParameters(t *testing.T) {
	conn := db.Open(t)
	odd := "it's \\ \t\n \"`{x:String}` ü"
	for name, row := range map[string]driver.Row{
		"server-side": conn.QueryRow(t.Context(), "SELECT {x:String}, {n:UInt64}, {l:Array(UInt32)}", clickhouse.Named("x", odd), clickhouse.Named("n", uint64(1<<63)), clickhouse.Named("l", []uint32{1, 2})),
		"positional":  conn.QueryRow(t.Context(), "SELECT ?, toUInt64(?), CAST(?, 'Array(UInt32)')", odd, uint64(1<<63), []uint32{1, 2}),
		"numbered":    conn.QueryRow(t.Context(), "SELECT $1, toUInt64($2), CAST($3, 'Array(UInt32)')", odd, uint64(1<<63), []uint32{1, 2}),
		"named":       conn.QueryRow(t.Context(), "SELECT @x, toUInt64(@n), CAST(@l, 'Array(UInt32)')", clickhouse.Named("x", odd), clickhouse.Named("n", uint64(1<<63)), clickhouse.Named("l", []uint32{1, 2})),
	} {
		var (
			x string
			n uint64
			l []uint32
		)
		if err := row.Scan(&x, &n, &l); err != nil || x != odd || n != 1<<63 || !slices.Equal(l, []uint32{1, 2}) {
			t.Errorf("%s: %q %d %v %v", name, x, n, l, err)
		}
	}
	ctx := clickhouse.Context(t.Context(), clickhouse.WithParameters(clickhouse.Parameters{"x": "a"}))
	var x string
	if err := conn.QueryRow(ctx, "SELECT {x:String}").Scan(&x); err != nil || x != "a" {
		t.Errorf("WithParameters: %q %v", x, err)
	}
	at := time.Date(2026, 1, 2, 3, 4, 5, 678_000_000, time.UTC)
	if got := one[time.Time](t, conn, "SELECT {at:DateTime64(3, 'UTC')}", clickhouse.DateNamed("at", at, clickhouse.MilliSeconds)); !got.Equal(at) {
		t.Errorf("time parameter: %v", got)
	}
}

func TestReplacingFinal(t *testing.T) {
	conn := db.Open(t)
	must(t, conn, "CREATE TABLE d (k UInt64, v String, version UInt64) ENGINE = ReplacingMergeTree(version) ORDER BY k")
	must(t, conn, "SYSTEM STOP MERGES d")
	for _, r := range []string{"(1, 'old', 1), (2, 'two', 1)", "(1, 'new', 3)", "(1, 'late', 2)"} {
		must(t, conn, "INSERT INTO d VALUES "+r)
	}
	if n := one[uint64](t, conn, "SELECT count() FROM d"); n != 4 {
		t.Fatalf("parts were merged: %d rows", n)
	}
	if v := one[string](t, conn, "SELECT v FROM d FINAL WHERE k = 1"); v != "new" {
		t.Fatalf("FINAL chose %q", v)
	}
	if n := one[uint64](t, conn, "SELECT count() FROM d FINAL SETTINGS do_not_merge_across_partitions_select_final = 1"); n != 2 {
		t.Fatalf("FINAL kept %d", n)
	}
}

func TestExceptions(t *testing.T) {
	conn := db.Open(t)
	for sql, want := range map[string]int32{
		"SELECT * FROM nowhere": 60,
		"SELEC 1":               62,
		"SELECT 1; SELECT 2":    62,
		"SELECT throwIf(number = 3, 'boom') FROM numbers(10)":     395,
		"SELECT nofunction(1)":                                    46,
		"CREATE TABLE a (x UInt8) ENGINE = Nonsense":              56,
		"SELECT 1 SETTINGS no_such_setting = 1":                   115,
		"INSERT INTO nowhere VALUES (1)":                          60,
		"SELECT toUInt8('x')":                                     6,
		"SELECT {missing:String}":                                 456,
		"SELECT * FROM numbers(10) SETTINGS max_rows_to_read = 1": 158,
	} {
		if err := conn.Exec(t.Context(), sql); code(err) != want {
			t.Errorf("%s: want code %d, got %v", sql, want, err)
		}
		rows, err := conn.Query(t.Context(), sql)
		if err == nil {
			for rows.Next() {
				_ = rows // read on
			}
			err = rows.Err()
			_ = rows.Close()
		}
		if code(err) != want {
			t.Errorf("query %s: want code %d, got %v", sql, want, err)
		}
	}
	ctx := clickhouse.Context(t.Context(), clickhouse.WithSettings(clickhouse.Settings{"no_such_setting": 1}))
	if err := conn.Exec(ctx, "SELECT 1"); code(err) != 115 {
		t.Errorf("unknown setting in the URL: %v", err)
	}
}

// TestLateException: an error behind megabytes that were sent already must still
// be an error, with its code, and never a short answer.
func TestLateException(t *testing.T) {
	conn := db.Open(t)
	rows, err := conn.Query(t.Context(), "SELECT number, throwIf(number = 9000000, 'late') FROM numbers(10000000)")
	n := 0
	if err == nil {
		defer rows.Close()
		for rows.Next() {
			n++
		}
		err = rows.Err()
	}
	if code(err) != 395 || n == 0 {
		t.Fatalf("%d rows, then %v", n, err)
	}
}

func TestSettings(t *testing.T) {
	conn := db.Open(t)
	ctx := clickhouse.Context(t.Context(), clickhouse.WithSettings(clickhouse.Settings{"max_threads": 1, "max_block_size": 1000, "session_timezone": "Asia/Tokyo"}))
	for range 3 {
		var threads, zone string
		if err := conn.QueryRow(ctx, "SELECT toString(getSetting('max_threads')), timezone()").Scan(&threads, &zone); err != nil || threads != "1" || zone != "Asia/Tokyo" {
			t.Fatalf("settings: %q %q %v", threads, zone, err)
		}
		// Nothing stays behind for the next request on the same connection.
		if zone := one[string](t, conn, "SELECT timezone()"); zone != "UTC" {
			t.Fatalf("a setting outlived its request: %q", zone)
		}
	}
	must(t, conn, "SET max_threads = 1")
	must(t, conn, "USE system")
	if got := one[string](t, conn, "SELECT currentDatabase()"); !strings.HasPrefix(got, "t") {
		t.Fatalf("USE outlived its request: %q", got)
	}
	if got := one[string](t, conn, "SELECT toString(getSetting('async_insert'))"); got != "0" && got != "false" {
		t.Fatalf("async_insert is %q", got)
	}

	slow := "SELECT max(sipHash64(number)) FROM numbers(1000000000000)"
	begin := time.Now()
	ctx = clickhouse.Context(t.Context(), clickhouse.WithSettings(clickhouse.Settings{"max_execution_time": "0.3"}))
	if err := conn.Exec(ctx, slow); code(err) != 159 {
		t.Fatalf("max_execution_time: %v", err)
	}
	if d := time.Since(begin); d > 10*time.Second {
		t.Fatalf("max_execution_time of 0.3 s took %s", d)
	}
}

func TestCancel(t *testing.T) {
	conn := db.Open(t)
	for name, sql := range map[string]string{
		"aggregation": "SELECT max(sipHash64(number)) AS cancel_me FROM numbers(1000000000000)",
		"stream":      "SELECT number AS cancel_me FROM numbers(1000000000000)",
		"insert":      "INSERT INTO FUNCTION null('n UInt64') SELECT number AS cancel_me FROM numbers(1000000000000)",
	} {
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() {
			rows, err := conn.Query(ctx, sql)
			if err == nil {
				for rows.Next() {
					_ = rows // read on
				}
				err = rows.Err()
				_ = rows.Close()
			}
			ended <- err
		}()
		running := func() bool {
			return one[uint64](t, conn, "SELECT count() FROM system.processes WHERE query LIKE '%cancel_me%' AND query NOT LIKE '%system.processes%'") > 0
		}
		eventually(t, name+" runs", running)
		cancel()
		if err := <-ended; err == nil {
			t.Errorf("%s: no error after cancel", name)
		}
		eventually(t, name+" is cancelled in the engine", func() bool { return !running() })
	}
}

func TestParallel(t *testing.T) {
	dsn := db.Database(t)
	conn := enginetest.Open(t, dsn)
	must(t, conn, "CREATE TABLE p (w UInt32, n UInt32) ENGINE = MergeTree ORDER BY (w, n)")
	var group sync.WaitGroup
	for w := range uint32(16) {
		group.Go(func() {
			for i := range uint32(10) {
				batch, err := conn.PrepareBatch(t.Context(), "INSERT INTO p (w, n)")
				if err != nil {
					t.Error(err)
					return
				}
				for n := range uint32(100) {
					if err := batch.Append(w, i*100+n); err != nil {
						t.Error(err)
					}
				}
				if err := batch.Send(); err != nil {
					t.Error(err)
				}
				var got uint64
				if err := conn.QueryRow(t.Context(), "SELECT count() FROM p WHERE w = ?", w).Scan(&got); err != nil || got != uint64(i+1)*100 {
					t.Errorf("writer %d sees %d of its %d rows: %v", w, got, (i+1)*100, err)
				}
			}
		})
	}
	group.Wait()
	if n := one[uint64](t, conn, "SELECT uniqExact(w, n) FROM p"); n != 16*1000 {
		t.Fatalf("%d rows", n)
	}
}

package engine_test

import (
	"testing"

	"hookledger/deploy/embedded/engine/enginetest"
)

var db enginetest.Engine

func TestMain(m *testing.M) { db.Main(m) }

func TestHello(t *testing.T) {
	conn := db.Open(t)
	v, err := conn.ServerVersion()
	if err != nil {
		t.Fatal(err)
	}
	if v.Revision != 0 || v.Version.Major < 26 {
		t.Fatalf("%+v", v)
	}
	var s string
	if err := conn.QueryRow(t.Context(), "SELECT currentDatabase()").Scan(&s); err != nil {
		t.Fatal(err)
	}
	t.Log(s)
	if err := conn.Exec(t.Context(), "CREATE TABLE x (a UInt32, s String) ENGINE = MergeTree ORDER BY a"); err != nil {
		t.Fatal(err)
	}
	b, err := conn.PrepareBatch(t.Context(), "INSERT INTO x")
	if err != nil {
		t.Fatal(err)
	}
	for i := range 1000 {
		if err := b.Append(uint32(i), "x"); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.Send(); err != nil {
		t.Fatal(err)
	}
	var n uint64
	if err := conn.QueryRow(t.Context(), "SELECT count() FROM x").Scan(&n); err != nil || n != 1000 {
		t.Fatal(n, err)
	}
}

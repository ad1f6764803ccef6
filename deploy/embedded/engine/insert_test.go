package engine_test

import (
	"bufio"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"testing"

	chproto "github.com/ClickHouse/ch-go/proto"
	"github.com/ClickHouse/clickhouse-go/v2/lib/proto"

	"hookledger/deploy/embedded/engine/enginetest"
)

func TestBigBatches(t *testing.T) {
	conn := db.Open(t)
	must(t, conn, "CREATE TABLE big (n UInt64, id FixedString(16), body String) ENGINE = ReplacingMergeTree ORDER BY n")
	body := strings.Repeat("body ", 100)
	for round := range uint64(3) {
		batch, err := conn.PrepareBatch(t.Context(), "INSERT INTO big")
		if err != nil {
			t.Fatal(err)
		}
		for i := range uint64(20_000) {
			if err := batch.Append(round*20_000+i, fmt.Sprintf("%016d", i), body); err != nil {
				t.Fatal(err)
			}
		}
		if err := batch.Send(); err != nil {
			t.Fatal(err)
		}
	}
	if n := one[uint64](t, conn, "SELECT uniqExact(n) FROM big"); n != 60_000 {
		t.Fatalf("%d rows", n)
	}
	if n := one[uint64](t, conn, "SELECT count() FROM big WHERE body = {b:String}", clickhouseNamed("b", body)); n != 60_000 {
		t.Fatalf("%d whole bodies", n)
	}
}

// native encodes rows from..to of one UInt64 column, as the driver sends them.
func native(t testing.TB, from, to uint64) []byte {
	t.Helper()
	block := proto.NewBlock()
	if err := block.AddColumn("n", "UInt64"); err != nil {
		t.Fatal(err)
	}
	for n := from; n < to; n++ {
		if err := block.Append(n); err != nil {
			t.Fatal(err)
		}
	}
	var buf chproto.Buffer
	if err := block.Encode(&buf, 0); err != nil {
		t.Fatal(err)
	}
	return buf.Buf
}

// TestFailedInsertLeavesNothing: whatever breaks in the middle of an insert, no
// row of it is there afterwards.
func TestFailedInsertLeavesNothing(t *testing.T) {
	dsn := db.Database(t)
	conn := enginetest.Open(t, dsn)
	must(t, conn, "CREATE TABLE half (n UInt64, CONSTRAINT small CHECK n < 1000000) ENGINE = MergeTree ORDER BY n")
	whole := native(t, 0, 10_000)
	for name, data := range map[string][]byte{
		"cut in the first block":       whole[:len(whole)/2],
		"garbage in the first block":   append(append([]byte(nil), whole[:20]...), "garbage that is no column at all"...),
		"second block cut":             append(native(t, 0, 10_000), whole[:len(whole)/2]...),
		"second block garbage":         append(native(t, 0, 10_000), "\x01\x02\x01x\x06StringZZZZ"...),
		"a row against the constraint": append(native(t, 0, 10_000), native(t, 1_000_000, 1_000_001)...),
	} {
		status, header, text := request(t, "POST", dsn, url.Values{"query": {"INSERT INTO half (n) FORMAT Native"}}, string(data))
		if status == 200 || header.Get("X-ClickHouse-Exception-Code") == "" {
			t.Errorf("%s: %d %q", name, status, text)
		}
	}
	hangUp(t, dsn, "INSERT INTO half (n) FORMAT Native", whole)
	if n := one[uint64](t, conn, "SELECT count() FROM half"); n != 0 {
		t.Fatalf("%d rows of failed inserts", n)
	}
	// A sentinel: the table does take a whole one.
	if status, _, text := request(t, "POST", dsn, url.Values{"query": {"INSERT INTO half (n) FORMAT Native"}}, string(whole)); status != 200 {
		t.Fatalf("a whole insert: %d %q", status, text)
	}
	if n := one[uint64](t, conn, "SELECT count() FROM half"); n != 10_000 {
		t.Fatalf("%d rows, want those of the whole insert only", n)
	}
}

// hangUp sends half of a request's body and goes away.
func hangUp(t testing.TB, dsn, query string, body []byte) {
	t.Helper()
	u, err := url.Parse(dsn)
	if err != nil {
		t.Fatal("bad DSN")
	}
	conn, err := net.Dial("tcp", u.Host)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	password, _ := u.User.Password()
	auth := base64.StdEncoding.EncodeToString([]byte(u.User.Username() + ":" + password))
	params := url.Values{"query": {query}, "database": {strings.Trim(u.Path, "/")}}
	w := bufio.NewWriter(conn)
	fmt.Fprintf(w, "POST /?%s HTTP/1.1\r\nHost: %s\r\nAuthorization: Basic %s\r\nContent-Length: %d\r\n\r\n", params.Encode(), u.Host, auth, len(body))
	_, _ = w.Write(body[:len(body)/2])
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
}

// TestDriverGoesAway: a batch whose context ends is an error, and either all of
// it or nothing is there.
func TestDriverGoesAway(t *testing.T) {
	conn := db.Open(t)
	must(t, conn, "CREATE TABLE away (n UInt64) ENGINE = MergeTree ORDER BY n")
	ctx, cancel := context.WithCancel(t.Context())
	batch, err := conn.PrepareBatch(ctx, "INSERT INTO away")
	if err != nil {
		t.Fatal(err)
	}
	for n := range uint64(50_000) {
		if err := batch.Append(n); err != nil {
			t.Fatal(err)
		}
	}
	cancel()
	if err := batch.Send(); !errors.Is(err, context.Canceled) {
		t.Fatalf("send after cancel: %v", err)
	}
	if n := one[uint64](t, conn, "SELECT count() FROM away"); n != 0 && n != 50_000 {
		t.Fatalf("%d rows of 50,000", n)
	}
}

package engine_test

import (
	"context"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ClickHouse/clickhouse-go/v2"

	"hookledger/deploy/embedded/engine"
	"hookledger/deploy/embedded/engine/enginetest"
)

func clickhouseNamed(name string, value any) any { return clickhouse.Named(name, value) }

// TestAuditorReads: what an auditor is there for works.
func TestAuditorReads(t *testing.T) {
	service, auditor := db.Databases(t)
	conn, read := enginetest.Open(t, service), enginetest.Open(t, auditor)
	must(t, conn, "CREATE TABLE a (id UInt64, url String, profile String, at DateTime64(3)) ENGINE = ReplacingMergeTree ORDER BY id")
	must(t, conn, "CREATE VIEW v AS SELECT id, url FROM a FINAL")
	must(t, conn, "INSERT INTO a VALUES (1, 'https://x/file', 'p', 0)")
	if n := one[uint64](t, read, "SELECT count() FROM a FINAL WHERE url = 'https://x/file' AND id = {id:UInt64}", clickhouse.Named("id", uint64(1))); n != 1 {
		t.Fatalf("%d rows", n)
	}
	for _, sql := range []string{
		"SELECT url, profile FROM v JOIN a USING (id)",
		"WITH 1 AS x SELECT x, format('{}-{}', url, 'file:///etc') FROM v",
		"(SELECT 1) UNION ALL (SELECT 2)",
		"SELECT /* why not */ sum(number) FROM numbers(10) -- done",
		"SELECT `url`, \"profile\" AS `a column` FROM a FORMAT JSONEachRow",
		"SHOW TABLES", "SHOW CREATE TABLE a", "DESCRIBE TABLE a", "DESC v", "EXPLAIN SELECT * FROM a", "EXISTS TABLE a", "SHOW DATABASES",
		"SELECT name FROM system.tables WHERE database = currentDatabase()",
		"SELECT 'ü', '#', '$x$'",
	} {
		if status, _, text := request(t, "POST", auditor, nil, sql); status != 200 {
			t.Errorf("%s: %d %s", sql, status, text)
		}
	}
	if status, _, text := request(t, "POST", auditor, url.Values{"max_execution_time": {"5"}, "max_result_rows": {"10"}}, "SELECT 1"); status != 200 {
		t.Errorf("settings: %d %s", status, text)
	}
}

// TestAuditorAttacks: every way out of reading tables that was found on this engine.
func TestAuditorAttacks(t *testing.T) {
	service, auditor := db.Databases(t)
	conn := enginetest.Open(t, service)
	must(t, conn, "CREATE TABLE a (id UInt64) ENGINE = MergeTree ORDER BY id")
	must(t, conn, "CREATE TABLE default.outside (id UInt64) ENGINE = MergeTree ORDER BY id")
	t.Cleanup(func() { _ = conn.Exec(context.Background(), "DROP TABLE IF EXISTS default.outside") })
	dir := t.TempDir()
	secret, target := filepath.Join(dir, "secret.csv"), filepath.Join(dir, "written")
	if err := os.WriteFile(secret, []byte("topsecret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, sql := range []string{
		// Writes.
		"INSERT INTO a VALUES (1)", "INSERT INTO a SELECT 1", "DELETE FROM a WHERE 1", "ALTER TABLE a DELETE WHERE 1", "ALTER TABLE a UPDATE id = 2 WHERE 1",
		"DROP TABLE a", "TRUNCATE TABLE a", "RENAME TABLE a TO b", "EXCHANGE TABLES a AND a", "OPTIMIZE TABLE a", "CREATE TABLE b (x UInt8) ENGINE = Memory", "CREATE TEMPORARY TABLE b (x UInt8)",
		"CREATE VIEW w AS SELECT 1", "CREATE DATABASE w", "CREATE FUNCTION f AS x -> x", "ATTACH TABLE b", "DETACH TABLE a", "BACKUP TABLE a TO File('TARGET')", "RESTORE TABLE a FROM File('TARGET')",
		"SYSTEM FLUSH LOGS", "SYSTEM SHUTDOWN", "SYSTEM STOP MERGES", "KILL QUERY WHERE 1", "SET readonly = 0", "SET max_threads = 1", "USE system", "GRANT ALL ON *.* TO default", "CREATE USER u",
		"INSERT INTO FUNCTION file('TARGET', 'CSV', 'a String') VALUES ('x')", "BEGIN TRANSACTION", "EXECUTE AS default SELECT 1", "CREATE NAMED COLLECTION n AS a = 1", "MOVE USER u TO x",
		// Settings in the statement.
		"SELECT 1 SETTINGS readonly = 0", "SELECT 1 SETTINGS max_execution_time = 0", "SELECT * FROM (SELECT 1 SETTINGS readonly = 0)", "SELECT 1 SETTINGS log_comment = 'hookledger-1'",
		// More than one statement, and statements hidden by comments.
		"SELECT 1; SELECT 2", "SELECT 1; INSERT INTO a VALUES (1)", "SELECT 1;\n--\nDROP TABLE a", "/* SELECT */ DROP TABLE a", "-- SELECT\nDROP TABLE a", "SELECT 1 PARALLEL WITH DROP TABLE a",
		"EXPLAIN PIPELINE INSERT INTO a SELECT 1;INSERT INTO a VALUES (2)",
		// Files, by table function, by function, by name.
		"SELECT 1 INTO OUTFILE 'TARGET'", "SELECT 1 INTO OUTFILE 'TARGET' TRUNCATE FORMAT CSV", "EXPLAIN SELECT 1 INTO OUTFILE 'TARGET'",
		"SELECT * FROM file('SECRET')", "SELECT * FROM file('SECRET', 'CSV', 's String')", "SELECT * FROM \"file\"('SECRET')", "SELECT * FROM `fi\\x6ce`('SECRET')", "SELECT * FROM file/**/('SECRET')",
		"DESCRIBE TABLE file('SECRET')", "DESCRIBE file('SECRET', 'CSVWithNames')", "EXPLAIN SELECT * FROM file('SECRET')", "SELECT * FROM view(SELECT * FROM file('SECRET'))", "SELECT * FROM loop(file('SECRET'))",
		"SELECT * FROM viewIfPermitted(SELECT * FROM file('SECRET') ELSE null('a String'))", "SELECT * FROM eval('SELECT * FROM file(''SECRET'')')", "SELECT * FROM filesystem('DIR')", "SELECT * FROM fileCluster('default', 'SECRET')",
		"SELECT file('SECRET')", "SELECT `file`('SECRET')", "SELECT `fi\\x6ce`('SECRET')", "SELECT file\u00a0('SECRET')", "SELECT file/* */('SECRET')", "SELECT file --\n('SECRET')", "SELECT * APPLY file FROM (SELECT 'SECRET' AS s)",
		"SELECT COLUMNS('s') APPLY(file) FROM (SELECT 'SECRET' AS s)", "SELECT arrayMap(file, ['SECRET'])", "SELECT arrayMap(x -> file(x), ['SECRET'])", "WITH file('SECRET') AS x SELECT x", "SELECT $$a$$, file('SECRET')",
		"SELECT 1 /* /* */ , file('SECRET') /* */ */", "SELECT 1 -- \r, file('SECRET')\n", "SELECT ‘a’, file('SECRET')",
		"SELECT * FROM 'SECRET'", "SELECT * FROM `SECRET`", "SELECT * FROM default.`SECRET`", "SELECT * FROM `default`.`SECRET`", "SELECT * FROM default . \"SECRET\"", "SELECT * FROM de/**/fault.`SECRET`", "SELECT * FROM `def\\x61ult`.`SECRET`",
		"DESCRIBE TABLE `SECRET`", "DESCRIBE TABLE 'SECRET'", "DESCRIBE TABLE default.`SECRET`", "EXISTS TABLE default.`SECRET`", "SHOW CREATE TABLE default.`SECRET`", "SELECT * FROM merge('default', '.*secret.*')", "SELECT 1 IN default.`SECRET`",
		"SELECT * FROM sqlite('TARGET', 't')", "DESCRIBE TABLE sqlite('TARGET', 't')", "SELECT * FROM icebergLocal('DIR')", "DESCRIBE TABLE deltaLakeLocal('DIR')", "SELECT catboostEvaluate('SECRET', 1)",
		"SELECT * FROM default.outside", "SELECT * FROM dictionary('default.x')",
		// Programs and addresses.
		"SELECT * FROM executable('touch TARGET', 'TSV', 's String')", "DESCRIBE TABLE executable('touch TARGET', 'TSV', 's String')", "EXPLAIN SELECT * FROM executable('touch TARGET', 'TSV', 's String')",
		"SELECT * FROM url('http://127.0.0.1:1/x', 'CSV', 's String')", "DESCRIBE TABLE url('http://127.0.0.1:1/x')", "DESCRIBE TABLE URL('http://127.0.0.1:1/x')", "SELECT * FROM s3('http://127.0.0.1:1/bucket/x', 'CSV')", "DESCRIBE TABLE s3('http://127.0.0.1:1/bucket/x', 'CSV')",
		"SELECT * FROM remote('127.0.0.1:1', system.one)", "DESCRIBE TABLE remote('127.0.0.1:1', system.one)", "SELECT * FROM cluster('default', system.one)", "DESCRIBE TABLE mysql('127.0.0.1:1', 'a', 'b', 'c', 'd')", "SELECT * FROM postgresql('127.0.0.1:1', 'a', 'b', 'c', 'd')",
		"DESCRIBE TABLE mongodb('127.0.0.1:1', 'a', 'b', 'c', 'd', 'e String')", "DESCRIBE TABLE redis('127.0.0.1:1', 'k', 'k String, v String')", "DESCRIBE TABLE hdfs('hdfs://127.0.0.1:1/x', 'CSV', 's String')", "SELECT * FROM jdbc('x', 'y')", "SELECT aiGenerate('x')",
	} {
		sql = strings.NewReplacer("SECRET", secret, "TARGET", target, "DIR", dir).Replace(sql)
		for _, dsn := range []string{auditor, db.Engine(t).DSN(engine.UserAuditor)} {
			status, _, text := request(t, "POST", dsn, nil, sql)
			if status == 200 || strings.Contains(text, "topsecret") {
				t.Errorf("%s\n  passed: %d %q", sql, status, text)
			}
		}
	}
	for _, params := range []url.Values{
		{"readonly": {"0"}},
		{"readonly": {"2"}},
		{"log_comment": {"x"}},
		{"allow_introspection_functions": {"1"}},
		{"format_template_resultset": {secret}},
		{"async_insert": {"1"}},
		{"query": {"INSERT INTO a VALUES"}},
		{"query": {"SELECT"}, "param_t": {secret}},
		{"database": {"default`; DROP TABLE a"}},
		{"user": {"service"}},
		{"role": {"x"}},
	} {
		body := "(1)"
		if !params.Has("query") {
			body = "SELECT 1"
		} else if params.Has("param_t") {
			body = " * FROM default.{t:Identifier}"
		}
		if status, _, text := request(t, "POST", auditor, params, body); status == 200 {
			t.Errorf("%v passed: %q", params, text)
		}
	}
	if status, _, text := request(t, "POST", auditor, url.Values{"param_t": {secret}, "database": {"default"}}, "SELECT * FROM {t:Identifier}"); status == 200 {
		t.Errorf("a file by parameter: %q", text)
	}
	if status, _, _ := request(t, "POST", auditor, nil, "SELECT 1 -- "+strings.Repeat("x", 1<<20)); status != 413 {
		t.Errorf("a statement of over a megabyte: %d", status)
	}
	if _, err := os.Stat(target); !os.IsNotExist(err) {
		t.Errorf("an attack wrote a file: %v", err)
	}
	if n := one[uint64](t, conn, "SELECT count() FROM a"); n != 0 {
		t.Errorf("an attack wrote %d rows", n)
	}
	if n := one[uint64](t, conn, "SELECT count() FROM system.tables WHERE database = currentDatabase() AND name != 'a'"); n != 0 {
		t.Errorf("an attack made %d tables", n)
	}
}

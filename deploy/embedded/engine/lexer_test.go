package engine

import (
	"strings"
	"testing"
)

func TestSplitInsert(t *testing.T) {
	for sql, want := range map[string]insertStatement{
		"INSERT INTO t FORMAT Native":                                                                      {"INSERT INTO t", "Native", ""},
		"insert into t (a, `b`) format CSV\n1,2\n":                                                         {"insert into t (a, `b`)", "CSV", "1,2\n"},
		"INSERT INTO t SETTINGS async_insert = 0 FORMAT TSV  \n":                                           {"INSERT INTO t SETTINGS async_insert = 0", "TSV", ""},
		"/* FORMAT x */ INSERT INTO `FORMAT` (\"format\", values) -- FORMAT\nFORMAT JSONEachRow {\"a\":1}": {"/* FORMAT x */ INSERT INTO `FORMAT` (\"format\", values) -- FORMAT\n", "JSONEachRow", "{\"a\":1}"},
		"INSERT INTO FUNCTION null('a FORMAT b') FORMAT TSV\n\n1":                                          {"INSERT INTO FUNCTION null('a FORMAT b')", "TSV", "\n1"},
	} {
		got, ok := splitInsert(sql)
		if !ok || got != want {
			t.Errorf("%q: %q %v", sql, got, ok)
		}
	}
	for _, sql := range []string{
		"", "SELECT 1 FORMAT Native", "INSERT INTO t VALUES (1) FORMAT CSV", "INSERT INTO t SELECT 1 FORMAT CSV", "INSERT INTO t WITH 1 AS x SELECT x FORMAT CSV",
		"INSERT INTO t", "INSERT INTO t ('FORMAT CSV", "INSERT INTO t FORMAT", "INSERT INTO t FROM INFILE 'x' FORMAT CSV", "-- INSERT INTO t FORMAT CSV",
	} {
		if got, ok := splitInsert(sql); ok {
			t.Errorf("%q: split into %q", sql, got)
		}
	}
}

func TestForbidden(t *testing.T) {
	b := &boot{tables: map[string]bool{"url": true, "file": true}}
	for _, sql := range []string{
		"SELECT url, profile FROM t WHERE x = 'file(' AND y = 'a\\'b'", "SELECT \"a b\".c FROM audit.t AS default_", "SHOW TABLES LIKE 'a%'", "SELECT '/x' -- a/b", "SELECT filepath, 2 FROM t",
		"SELECT settings FROM t WHERE a = 1", "SELECT $1, 1",
	} {
		if why := b.forbidden(sql); (why != "") != strings.Contains(sql, "$") {
			t.Errorf("%q: %s", sql, why)
		}
	}
	for _, sql := range []string{
		"SELECT File('x')", "SELECT 1file('x')", "SELECT \"FILE\"", "SELECT x FROM Url ('y')", "SELECT 'a", "SELECT `a", "SELECT /* a", "SELECT \"a\"\"b\"", "SELECT 1 SETTINGS a = 1", "SELECT 1 settings `a`=1",
		"SELECT a FROM default.t", "SELECT a FROM `default` /* x */ . t", "SELECT {x:Identifier}", "SELECT \xa0", "SELECT \x00", "DESCRIBE '/a'", "SELECT 1 -- file", "SELECT /* /* */ 1",
	} {
		if b.forbidden(sql) == "" {
			t.Errorf("%q passed", sql)
		}
	}
}

// FuzzLexer: every byte of the text is in a token or blank, in order, and the
// lexer comes to an end, whatever it reads.
func FuzzLexer(f *testing.F) {
	for _, seed := range []string{"SELECT 'a\\'b', `c`, \"d\" /* e */ -- f\n", "$a$b$a$ # x\n#!", "INSERT INTO t FORMAT CSV\n1", "'", "/*", "$", "\\", "''''", "ü\xff\x00"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, sql string) {
		at := 0
		for l := (&lexer{sql: sql}); ; {
			tok := l.next()
			if tok.kind == tokenEnd {
				break
			}
			start := tok.end - len(tok.text)
			if start < at || tok.text == "" || sql[start:tok.end] != tok.text || strings.Trim(sql[at:start], " \t\r\n\f\v") != "" {
				t.Fatalf("%q: token %+v after %d", sql, tok, at)
			}
			at = tok.end
		}
		if strings.Trim(sql[at:], " \t\r\n\f\v") != "" {
			t.Fatalf("%q: nothing read from %d", sql, at)
		}
		if ins, ok := splitInsert(sql); ok && !strings.HasPrefix(sql, ins.statement) {
			t.Fatalf("%q: %+v", sql, ins)
		}
		_ = (&boot{}).forbidden(sql)
	})
}

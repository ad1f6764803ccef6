package engine

import "strings"

// auditorSettings are the settings that an auditor may pass with a statement.
var auditorSettings = map[string]bool{
	"max_execution_time": true, "max_result_rows": true, "max_rows_to_read": true, "max_threads": true, "max_block_size": true,
	"session_timezone": true, "date_time_output_format": true, "final": true,
}

// auditorTables are the table functions that read nothing from outside.
var auditorTables = map[string]bool{
	"numbers": true, "numbers_mt": true, "zeros": true, "zeros_mt": true, "generate_series": true, "generateSeries": true,
	"values": true, "view": true, "null": true, "merge": true, "format": true,
}

func (b *boot) checkAuditor(req *request, kind analysis) error {
	if kind.class != classReadOnly || kind.statements != 1 {
		return refuse(codeReadonly, "READONLY", "auditor: Cannot execute query in readonly mode: one statement, of SELECT, SHOW, DESCRIBE, EXPLAIN, EXISTS")
	}
	l := &lexer{sql: req.sql}
	before := token{}
	for {
		t := l.next()
		name := t.text
		switch t.kind {
		case tokenEnd:
			return nil
		case tokenBroken:
			return refuse(codeReadonly, "READONLY", "auditor: an unclosed quote or comment")
		case tokenQuoted:
			name = name[1 : len(name)-1]
			if strings.ContainsAny(name, "\\`\"") {
				return refuse(codeReadonly, "READONLY", "auditor: a quoted name with an escape")
			}
		case tokenComment:
			if strings.Contains(strings.ToLower(name), "file") {
				return refuse(codeReadonly, "READONLY", "auditor: a comment that names a function")
			}
		case tokenOther:
			if name == "(" && b.tables[before.text] {
				return refuse(codeReadonly, "READONLY", "auditor: table function "+before.text+" is not allowed")
			}
			if name[0] >= 0x80 || name == "#" || name == "$" {
				return refuse(codeReadonly, "READONLY", "auditor: only ASCII outside of strings")
			}
		}
		if (t.kind == tokenWord || t.kind == tokenQuoted) && strings.HasSuffix(strings.ToLower(name), "file") {
			return refuse(codeReadonly, "READONLY", "auditor: function "+name+" is not allowed")
		}
		if t.kind != tokenComment {
			before = token{kind: t.kind, text: name}
		}
	}
}

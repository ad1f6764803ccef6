package engine

import "strings"

// An auditor reads tables and nothing else. Four things see to it, because each
// alone has been got round on this engine:
//
//  1. The engine's own parser says that the text is one statement that reads
//     (chdb_classify_query_n). This ends INSERT, SET, KILL, INTO OUTFILE and
//     several statements in one.
//  2. The session has readonly = 1 before the statement is seen, which also
//     refuses a SETTINGS clause and the table functions in a SELECT. It does not
//     refuse them in a DESCRIBE, nor the function file(), nor a file that the
//     engine has opened as a table before.
//  3. The rules below.
//  4. On Linux, the process itself may touch no file but its own and call no
//     address: see sandbox_linux.go.
//
// The library has one user, so there are no grants; what lies in the engine's
// tables is what an auditor can see.

const (
	// overlayDatabase is where the library finds the files of this machine by
	// their path, as in SELECT * FROM '/etc/passwd'. Auditors are kept out of it
	// altogether, so what auditors should see must lie in another.
	overlayDatabase = "default"
	auditorDatabase = "system"
)

// auditorSettings are the settings that an auditor may pass with a statement.
var auditorSettings = map[string]bool{
	"max_execution_time": true, "max_result_rows": true, "max_rows_to_read": true, "max_threads": true, "max_block_size": true,
	"session_timezone": true, "date_time_output_format": true, "final": true,
}

// auditorTables are the table functions that read nothing from outside. All
// others, which the engine names itself, are refused. In lower case.
var auditorTables = map[string]bool{
	"numbers": true, "numbers_mt": true, "zeros": true, "zeros_mt": true, "generate_series": true, "generateseries": true,
	"values": true, "view": true, "null": true,
	"format": true, // also a string function; reads its own argument
}

// auditorWords are names that may stand nowhere, because a function may be called
// without parentheses behind it: SELECT * APPLY file, arrayMap(file, ...).
var auditorWords = []string{"file", "catboostevaluate", "aigenerate", "aiclassify", "aiextract", "aitranslate", "aiembed"}

func (b *boot) checkAuditor(req *request, kind analysis) error {
	if kind.class == classUnknown && kind.statements == 0 {
		return refuse(codeSyntax, "SYNTAX_ERROR", "Syntax error: the statement can't be parsed")
	}
	if kind.class != classReadOnly || kind.statements != 1 {
		return notForAuditors("only one statement at a time, of SELECT, SHOW, DESCRIBE, EXPLAIN and EXISTS")
	}
	if why := b.forbidden(req.sql); why != "" {
		return notForAuditors(why)
	}
	return nil
}

func notForAuditors(why string) error {
	return refuse(codeReadonly, "READONLY", UserAuditor+": Cannot execute query in readonly mode: "+why)
}

// forbidden says what in a statement an auditor may not use. Where our reading of
// the text could differ from the engine's, it is refused.
func (b *boot) forbidden(sql string) string {
	var name, before, third string // the last tokens that count, the newest first
	reads := isAny(firstWord(sql), "SELECT", "WITH", "")
	for l := (&lexer{sql: sql}); ; {
		t := l.next()
		if t.kind == tokenComment {
			if strings.Contains(t.text[2:], "/*") || namesWord(t.text) != "" {
				return "a comment within a comment, or one that names a function"
			}
			continue
		}
		third, before, name = before, name, t.text
		switch t.kind {
		case tokenEnd:
			return ""
		case tokenBroken:
			return "a quote or comment without an end"
		case tokenString:
			if !reads && strings.Contains(name, "/") {
				return "a path outside of a SELECT"
			}
		case tokenQuoted:
			name = name[1 : len(name)-1]
			if strings.ContainsAny(name, "\\`\"/") {
				return "a quoted name with a quote, a backslash or a slash in it"
			}
		case tokenOther:
			switch {
			case name == "(" && b.tables[strings.ToLower(before)]:
				return "the table function " + before
			case name == "=" && strings.EqualFold(third, "SETTINGS"):
				return "a SETTINGS clause" // readonly lets it pass in a subquery
			case name == "." && before == overlayDatabase:
				return "the database " + overlayDatabase
			case name[0] >= 0x80 || name == "#" || name == "$" || name == "\x00":
				return "a character outside of ASCII, or one of # $, outside of quotes"
			}
		}
		if t.kind == tokenWord && strings.EqualFold(name, "Identifier") {
			return "a parameter that is a name"
		}
		if t.kind == tokenWord || t.kind == tokenQuoted {
			if word := namesWord(name); word != "" && (strings.EqualFold(word, name) || name[0] >= '0' && name[0] <= '9') {
				return "the function " + word
			}
		}
	}
}

// namesWord returns the forbidden word that text contains.
func namesWord(text string) string {
	text = strings.ToLower(text)
	for _, word := range auditorWords {
		if strings.Contains(text, word) {
			return word
		}
	}
	return ""
}

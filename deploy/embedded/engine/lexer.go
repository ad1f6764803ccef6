package engine

import "strings"

// tokenKind says what a token is. The lexer knows just enough of ClickHouse's
// SQL to find an INSERT's FORMAT clause and to hold an auditor's statement
// against a list of names.
type tokenKind int

const (
	tokenEnd     tokenKind = iota
	tokenWord              // a bare name, keyword or number
	tokenQuoted            // a name in backticks or double quotes
	tokenString            // a string literal
	tokenComment           // a comment, text included
	tokenOther             // one character of punctuation
	tokenBroken            // an unclosed quote or comment
)

type token struct {
	kind tokenKind
	text string // as it stands, quotes included
	end  int    // offset behind it
}

// lexer splits SQL. It never fails: what it can't read is tokenBroken or
// tokenOther, and the engine's own parser has the last word.
type lexer struct {
	sql string
	pos int
}

func (l *lexer) token(kind tokenKind, end int) token {
	t := token{kind: kind, text: l.sql[l.pos:end], end: end}
	l.pos = end
	return t
}

func (l *lexer) next() token {
	for l.pos < len(l.sql) && strings.IndexByte(" \t\r\n\f\v", l.sql[l.pos]) >= 0 {
		l.pos++
	}
	if l.pos >= len(l.sql) {
		return token{kind: tokenEnd, end: len(l.sql)}
	}
	rest := l.sql[l.pos:]
	switch c := rest[0]; {
	case c == '\'' || c == '"' || c == '`':
		end := quotedEnd(rest)
		if end < 0 {
			return l.token(tokenBroken, len(l.sql))
		}
		if c == '\'' {
			return l.token(tokenString, l.pos+end)
		}
		return l.token(tokenQuoted, l.pos+end)
	case strings.HasPrefix(rest, "--") || strings.HasPrefix(rest, "# ") || strings.HasPrefix(rest, "#!"):
		if end := strings.IndexByte(rest, '\n'); end >= 0 {
			return l.token(tokenComment, l.pos+end+1)
		}
		return l.token(tokenComment, len(l.sql))
	case strings.HasPrefix(rest, "/*"):
		if end := strings.Index(rest[2:], "*/"); end >= 0 {
			return l.token(tokenComment, l.pos+2+end+2)
		}
		return l.token(tokenBroken, len(l.sql))
	case c == '$':
		return l.heredoc(rest)
	case isWordByte(c):
		end := 1
		for end < len(rest) && (isWordByte(rest[end]) || rest[end] == '$') {
			end++
		}
		return l.token(tokenWord, l.pos+end)
	}
	return l.token(tokenOther, l.pos+1)
}

// heredoc reads $tag$...$tag$, a string literal.
func (l *lexer) heredoc(rest string) token {
	tag := 1
	for tag < len(rest) && isWordByte(rest[tag]) {
		tag++
	}
	if tag == len(rest) || rest[tag] != '$' {
		return l.token(tokenOther, l.pos+1)
	}
	tag++
	end := strings.Index(rest[tag:], rest[:tag])
	if end < 0 {
		return l.token(tokenBroken, len(l.sql))
	}
	return l.token(tokenString, l.pos+tag+end+tag)
}

// quotedEnd returns the offset behind the closing quote of s, which begins with
// one: a backslash escapes a character, a doubled quote is a quote.
func quotedEnd(s string) int {
	for i := 1; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case s[0]:
			if i+1 < len(s) && s[i+1] == s[0] {
				i++
				continue
			}
			return i + 1
		}
	}
	return -1
}

func isWordByte(c byte) bool {
	return c == '_' || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}

// firstWord returns the statement's first word in upper case.
func firstWord(sql string) string {
	for l := (&lexer{sql: sql}); ; {
		switch t := l.next(); t.kind {
		case tokenWord:
			return strings.ToUpper(t.text)
		case tokenComment:
		default:
			return ""
		}
	}
}

// insertStatement is an INSERT split into what chdb_stream_insert takes.
type insertStatement struct {
	statement string // up to FORMAT
	format    string
	data      string // what follows the FORMAT clause in the same text
}

// splitInsert finds the FORMAT clause of an INSERT that is fed with data. It
// reports false for INSERT ... VALUES and INSERT ... SELECT, which the engine
// runs as any other query.
func splitInsert(sql string) (insertStatement, bool) {
	depth := 0
	start := 0
	for l := (&lexer{sql: sql}); ; {
		before := l.pos
		t := l.next()
		switch {
		case t.kind == tokenEnd || t.kind == tokenBroken:
			return insertStatement{}, false
		case t.text == "(":
			depth++
		case t.text == ")":
			depth--
		case t.kind != tokenWord || depth > 0:
		case start == 0 && !strings.EqualFold(t.text, "INSERT"):
			return insertStatement{}, false
		case start == 0:
			start = t.end
		case isAny(t.text, "VALUES", "SELECT", "WITH", "FROM"):
			return insertStatement{}, false
		case strings.EqualFold(t.text, "FORMAT"):
			name := l.next()
			if name.kind != tokenWord {
				return insertStatement{}, false
			}
			return insertStatement{statement: sql[:before], format: name.text, data: insertData(sql[name.end:])}, true
		}
	}
}

// insertData drops what ClickHouse drops between a format's name and its data:
// blanks up to and including one line break.
func insertData(rest string) string {
	rest = strings.TrimLeft(rest, " \t\r;")
	return strings.TrimPrefix(rest, "\n")
}

func isAny(word string, of ...string) bool {
	for _, o := range of {
		if strings.EqualFold(word, o) {
			return true
		}
	}
	return false
}

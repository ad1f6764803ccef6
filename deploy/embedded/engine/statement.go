package engine

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// boot is the running engine: the library, and the arguments that every session
// of the process must repeat.
type boot struct {
	lib         *library
	version     string
	args        []string
	auditorArgs []string
	tables      map[string]bool // table functions that an auditor may not call
	serial      atomic.Uint64
	killer      chan *session // the session that cancels others, lent to one at a time
}

// run runs one request in a session of its own.
func (b *boot) run(ctx context.Context, a *answer, req *request) error {
	tag := "hookledger-" + strconv.FormatUint(b.serial.Add(1), 10)
	s, err := b.open(req, tag)
	if err != nil {
		return err
	}
	defer s.close()
	kind, err := s.classify(req.sql)
	if err != nil {
		return err
	}
	if kind.statements > 1 {
		return refuse(codeSyntax, "SYNTAX_ERROR", "Multi-statements are not allowed")
	}
	if req.user == UserAuditor {
		if err := b.checkAuditor(req, kind); err != nil {
			return err
		}
	}
	// The watch must be over before the session is closed and its tag forgotten.
	stop := b.watch(ctx, tag)
	defer stop()
	return b.execute(s, a, req, kind)
}

// open makes a session with the request's database and settings. It is read-only
// from before the request's statement is seen, where it must be. The tag finds
// the statement in the engine's list of processes; the library lets nobody choose
// a query id.
func (b *boot) open(req *request, tag string) (*session, error) {
	args := append(slices.Clone(b.args), "--log_comment="+tag)
	if req.user == UserAuditor {
		args = append(args, b.auditorArgs...)
	}
	s, err := b.lib.open(args)
	if err != nil {
		return nil, fmt.Errorf("opening a session of the engine: %w", err)
	}
	if err := b.prepare(s, req, tag); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

// prepare sets by SET rather than by an argument of chdb_connect, because a wrong
// setting then says its name and code.
func (b *boot) prepare(s *session, req *request, tag string) error {
	database := req.database
	if req.user == UserAuditor && (database == "" || database == overlayDatabase) {
		database = auditorDatabase
	}
	if database != "" && database != overlayDatabase {
		if err := s.exec("USE " + quoteName(database)); err != nil {
			return err
		}
	}
	var set []string
	for _, p := range req.settings {
		if req.user == UserAuditor && !auditorSettings[p.name] {
			return refuse(codeReadonly, "READONLY", "Cannot modify '"+p.name+"' setting in readonly mode")
		}
		set = append(set, p.name+" = "+quoteString(p.value))
	}
	if len(set) > 0 {
		set = append(set, "log_comment = "+quoteString(tag))
	}
	if req.readonly || req.user == UserAuditor {
		set = append(set, "readonly = 1")
	}
	if len(set) == 0 {
		return nil
	}
	return s.exec("SET " + strings.Join(set, ", "))
}

func (b *boot) execute(s *session, a *answer, req *request, kind analysis) error {
	if req.data != nil || firstWord(req.sql) == "INSERT" {
		if ins, ok := splitInsert(req.sql); ok {
			return b.insert(s, a, req, ins)
		}
		if len(req.data) > 0 {
			return b.withData(s, a, req)
		}
	}
	if kind.class == classReadOnly && !req.whole && streamable(req) {
		return b.stream(s, a, req)
	}
	r := s.query(req.sql, req.format, req.params)
	defer r.close()
	if err := r.err(); err != nil {
		return err
	}
	a.summary(s, r)
	return a.write(r.bytes())
}

// withData runs a statement whose URL and body both hold text, as ClickHouse
// does: one after the other.
func (b *boot) withData(s *session, a *answer, req *request) error {
	joined := *req
	joined.sql, joined.data = req.sql+"\n"+string(req.data), nil
	if ins, ok := splitInsert(joined.sql); ok {
		return b.insert(s, a, &joined, ins)
	}
	r := s.query(joined.sql, req.format, req.params)
	defer r.close()
	if err := r.err(); err != nil {
		return err
	}
	a.summary(s, r)
	return a.write(r.bytes())
}

// streamable reports whether blocks of the answer may be sent as they come: the
// library writes each block as a document of its own, which only Native and the
// like can take.
func streamable(req *request) bool {
	if first := firstWord(req.sql); first != "SELECT" && first != "WITH" {
		return false // the library streams nothing else
	}
	if req.format != "Native" && req.format != "RowBinary" && req.format != "TabSeparated" && req.format != "JSONEachRow" {
		return false
	}
	for l := (&lexer{sql: req.sql}); ; {
		switch t := l.next(); {
		case t.kind == tokenEnd:
			return true
		case t.kind == tokenBroken:
			return false
		case t.kind == tokenWord && strings.EqualFold(t.text, "FORMAT"):
			return false
		}
	}
}

func (b *boot) stream(s *session, a *answer, req *request) error {
	stream, err := s.stream(req.sql, req.format, req.params)
	if err != nil {
		return err
	}
	defer stream.close()
	for {
		block := s.next(stream)
		if err := block.err(); err != nil {
			block.close()
			return err
		}
		n := len(block.bytes())
		err := a.write(block.bytes())
		block.close()
		if err != nil {
			s.lib.cancel(s.conn, stream.ptr)
			return err
		}
		if n == 0 {
			return nil
		}
	}
}

func (b *boot) insert(s *session, a *answer, req *request, ins insertStatement) error {
	i, err := s.insert(ins.statement, ins.format, req.params)
	if err != nil {
		return err
	}
	defer i.close()
	for _, data := range [][]byte{[]byte(ins.data), req.data} {
		if err := i.append(data); err != nil {
			return err
		}
	}
	r := i.done()
	defer r.close()
	if err := r.err(); err != nil {
		return err
	}
	a.summary(s, r)
	return nil
}

func (a *answer) summary(s *session, r result) {
	a.w.Header().Set("X-ClickHouse-Summary", fmt.Sprintf(`{"read_rows":"%d","read_bytes":"%d","written_rows":"%d","written_bytes":"%d"}`,
		s.lib.resultRowsRead(r.ptr), s.lib.resultBytesRead(r.ptr), s.lib.resultRowsWritten(r.ptr), s.lib.resultBytesWritten(r.ptr)))
}

// watch cancels the statement tagged tag when ctx ends. The returned function
// ends the watch, and waits for a cancellation that is under way.
func (b *boot) watch(ctx context.Context, tag string) (stop func()) {
	ended := make(chan struct{})
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		select {
		case <-ended:
			return
		case <-ctx.Done():
		}
		// Again and again, because the statement may not have begun.
		for {
			k := <-b.killer
			_ = k.exec("KILL QUERY WHERE Settings['log_comment'] = '" + tag + "' ASYNC")
			b.killer <- k
			select {
			case <-ended:
				return
			case <-time.After(50 * time.Millisecond):
			}
		}
	}()
	return func() { close(ended); <-gone }
}

func quoteString(s string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(s) + "'"
}

func quoteName(s string) string {
	return "`" + strings.NewReplacer(`\`, `\\`, "`", "\\`").Replace(s) + "`"
}

func trimLine(b []byte) string { return strings.TrimRight(string(b), "\n") }

func splitLines(b []byte) iter.Seq[string] { return strings.SplitSeq(trimLine(b), "\n") }

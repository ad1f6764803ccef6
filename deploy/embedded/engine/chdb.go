package engine

import (
	"errors"
	"fmt"
	"runtime"
	"unsafe"

	"github.com/ebitengine/purego"
)

// library is libchdb, loaded into this process. Its functions are C functions:
// a call holds an operating system thread until the engine answers, and a crash
// in them is a crash of the process, which is why only the child loads it.
type library struct {
	version func() string

	setSignalHandlers func(enabled int32)
	connect           func(argc int32, argv unsafe.Pointer) unsafe.Pointer
	closeConn         func(conn unsafe.Pointer)
	shutdown          func() int32

	query      func(conn unsafe.Pointer, query unsafe.Pointer, queryLen uintptr, format unsafe.Pointer, formatLen uintptr, names, nameLens, values, valueLens unsafe.Pointer, count uintptr) unsafe.Pointer
	streamInit func(conn unsafe.Pointer, query unsafe.Pointer, queryLen uintptr, format unsafe.Pointer, formatLen uintptr, names, nameLens, values, valueLens unsafe.Pointer, count uintptr) unsafe.Pointer
	fetch      func(conn, stream unsafe.Pointer) unsafe.Pointer
	cancel     func(conn, stream unsafe.Pointer)
	destroy    func(result unsafe.Pointer)

	insertInit    func(conn unsafe.Pointer, query unsafe.Pointer, queryLen uintptr, format unsafe.Pointer, formatLen uintptr, names, nameLens, values, valueLens unsafe.Pointer, count uintptr) unsafe.Pointer
	insertAppend  func(stream unsafe.Pointer, data unsafe.Pointer, n uintptr) int32
	insertDone    func(stream unsafe.Pointer) unsafe.Pointer
	insertCancel  func(stream unsafe.Pointer)
	insertError   func(stream unsafe.Pointer) unsafe.Pointer
	insertDestroy func(stream unsafe.Pointer)

	resultBuffer       func(result unsafe.Pointer) unsafe.Pointer
	resultLength       func(result unsafe.Pointer) uintptr
	resultError        func(result unsafe.Pointer) unsafe.Pointer
	resultRowsRead     func(result unsafe.Pointer) uint64
	resultBytesRead    func(result unsafe.Pointer) uint64
	resultRowsWritten  func(result unsafe.Pointer) uint64
	resultBytesWritten func(result unsafe.Pointer) uint64

	classify func(conn unsafe.Pointer, sql unsafe.Pointer, n uintptr, target unsafe.Pointer, targetLen uintptr, out unsafe.Pointer) int32
}

// loadLibrary opens libchdb at path and binds what we use of it. A library that
// lacks one of the functions is refused by name, because an older chdb answers
// some of them wrongly or not at all.
func loadLibrary(path string) (*library, error) {
	handle, err := purego.Dlopen(path, purego.RTLD_NOW|purego.RTLD_LOCAL)
	if err != nil {
		return nil, fmt.Errorf("loading the engine library %s: %w", path, err)
	}
	lib := &library{}
	for _, f := range []struct {
		name string
		fn   any
	}{
		{"chdb_version", &lib.version},
		{"chdb_set_signal_handlers_enabled", &lib.setSignalHandlers},
		{"chdb_connect", &lib.connect},
		{"chdb_close_conn", &lib.closeConn},
		{"chdb_shutdown", &lib.shutdown},
		{"chdb_query_with_params_n", &lib.query},
		{"chdb_stream_query_with_params_n", &lib.streamInit},
		{"chdb_stream_fetch_result", &lib.fetch},
		{"chdb_stream_cancel_query", &lib.cancel},
		{"chdb_destroy_query_result", &lib.destroy},
		{"chdb_stream_insert_with_params_n", &lib.insertInit},
		{"chdb_stream_append", &lib.insertAppend},
		{"chdb_stream_done", &lib.insertDone},
		{"chdb_stream_cancel_insert", &lib.insertCancel},
		{"chdb_stream_insert_error", &lib.insertError},
		{"chdb_destroy_insert_stream", &lib.insertDestroy},
		{"chdb_result_buffer", &lib.resultBuffer},
		{"chdb_result_length", &lib.resultLength},
		{"chdb_result_error", &lib.resultError},
		{"chdb_result_rows_read", &lib.resultRowsRead},
		{"chdb_result_bytes_read", &lib.resultBytesRead},
		{"chdb_result_rows_written", &lib.resultRowsWritten},
		{"chdb_result_bytes_written", &lib.resultBytesWritten},
		{"chdb_classify_query_n", &lib.classify},
	} {
		symbol, err := purego.Dlsym(handle, f.name)
		if err != nil {
			return nil, fmt.Errorf("the engine library %s has no %s: it is not the version that deploy/embedded/package-lock.json names; run `make engine`: %w", path, f.name, err)
		}
		purego.RegisterFunc(f.fn, symbol)
	}
	// The Go runtime owns the signals of this process; chdb's handlers would
	// take SIGSEGV from it, and a nil dereference would no longer be a panic.
	lib.setSignalHandlers(0)
	return lib, nil
}

// session is one connection to the engine: a session of its own, with its own
// settings, that runs one statement at a time.
type session struct {
	lib    *library
	handle unsafe.Pointer // chdb_connection *
	conn   unsafe.Pointer // chdb_connection
}

// connect opens a session. The first one boots the engine on the --path among
// args; later ones must name the same.
func (l *library) open(args []string) (*session, error) {
	var pin runtime.Pinner
	defer pin.Unpin()
	argv := make([]unsafe.Pointer, 0, len(args)+2)
	for _, a := range append([]string{"clickhouse"}, args...) {
		c := append([]byte(a), 0)
		pin.Pin(&c[0])
		argv = append(argv, unsafe.Pointer(&c[0]))
	}
	argv = append(argv, nil)
	pin.Pin(&argv[0])
	handle := l.connect(int32(len(argv)-1), unsafe.Pointer(&argv[0]))
	if handle == nil {
		return nil, errors.New("chdb_connect refused")
	}
	return &session{lib: l, handle: handle, conn: *(*unsafe.Pointer)(handle)}, nil
}

func (s *session) close() {
	s.lib.closeConn(s.handle)
	s.handle, s.conn = nil, nil
}

// parameters are server-side query parameters as the C interface takes them.
type parameters struct {
	names, values       []unsafe.Pointer
	nameLens, valueLens []uintptr
}

func pinBytes(pin *runtime.Pinner, b string) unsafe.Pointer {
	if b == "" {
		// The engine refuses null pointers even with a length of zero.
		b = "\x00"
	}
	p := unsafe.Pointer(unsafe.StringData(b))
	pin.Pin(p)
	return p
}

func pinParameters(pin *runtime.Pinner, params map[string]string) (p parameters) {
	for name, value := range params {
		p.names = append(p.names, pinBytes(pin, name))
		p.nameLens = append(p.nameLens, uintptr(len(name)))
		p.values = append(p.values, pinBytes(pin, value))
		p.valueLens = append(p.valueLens, uintptr(len(value)))
	}
	if len(params) > 0 {
		pin.Pin(&p.names[0])
		pin.Pin(&p.nameLens[0])
		pin.Pin(&p.values[0])
		pin.Pin(&p.valueLens[0])
	}
	return p
}

type statementFunc func(conn unsafe.Pointer, query unsafe.Pointer, queryLen uintptr, format unsafe.Pointer, formatLen uintptr, names, nameLens, values, valueLens unsafe.Pointer, count uintptr) unsafe.Pointer

func (s *session) call(fn statementFunc, sql, format string, params map[string]string) unsafe.Pointer {
	var pin runtime.Pinner
	defer pin.Unpin()
	p := pinParameters(&pin, params)
	return fn(s.conn, pinBytes(&pin, sql), uintptr(len(sql)), pinBytes(&pin, format), uintptr(len(format)),
		first(p.names), first(p.nameLens), first(p.values), first(p.valueLens), uintptr(len(params)))
}

func first[T any](s []T) unsafe.Pointer {
	return unsafe.Pointer(unsafe.SliceData(s))
}

// result is an answer of the engine. Its bytes are the engine's memory until
// close.
type result struct {
	lib *library
	ptr unsafe.Pointer
}

func (r result) close() { r.lib.destroy(r.ptr) }

func (r result) err() error {
	if p := r.lib.resultError(r.ptr); p != nil {
		return &Exception{Message: cString(p)}
	}
	return nil
}

func (r result) bytes() []byte {
	n := r.lib.resultLength(r.ptr)
	if n == 0 {
		return nil
	}
	return unsafe.Slice((*byte)(r.lib.resultBuffer(r.ptr)), n)
}

func cString(p unsafe.Pointer) string {
	n := 0
	for *(*byte)(unsafe.Add(p, n)) != 0 {
		n++
	}
	return string(unsafe.Slice((*byte)(p), n))
}

// query runs a statement and holds its whole answer in memory.
func (s *session) query(sql, format string, params map[string]string) result {
	return result{s.lib, s.call(s.lib.query, sql, format, params)}
}

// exec runs a statement for its effect.
func (s *session) exec(sql string) error {
	r := s.query(sql, "Null", nil)
	defer r.close()
	return r.err()
}

// stream runs a statement whose answer is fetched block by block.
func (s *session) stream(sql, format string, params map[string]string) (result, error) {
	r := result{s.lib, s.call(s.lib.streamInit, sql, format, params)}
	if err := r.err(); err != nil {
		r.close()
		return result{}, err
	}
	return r, nil
}

// next returns the stream's next block; no bytes and no error is its end.
func (s *session) next(stream result) result {
	return result{s.lib, s.lib.fetch(s.conn, stream.ptr)}
}

// insert is an INSERT whose data follows in chunks.
type insert struct {
	lib *library
	ptr unsafe.Pointer
}

// insert begins an INSERT; sql has neither FORMAT clause nor data.
func (s *session) insert(sql, format string, params map[string]string) (*insert, error) {
	i := &insert{s.lib, s.call(s.lib.insertInit, sql, format, params)}
	if err := i.err(); err != nil {
		i.close()
		return nil, err
	}
	return i, nil
}

func (i *insert) err() error {
	if p := i.lib.insertError(i.ptr); p != nil {
		return &Exception{Message: cString(p)}
	}
	return nil
}

func (i *insert) append(data []byte) error {
	if len(data) == 0 {
		return nil
	}
	var pin runtime.Pinner
	defer pin.Unpin()
	pin.Pin(&data[0])
	if i.lib.insertAppend(i.ptr, unsafe.Pointer(&data[0]), uintptr(len(data))) != 0 {
		if err := i.err(); err != nil {
			return err
		}
		return &Exception{Message: "the engine ended the insert early"}
	}
	return nil
}

// done commits. Without an error the rows are in the table.
func (i *insert) done() result { return result{i.lib, i.lib.insertDone(i.ptr)} }

// close frees the insert, cancelling it when it was not done.
func (i *insert) close() { i.lib.insertDestroy(i.ptr) }

// The classes of chdb_classify_query_n, ascending by how restricted they are.
const (
	classReadOnly = iota
	classMutating
	classMutatingGlobal
	classControl
	classUnknown
)

// analysis is what the engine's own parser says of a statement.
type analysis struct {
	structSize uint32
	statements uint32
	flags      uint32
	class      uint32
}

func (s *session) classify(sql string) (analysis, error) {
	out := &analysis{structSize: uint32(unsafe.Sizeof(analysis{}))}
	var pin runtime.Pinner
	defer pin.Unpin()
	pin.Pin(out)
	if s.lib.classify(s.conn, pinBytes(&pin, sql), uintptr(len(sql)), nil, 0, unsafe.Pointer(out)) != 0 {
		return analysis{}, errors.New("the engine did not classify the statement")
	}
	return *out, nil
}

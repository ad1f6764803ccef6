// Package engine runs ClickHouse as a library, in a child process, behind
// ClickHouse's own HTTP interface on loopback, so that everything above it uses
// clickhouse-go and can't tell it from a server.
//
// It promises:
//   - A DSN that stays valid for as long as the Engine lives. The parent keeps the
//     listening socket; when the child crashes, clients wait in the socket's queue
//     until the next child answers. What was under way in the crashed child ends
//     with a broken connection, and is the client's to repeat.
//   - An insert that was acknowledged survives a SIGKILL of the child and of the
//     parent. An insert that failed or whose client went away while sending left
//     nothing, unless it spans partitions or more than a million rows, as on any
//     ClickHouse.
//   - With Options.Fsync, what was acknowledged before a call of [Engine.Sync]
//     survives a power cut once that call returned nil, and of what came later an
//     insert survives only with all that were acknowledged before it: see fsync.go.
//   - The child ends when its standard input closes, so it never outlives its
//     parent, and holds a lock on its folder, so that the next one waits for it.
//   - A statement whose client goes away is cancelled.
//   - The user "auditor" can read tables, and nothing else: see auditor.go.
//
// It never answers more statements at once than it was told, never keeps a
// session between requests (a SET or USE ends with its request, as over HTTP
// without session_id), and never logs a statement or a password.
//
// Decisions. A child process rather than the library in ours: a crash of 500 MB of
// C++ is then a restart. HTTP rather than the native protocol: the library's
// formats are the HTTP interface's bodies, so there is little to translate. A new
// library session per request rather than a pool: it takes 0.2 ms, and isolation
// is then not something to take care of. purego rather than cgo: the build needs
// no C compiler, and the library is found at run time.
package engine

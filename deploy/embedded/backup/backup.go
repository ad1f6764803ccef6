// Package backup copies the data folder of an embedded Hookledger, also while it serves, and brings it back.
//
// It promises: a backup holds everything that was acknowledged before Take was called; it is a state of the log as a
// crash at one moment might have left it, so what starts on it goes on as after a crash (deliveries that were in
// flight are repeated, and marked so); every file in it is named in a manifest with its size and checksum, and
// Restore brings back that and nothing else, or nothing.
//
// It never stops or slows the server, never changes what it copies, and never writes into a folder that holds
// something. It does not copy the history (the server makes it again from the log), nor what other processes keep
// in memory, nor a key set that lies in the environment: the manifest says so.
//
// # How
//
// The broker's files are only ever appended to, or replaced. So Take gives each a second name in a folder beside it,
// and notes its size; what is appended later lies behind that size, and what is trimmed stays until it is copied.
// That takes some milliseconds. What follows from other records is noted before those: commits, then lanes, attempts,
// deliveries, event-ids, dead-letters, events, config. A record's cause was in the log before it, so it is in the
// backup, and nothing points behind an end. (Copied the other way round, a checkpoint could name requests that the
// copy does not have, and lanes could lack what attempts already says has ended.)
//
// # Format
//
// A folder, or the same as a gzipped tar: broker/, keys/ as in the data folder, and manifest.json, which in a tar
// comes last. Files are of mode 0600: the keys open every signing secret.
package backup

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"hookledger/deploy/embedded/broker"
)

// Format is the version of the manifest that this package writes, and reads.
const Format = 1

const manifestName = "manifest.json"

// Manifest says what a backup holds.
type Manifest struct {
	Format    int       `json:"format"`
	CreatedAt time.Time `json:"created_at"` // when the state was taken
	Program   string    `json:"program"`
	// Serving says whether a server had the folder then.
	Serving bool `json:"serving"`
	// Partitions of the log.
	Partitions []broker.Extent `json:"partitions"`
	Files      []File          `json:"files"`
	// Missing is what the data folder has, or needs, and the backup has not.
	Missing []string `json:"missing,omitempty"`
}

// File is one file of a backup.
type File struct {
	Path   string `json:"path"` // with slashes, within the data folder
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"`
}

// Bytes is the size of all files.
func (m *Manifest) Bytes() (n int64) {
	for _, f := range m.Files {
		n += f.Size
	}
	return n
}

// Options of Take.
type Options struct {
	// Data is the data folder, To where the backup is made: a folder that is not there yet, or a file that ends in
	// .tar.gz.
	Data, To string
	// Serving says that another process has the folder; without it the caller must hold the folder's lock.
	Serving bool
	// Program is written into the manifest.
	Program string
}

// Take makes a backup. It appears whole or not at all.
func Take(ctx context.Context, o Options) (*Manifest, error) {
	m, err := take(ctx, o)
	if err != nil {
		return nil, fmt.Errorf("back up %q: %w", o.Data, err)
	}
	return m, nil
}

func take(ctx context.Context, o Options) (_ *Manifest, err error) {
	if _, err := os.Stat(filepath.Join(o.Data, "broker", "meta.json")); err != nil {
		return nil, fmt.Errorf("there is no embedded log in it (with Kafka, the log is backed up there): %w", err)
	}
	if _, err := os.Lstat(o.To); !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%q is there already: name another place", o.To)
	}
	removeStale(o.Data)
	stage, err := os.MkdirTemp(o.Data, fmt.Sprintf("%s%d-", stagePrefix, os.Getpid()))
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(stage)) }()
	s := snapshot{data: o.Data, stage: stage, serving: o.Serving}
	m := &Manifest{Format: Format, CreatedAt: time.Now().UTC(), Program: o.Program, Serving: o.Serving}
	if err := s.take(); err != nil {
		return nil, err
	}
	m.Missing = append(s.missing, "engine: the history, which the server makes again from the log")

	out, err := newSink(o.To)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, out.abandon()) }()
	for _, f := range s.files {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		sum, err := copyFile(out, f)
		if err != nil {
			return nil, fmt.Errorf("copy %s: %w", f.path, err)
		}
		m.Files = append(m.Files, File{f.path, f.size, sum})
	}
	if m.Partitions, err = broker.Extents(filepath.Join(stage, "broker"), s.sizeOf); err != nil {
		return nil, err
	}
	text, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return nil, err
	}
	text = append(text, '\n')
	if err := out.file(manifestName, int64(len(text)), strings.NewReader(string(text))); err != nil {
		return nil, err
	}
	return m, out.finish()
}

// copyFile copies what was noted of a file, and returns its checksum.
func copyFile(out sink, f staged) (string, error) {
	in, err := os.Open(f.source)
	if err != nil {
		return "", err
	}
	defer func() { _ = in.Close() }()
	sum := sha256.New()
	if err := out.file(f.path, f.size, io.TeeReader(io.LimitReader(in, f.size), sum)); err != nil {
		return "", err
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}

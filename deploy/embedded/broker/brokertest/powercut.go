package brokertest

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Power knows, from the syncs themselves, what a power cut may not take of a broker's folder, and takes at random
// what it may take. [Power.Watch] is for the process with the broker, [Power.Cut] for the one that killed it.
//
// A file keeps what it held when the last sync that succeeded began; what came after it is kept, cut, zeroed or
// turned to garbage. A file made since then may be gone, one renamed over or removed may be back (removed segments
// in the order of their removal, as any journal of names would have it).
type Power struct {
	// Dir is the broker's folder, Notes a folder of the same file system for what is known of it.
	Dir, Notes string
}

// known is a file as it was when a sync began.
type known struct {
	Inode   uint64
	Size    int64
	Changed time.Time
}

func (p Power) statePath() string { return filepath.Join(p.Notes, "state") }
func (p Power) linkPath(ino uint64) string {
	return filepath.Join(p.Notes, strconv.FormatUint(ino, 10))
}

// Watch returns what broker.Options.WatchSync wants. It gives each file a second name, so that a cut can bring back
// what was removed. It panics on errors: the test's child has nobody to tell.
func (p Power) Watch() func() func() {
	must(os.MkdirAll(p.Notes, 0o700))
	return func() func() {
		seen := p.look(true)
		return func() {
			b, err := json.Marshal(seen)
			must(err)
			must(os.WriteFile(p.statePath()+".tmp", b, 0o600))
			must(os.Rename(p.statePath()+".tmp", p.statePath()))
			keep := make(map[string]bool)
			for _, k := range seen {
				keep[filepath.Base(p.linkPath(k.Inode))] = true
			}
			links, err := os.ReadDir(p.Notes)
			must(err)
			for _, l := range links {
				if _, err := strconv.ParseUint(l.Name(), 10, 64); err == nil && !keep[l.Name()] {
					must(os.Remove(filepath.Join(p.Notes, l.Name())))
				}
			}
		}
	}
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

// look returns the files of the folder, by path within it.
func (p Power) look(link bool) map[string]known {
	seen := make(map[string]known)
	err := filepath.WalkDir(p.Dir, func(path string, e fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) || err == nil && e.IsDir() {
			return nil
		}
		if err != nil {
			return err
		}
		info, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		k := of(info)
		if link {
			if _, err := os.Lstat(p.linkPath(k.Inode)); err != nil {
				tmp := filepath.Join(p.Notes, "link")
				_ = os.Remove(tmp)
				if err := os.Link(path, tmp); errors.Is(err, fs.ErrNotExist) {
					return nil
				} else if err != nil {
					return err
				}
				if info, err = os.Stat(tmp); err != nil {
					return err
				}
				k = of(info) // another file may have taken the name meanwhile
				if err := os.Rename(tmp, p.linkPath(k.Inode)); err != nil {
					return err
				}
				_ = os.Remove(tmp) // two names of one file: the rename did nothing
			}
		}
		rel, err := filepath.Rel(p.Dir, path)
		seen[rel] = k
		return err
	})
	must(err)
	return seen
}

func of(info fs.FileInfo) known {
	return known{info.Sys().(*syscall.Stat_t).Ino, info.Size(), info.ModTime()}
}

// Cut does to the folder what a power cut might have done. Nobody may have it open. It returns what it did.
func (p Power) Cut(dice *rand.Rand) ([]string, error) {
	b, err := os.ReadFile(p.statePath())
	if err != nil {
		return nil, fmt.Errorf("no sync was seen: %w", err)
	}
	var synced map[string]known
	if err := json.Unmarshal(b, &synced); err != nil {
		return nil, err
	}
	c := cutter{Power: p, dice: dice, synced: synced, now: p.look(false)}
	for _, path := range slices.Sorted(maps.Keys(c.now)) {
		c.file(path)
	}
	c.removed()
	return c.did, c.err
}

type cutter struct {
	Power
	dice        *rand.Rand
	synced, now map[string]known
	did         []string
	err         error
}

func (c *cutter) note(err error, format string, args ...any) {
	c.did = append(c.did, fmt.Sprintf(format, args...))
	c.err = errors.Join(c.err, err)
}

// selfSynced are files whose making and removal the broker syncs itself, or kfake does before it renames them.
func selfSynced(path string) bool {
	return path == "clean" || strings.HasSuffix(path, ".json") && !strings.HasSuffix(path, "snapshot.json")
}

// appended are files that are only ever appended to, and cut where they were torn.
func appended(path string) bool {
	name := filepath.Base(path)
	return filepath.Ext(name) == ".dat" || strings.HasPrefix(name, "groups.log") || strings.HasPrefix(name, "pids.log")
}

// file treats one that is there.
func (c *cutter) file(path string) {
	was, known := c.synced[path]
	now := c.now[path]
	full := filepath.Join(c.Dir, path)
	switch {
	case selfSynced(path):
	case known && was.Inode == now.Inode && (appended(path) || now.Changed.Equal(was.Changed)):
		c.tail(path, was.Size, now.Size)
	case known && was.Inode == now.Inode: // written over in place: it holds what is new, in part
		c.tail(path, 0, now.Size)
	case known && c.dice.IntN(2) == 0: // renamed over: the old one is back
		c.note(errors.Join(os.Remove(full), os.Link(c.linkPath(was.Inode), full)), "%s: the old file is back", path)
		if info, err := os.Stat(full); err == nil {
			c.tail(path, was.Size, info.Size())
		}
	case !known && c.dice.IntN(3) == 0:
		c.note(os.Remove(full), "%s: never made", path)
	default:
		c.tail(path, 0, now.Size)
	}
}

// tail treats what was written to a file since it was synced.
func (c *cutter) tail(path string, synced, size int64) {
	if size <= synced {
		return
	}
	full := filepath.Join(c.Dir, path)
	at := synced + c.dice.Int64N(size-synced+1)
	f, err := os.OpenFile(full, os.O_WRONLY, 0)
	if err != nil {
		c.note(err, "%s", path)
		return
	}
	defer f.Close()
	switch c.dice.IntN(5) {
	case 0: // all of it is there
	case 1, 2:
		c.note(f.Truncate(at), "%s: cut at %d, synced %d of %d", path, at, synced, size)
	case 3: // the file has its size, and its blocks were never written
		_, err := f.WriteAt(make([]byte, size-at), at)
		c.note(err, "%s: zeros from %d to %d, synced %d", path, at, size, synced)
	default:
		garbage := make([]byte, c.dice.Int64N(size-at+1))
		for i := range garbage {
			garbage[i] = byte(c.dice.IntN(256))
		}
		_, err := f.WriteAt(garbage, at)
		c.note(errors.Join(err, f.Truncate(at+int64(len(garbage)))), "%s: %d bytes of garbage from %d, synced %d of %d", path, len(garbage), at, synced, size)
	}
}

// removed brings back what was removed since the last sync, of each folder the last of it.
func (c *cutter) removed() {
	gone := make(map[string][]string) // by folder
	for path := range c.synced {
		if _, there := c.now[path]; !there && !selfSynced(path) && filepath.Ext(path) == ".dat" {
			gone[filepath.Dir(path)] = append(gone[filepath.Dir(path)], path)
		}
	}
	base := func(path string) int64 {
		n, err := strconv.ParseInt(strings.TrimSuffix(filepath.Base(path), ".dat"), 10, 64)
		c.err = errors.Join(c.err, err)
		return n
	}
	for _, folder := range slices.Sorted(maps.Keys(gone)) {
		paths := gone[folder]
		slices.SortFunc(paths, func(a, b string) int { return int(base(a) - base(b)) })
		for _, path := range paths[c.dice.IntN(len(paths)+1):] {
			was := c.synced[path]
			full := filepath.Join(c.Dir, path)
			if _, err := os.Stat(filepath.Dir(full)); err != nil { // the whole folder was moved away
				continue
			}
			c.note(os.Link(c.linkPath(was.Inode), full), "%s: back", path)
			if info, err := os.Stat(full); err == nil {
				c.tail(path, was.Size, info.Size())
			}
		}
	}
}

package broker

import (
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// Marks say how far each partition had been synced: what the next start must find, whatever happened since. They
// tell the two things apart that a log cut short may mean: a power cut took what was never acknowledged (it lies
// above the mark: the start cuts it off), or the disk lost what was (below: the start is refused).
//
// They are written at most once a second, after a sync that covers what they say, into two files in turn, each
// with a checksum and without a sync of its own: before the one is overwritten, a sync has covered the other. So
// at least one is whole, and behind by some seconds at most, in which case damage there passes for a power cut.

// markNames are the two files, in the broker's folder.
var markNames = [2]string{"synced.0", "synced.1"}

// markEvery is the least time between two marks.
const markEvery = time.Second

// mark is a place in a partition: so many bytes of the segment that begins at an offset.
type mark struct {
	Segment int64 `json:"segment"`
	Size    int64 `json:"size"`
}

// marks is one file of them.
type marks struct {
	Version    int             `json:"version"`
	Serial     uint64          `json:"serial"`
	Partitions map[string]mark `json:"partitions"` // by the name of the folder
}

// marker writes marks, and keeps the second names of the logs that kfake replaces (see keep.go).
type marker struct {
	dir  string
	log  *slog.Logger
	now  func() time.Time
	last time.Time // of the last mark
	next marks
	seen map[string]*lastSegment
	keep keeper
}

// lastSegment remembers which segment of a partition is the last, as long as no file was made in its folder.
type lastSegment struct {
	changed time.Time // the folder's time of change when it was listed
	settled bool      // no file made after the listing can bear that time
	base    int64
}

func newMarker(dir string, log *slog.Logger, found marks) *marker {
	return &marker{
		dir: dir, log: log, now: time.Now, seen: make(map[string]*lastSegment), keep: keeper{dir: dir},
		next: marks{Version: 1, Serial: found.Serial},
	}
}

// begin looks at what the sync that comes will cover, if a mark is due; done writes it once the sync has
// succeeded. A mark that can't be written is one less, not a fault.
func (m *marker) begin() (done func()) {
	if m.now().Sub(m.last) < markEvery {
		return func() {}
	}
	m.last = m.now()
	found, err := m.look()
	files := m.keep.look()
	return func() {
		if err == nil {
			m.next.Serial++
			m.next.Partitions = found
			err = m.write()
		}
		if err = errors.Join(err, m.keep.done(files)); err != nil {
			m.log.Warn("the embedded broker could not mark what is synced", "error", err)
		}
	}
}

// look returns the end of each partition's files.
func (m *marker) look() (map[string]mark, error) {
	root := filepath.Join(m.dir, "partitions")
	entries, err := os.ReadDir(root)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	found := make(map[string]mark, len(entries))
	for _, e := range entries {
		folder := filepath.Join(root, e.Name())
		base, ok, err := m.lastOf(e.Name(), folder)
		if errors.Is(err, os.ErrNotExist) || err == nil && !ok {
			continue
		}
		if err != nil {
			return nil, err
		}
		info, err := os.Stat(filepath.Join(folder, strconv.FormatInt(base, 10)+".dat"))
		if errors.Is(err, os.ErrNotExist) { // trimmed, and another made since
			delete(m.seen, e.Name())
			continue
		}
		if err != nil {
			return nil, err
		}
		found[e.Name()] = mark{base, info.Size()}
	}
	return found, nil
}

// lastOf returns where the last segment of a partition begins. One that was made in the moment of the last look
// may be missed until the next: then the mark is that of the segment before, which is true as well.
func (m *marker) lastOf(name, folder string) (base int64, ok bool, err error) {
	info, err := os.Stat(folder)
	if err != nil {
		return 0, false, err
	}
	if s := m.seen[name]; s != nil && s.settled && s.changed.Equal(info.ModTime()) {
		return s.base, true, nil
	}
	entries, err := os.ReadDir(folder)
	if err != nil {
		return 0, false, err
	}
	for _, e := range entries {
		segment, is := strings.CutSuffix(e.Name(), ".dat")
		if !is {
			continue
		}
		if at, err := strconv.ParseInt(segment, 10, 64); err == nil && (!ok || at > base) {
			base, ok = at, true
		}
	}
	if ok {
		m.seen[name] = &lastSegment{info.ModTime(), m.now().Sub(info.ModTime()) > mtimeGrain, base}
	}
	return base, ok, nil
}

func (m *marker) write() error {
	b, err := json.Marshal(m.next)
	if err != nil {
		return err
	}
	b = fmt.Appendf(nil, "%08x %s\n", crc32.Checksum(b, castagnoli), b)
	return os.WriteFile(filepath.Join(m.dir, markNames[m.next.Serial%2]), b, 0o600)
}

// readMarks returns the newest marks that are whole; none if the folder has none.
func readMarks(dir string) (marks, error) {
	var newest marks
	for _, name := range markNames {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return marks{}, err
		}
		sum, text, _ := strings.Cut(strings.TrimSuffix(string(b), "\n"), " ")
		if want, err := strconv.ParseUint(sum, 16, 32); err != nil || uint32(want) != crc32.Checksum([]byte(text), castagnoli) {
			continue
		}
		var m marks
		if err := json.Unmarshal([]byte(text), &m); err != nil || m.Version != 1 {
			continue
		}
		if m.Serial >= newest.Serial {
			newest = m
		}
	}
	return newest, nil
}

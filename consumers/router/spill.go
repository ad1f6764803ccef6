package router

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// spilled is the mapped file of a table.
type spilled struct {
	path   string
	sum    uint32
	mapped []byte
}

func (f *spilled) close() error {
	if err := unix.Munmap(f.mapped); err != nil {
		return fmt.Errorf("unmap %q: %w", f.path, err)
	}
	return nil
}

const (
	fileSuffix   = ".ids"
	manifestName = "manifest.json"
	// manifestVersion is raised when files or manifest change their form.
	manifestVersion = 1
)

func checksum(b []byte) uint32 { return crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)) }

// mapFile maps the whole of a file that has a size.
func mapFile(path string, size int) (*spilled, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	is, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if is.Size() != int64(size) || size < minSlots*slotSize {
		return nil, fmt.Errorf("%q has %d bytes, want %d", path, is.Size(), size)
	}
	b, err := unix.Mmap(int(f.Fd()), 0, size, unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("map %q: %w", path, err)
	}
	return &spilled{path: path, mapped: b}, nil
}

// spill writes a table to a file, and keeps that in its place. It is not synced:
// the manifest's checksum tells whether it is whole when it is used again.
func (r *repeats) spill(hour int64, t *table) error {
	if t.file != nil {
		return nil
	}
	path := filepath.Join(r.folder, fmt.Sprintf("%d-%d%s", hour, r.files, fileSuffix))
	r.files++
	err := os.WriteFile(path, t.slots, 0o600)
	var file *spilled
	if err == nil {
		file, err = mapFile(path, len(t.slots))
	}
	if err != nil {
		return fmt.Errorf("write passed ids that exceed the memory: %w (make room on the disk of --data-dir)", err)
	}
	file.sum = checksum(t.slots)
	r.account(-len(t.slots), len(t.slots))
	t.slots, t.file = file.mapped, file
	return nil
}

// manifest vouches for files: with them, event-ids has to be read from Covered only.
type manifest struct {
	Version int            `json:"version"`
	Topic   string         `json:"topic_id"`
	Covered int64          `json:"covered"`
	Files   int            `json:"files"`
	Hours   []manifestHour `json:"hours"`
}

type manifestHour struct {
	Hour  int64          `json:"hour"`
	First int64          `json:"first_offset"`
	Files []manifestFile `json:"files"`
}

type manifestFile struct {
	Name  string `json:"name"`
	Size  int    `json:"size"`
	Count int    `json:"entries"`
	Sum   uint32 `json:"crc32c"`
}

// seal is called when the entries of an hour begin in event-ids, at an offset:
// then the earlier hours are closed, and all of them lies before it. If any
// of them is in a file, all are put there, so that a restart need not read them.
func (r *repeats) seal(hour, at int64) error {
	if r.mapped == 0 {
		return nil
	}
	m := manifest{Version: manifestVersion, Topic: hex.EncodeToString(r.topic[:]), Covered: at}
	for _, h := range r.hours {
		if h.hour >= hour {
			break
		}
		mh := manifestHour{Hour: h.hour, First: h.first}
		for _, t := range h.tables {
			if err := r.spill(h.hour, t); err != nil {
				return err
			}
			mh.Files = append(mh.Files, manifestFile{filepath.Base(t.file.path), len(t.slots), t.count, t.file.sum})
		}
		m.Hours = append(m.Hours, mh)
	}
	m.Files = r.files
	body, err := json.Marshal(m)
	if err != nil {
		return fmt.Errorf("write the manifest of passed ids: %w", err)
	}
	b := fmt.Appendf(nil, "%08x\n%s\n", checksum(body), body)
	path := filepath.Join(r.folder, manifestName)
	if err = os.WriteFile(path+".new", b, 0o600); err == nil {
		err = os.Rename(path+".new", path)
	}
	if err != nil {
		return fmt.Errorf("write the manifest of passed ids: %w", err)
	}
	return nil
}

// openFiles maps the files of the manifest, after checking all of them.
func (r *repeats) openFiles() error {
	b, err := os.ReadFile(filepath.Join(r.folder, manifestName))
	if err != nil {
		return err
	}
	head, body, _ := bytes.Cut(bytes.TrimSuffix(b, []byte("\n")), []byte("\n"))
	if string(head) != fmt.Sprintf("%08x", checksum(body)) {
		return errors.New("the manifest is damaged")
	}
	var m manifest
	if err := json.Unmarshal(body, &m); err != nil {
		return fmt.Errorf("the manifest is damaged: %w", err)
	}
	switch {
	case m.Version != manifestVersion:
		return fmt.Errorf("the manifest has version %d, want %d", m.Version, manifestVersion)
	case m.Topic != hex.EncodeToString(r.topic[:]):
		return errors.New("the files belong to another topic")
	case m.Covered > r.end:
		return fmt.Errorf("the files cover event-ids to offset %d, but it ends at %d", m.Covered, r.end)
	}
	for _, mh := range m.Hours {
		r.hours = append(r.hours, hourTables{hour: mh.Hour, first: mh.First})
		h := &r.hours[len(r.hours)-1]
		for _, mf := range mh.Files {
			file, err := mapFile(filepath.Join(r.folder, filepath.Base(mf.Name)), mf.Size)
			if err != nil {
				return err
			}
			h.tables = append(h.tables, &table{slots: file.mapped, count: mf.Count, file: file})
			r.account(0, mf.Size)
			if file.sum = checksum(file.mapped); file.sum != mf.Sum {
				return fmt.Errorf("%q: its checksum is wrong", file.path)
			}
		}
	}
	r.covered, r.files = m.Covered, m.Files
	return nil
}

// removeOthers removes the files that are not in use.
func (r *repeats) removeOthers() error {
	used := map[string]bool{}
	for _, h := range r.hours {
		for _, t := range h.tables {
			used[filepath.Base(t.file.path)] = true
		}
	}
	entries, err := os.ReadDir(r.folder)
	if err != nil {
		return fmt.Errorf("look for files of passed ids: %w", err)
	}
	for _, e := range entries {
		name := e.Name()
		if used[name] || !strings.HasSuffix(name, fileSuffix) && (name != manifestName || len(r.hours) > 0) {
			continue
		}
		if err := os.Remove(filepath.Join(r.folder, name)); err != nil {
			return fmt.Errorf("remove a file of passed ids: %w", err)
		}
	}
	return nil
}

package backup

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// stagePrefix begins the names of the folders that hold the second names; the process id follows.
const stagePrefix = "backup-"

// removeStale removes what backups left that were killed.
func removeStale(data string) {
	found, _ := filepath.Glob(filepath.Join(data, stagePrefix+"*-*"))
	for _, path := range found {
		pid, _, _ := strings.Cut(strings.TrimPrefix(filepath.Base(path), stagePrefix), "-")
		if n, err := strconv.Atoi(pid); err == nil && errors.Is(syscall.Kill(n, 0), syscall.ESRCH) {
			_ = os.RemoveAll(path) // the next one tries again
		}
	}
}

// staged is a file as it was in the moment of the backup.
type staged struct {
	path   string // within the data folder, with slashes
	source string
	size   int64
}

// snapshot holds a state of the folder still by second names of its files.
type snapshot struct {
	data, stage string
	serving     bool
	files       []staged
	missing     []string
}

// derivedFirst are the topics in the order in which they are noted: each before those that it follows from.
var derivedFirst = []string{"lanes", "attempts", "deliveries", "event-ids", "dead-letters", "events", "config"}

func rank(partition string) int {
	name := partition[:max(strings.LastIndexByte(partition, '-'), 0)]
	for i, topic := range derivedFirst {
		if name == topic || strings.HasSuffix(name, "."+topic) {
			return i
		}
	}
	return len(derivedFirst)
}

func (s *snapshot) take() error {
	parts, err := os.ReadDir(filepath.Join(s.data, "broker", "partitions"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	slices.SortStableFunc(parts, func(a, b fs.DirEntry) int { return rank(a.Name()) - rank(b.Name()) })
	if err := s.add("broker/groups.log"); err != nil {
		return err
	}
	for _, p := range parts {
		if err := s.partition("broker/partitions/" + p.Name()); err != nil {
			return err
		}
	}
	// Which topics there are comes after their partitions: a partition of an unknown topic is set aside at the start.
	for _, name := range []string{"pids.log", "topics.json", "meta.json", "broker_configs.json", "acls.json", "quotas.json"} {
		if err := s.add("broker/" + name); err != nil {
			return err
		}
	}
	if !s.serving { // what the clean stop wrote holds
		if err := s.add("broker/clean"); err != nil {
			return err
		}
		if err := s.add("broker/seq_windows.json"); err != nil {
			return err
		}
	}
	if err := s.add("keys/secrets.json"); err != nil {
		return err
	}
	if !slices.ContainsFunc(s.files, func(f staged) bool { return f.path == "keys/secrets.json" }) {
		s.missing = append(s.missing, "keys/secrets.json: the key set is not in the data folder; keep what HOOKLEDGER_SECRETS holds with this backup")
	}
	return nil
}

// partition notes the segments of a partition, the last one first: what is trimmed meanwhile is then missing at the
// beginning and not in the middle.
func (s *snapshot) partition(path string) error {
	entries, err := os.ReadDir(filepath.Join(s.data, filepath.FromSlash(path)))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var bases []int64
	for _, e := range entries {
		if name, ok := strings.CutSuffix(e.Name(), ".dat"); ok {
			base, err := strconv.ParseInt(name, 10, 64)
			if err != nil {
				return fmt.Errorf("%s/%s is not a segment", path, e.Name())
			}
			bases = append(bases, base)
		}
	}
	slices.Sort(bases)
	for _, base := range slices.Backward(bases) {
		if err := s.add(fmt.Sprintf("%s/%d.dat", path, base)); err != nil {
			return err
		}
	}
	return s.add(path + "/snapshot.json")
}

// add notes one file. One that is not there, or not any more, is left out.
func (s *snapshot) add(path string) error {
	from, to := filepath.Join(s.data, filepath.FromSlash(path)), filepath.Join(s.stage, filepath.FromSlash(path))
	if err := os.MkdirAll(filepath.Dir(to), 0o700); err != nil {
		return err
	}
	err := os.Link(from, to)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("hold %s still (the data folder's file system must allow a file to have two names): %w", path, err)
	}
	info, err := os.Stat(to)
	if err != nil {
		return err
	}
	s.files = append(s.files, staged{path, to, info.Size()})
	return nil
}

// sizeOf is how much of a staged file belongs to the backup.
func (s *snapshot) sizeOf(source string) int64 {
	for _, f := range s.files {
		if f.source == source {
			return f.size
		}
	}
	return 0
}

package broker

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"hookledger/deploy/embedded/datadir"
)

// kfake's own recovery is not enough for a log that has to last, so the folder is made ready before kfake
// sees it:
//
//   - After an unclean stop kfake reads the whole log of all partitions into memory at once, however long
//     it is. With a snapshot.json that fits the segments it reads them one by one: so one is written here,
//     from a walk over the batches' headers (see segments.go).
//   - It passes over a hole in the middle of a partition, and forgets the end of an empty one. The walk
//     finds both.
//   - It ignores a torn end of groups.log or pids.log, and appends after it, where the next start will not
//     look: the torn end is cut off here. And it rewrites them in a way that a power cut can spoil (see keep.go).
//   - A power cut may take the end of one segment and leave all of the next, if both were written since the last
//     sync. What was synced is known (see marks.go): so what lies behind such a hole was never acknowledged, and
//     is moved away. A hole or an end below the mark is damage.
//   - It forgets the producers' sequence numbers, so that a batch whose acknowledgement was lost is
//     appended twice. They stand in the batches: the walk writes them down.

const (
	// cleanName marks a clean stop: removed at start, written when everything else is on disk.
	cleanName = "clean"
	// orphansName is where partitions go that topics.json does not name.
	orphansName = "orphans"
)

var configs = map[string]string{
	// A hundred years: an operator who comes back after a month finds every group where it stood.
	"offset.retention.ms": "3153600000000",
	// Only DeleteRecords deletes. One record with an old timestamp would take fresher ones with it.
	"log.retention.ms":    "-1",
	"log.retention.bytes": "-1",
	// A segment is read whole at start, one of each partition at a time, and DeleteRecords frees disk
	// space by whole segments: kfake's 100 MiB would need gigabytes to start.
	"log.segment.bytes": strconv.Itoa(16 << 20),
}

// prepare makes the folder fit for kfake's load, refuses one that is damaged, and says whether the last
// stop was unclean.
func prepare(dir string, log *slog.Logger) (unclean bool, err error) {
	clean, err1 := exists(dir, cleanName)
	meta, err2 := exists(dir, "meta.json")
	topics, err3 := readTopics(dir)
	parts, err4 := os.ReadDir(filepath.Join(dir, "partitions"))
	if errors.Is(err4, os.ErrNotExist) {
		err4 = nil
	}
	if err := errors.Join(err1, err2, err3, err4); err != nil {
		return false, fmt.Errorf("look at the log in %q: %w", dir, err)
	}
	// Without either file kfake starts empty, and writes the missing one anew.
	if len(parts) > 0 && (!meta || topics == nil) {
		return false, fmt.Errorf("the log in %q is damaged: partitions/ holds %d partitions, but meta.json or topics.json, "+
			"which name them, is missing: bring both back from a backup of the folder, or move the folder away to begin with an empty log",
			dir, len(parts))
	}
	if err := remove(dir, "sasl.json", "session_state.json"); err != nil {
		return false, err
	}
	if !meta {
		return false, remove(dir, cleanName)
	}
	if !clean {
		if err := remove(dir, "seq_windows.json"); err != nil {
			return false, err
		}
		for _, name := range stateLogs {
			if err := mendStateLog(dir, name, log); err != nil {
				return false, fmt.Errorf("mend %q: %w", filepath.Join(dir, name), err)
			}
		}
	}
	if err := preparePartitions(dir, parts, topics, clean, log); err != nil {
		return false, err
	}
	// Last: a folder that was refused is judged the same way next time.
	return !clean, remove(dir, cleanName)
}

func preparePartitions(dir string, parts []os.DirEntry, topics map[string]int, clean bool, log *slog.Logger) error {
	var seqs windows
	synced, err := readMarks(dir)
	if err != nil {
		return fmt.Errorf("read what was synced: %w", err)
	}
	for _, e := range parts {
		path := filepath.Join(dir, "partitions", e.Name())
		topic, p, err := splitPartition(e.Name())
		if err != nil {
			return fmt.Errorf("%q is not a partition: move it away", path)
		}
		if n, known := topics[topic]; !known || int(p) >= n {
			if err := setAside(dir, e.Name(), log); err != nil {
				return err
			}
			continue
		}
		part := partition{path: path, topic: topic, number: p, log: log}
		if synced.Serial > 0 { // nothing of a partition that has no mark yet was synced
			m := synced.Partitions[e.Name()]
			part.synced = &m
		}
		if err := part.prepare(clean, &seqs); err != nil {
			return fmt.Errorf("partition %d of topic %q: %w", p, topic, err)
		}
	}
	if clean {
		return nil
	}
	return seqs.write(filepath.Join(dir, "seq_windows.json"))
}

// setAside moves a partition of a topic that is not known: its deletion, or its making, was cut short by a
// crash. kfake would append to its files when a topic of that name is made again.
func setAside(dir, name string, log *slog.Logger) error {
	to, err := makeOrphanage(dir, name)
	if err != nil {
		return err
	}
	log.Warn("the embedded broker set a partition aside whose topic was never completely made or deleted", "partition", name, "to", to)
	return os.Rename(filepath.Join(dir, "partitions", name), filepath.Join(to, name))
}

// makeOrphanage makes a folder for what is moved out of the way.
func makeOrphanage(dir, name string) (string, error) {
	to := filepath.Join(dir, orphansName)
	if err := os.MkdirAll(to, 0o700); err != nil {
		return "", err
	}
	return os.MkdirTemp(to, name+".*")
}

// afterLoad removes what must be read once only, or lie in no file.
func afterLoad(dir string) error { return remove(dir, "seq_windows.json", "sasl.json") }

func markClean(dir string) error {
	if err := remove(dir, "sasl.json", "session_state.json"); err != nil {
		return err
	}
	return datadir.WriteFile(filepath.Join(dir, cleanName), nil)
}

func remove(dir string, names ...string) error {
	for _, name := range names {
		if err := os.Remove(filepath.Join(dir, name)); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return datadir.SyncFolder(dir)
}

func exists(dir, name string) (bool, error) {
	_, err := os.Stat(filepath.Join(dir, name))
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// readTopics returns the number of partitions of each topic, nil if there is no topics.json.
func readTopics(dir string) (map[string]int, error) {
	b, err := os.ReadFile(filepath.Join(dir, "topics.json"))
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var f struct {
		Topics []struct {
			Name       string `json:"name"`
			Partitions int    `json:"partitions"`
		} `json:"topics"`
	}
	if err := json.Unmarshal(b, &f); err != nil {
		return nil, fmt.Errorf("topics.json: %w", err)
	}
	out := make(map[string]int, len(f.Topics))
	for _, t := range f.Topics {
		out[t.Name] = t.Partitions
	}
	return out, nil
}

// splitPartition reads the name of a partition's folder: the escaped topic, a dash, the number.
func splitPartition(name string) (string, int32, error) {
	i := strings.LastIndexByte(name, '-')
	if i < 0 {
		return "", 0, errors.New("no dash")
	}
	topic, err := url.PathUnescape(name[:i])
	if err != nil {
		return "", 0, err
	}
	p, err := strconv.ParseInt(name[i+1:], 10, 32)
	return topic, int32(p), err
}

package broker

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// partition is one folder of kfake's: segments BASE.dat, of record batches as Kafka sends them, one after
// another; beside each BASE.idx, with 15 bytes a batch; and snapshot.json, which a clean stop writes.
type partition struct {
	path   string
	topic  string
	number int32
	// synced is how far the partition was synced at least; nil if that is not known.
	synced *mark
	log    *slog.Logger
}

// snapshot is kfake's snapshot.json, as far as it is used here.
type snapshot struct {
	Version          int           `json:"version"`
	HighWatermark    int64         `json:"high_watermark"`
	LastStableOffset int64         `json:"last_stable_offset"`
	LogStartOffset   int64         `json:"log_start_offset"`
	CreatedAt        time.Time     `json:"created_at"`
	Segments         []segmentInfo `json:"segments"`
}

type segmentInfo struct {
	BaseOffset int64 `json:"base_offset"`
	Size       int64 `json:"size"`
}

const snapshotVersion = 1

// prepare brings the files to a state that kfake loads as it is: whole batches, each beginning where the one
// before ended, and a snapshot that fits.
func (p *partition) prepare(clean bool, seqs *windows) error {
	segs, err := p.segments()
	if err != nil {
		return err
	}
	snap, err := p.snapshot()
	if err != nil {
		return err
	}
	if clean && snap != nil && snap.fits(segs) {
		return nil
	}
	// It is the records that are judged then, not the files' sizes: all that was there must still be there.
	promised := snap
	if clean && (snap == nil || len(segs) == 0 && len(snap.Segments) > 0) {
		return p.otherFiles()
	}
	if snap == nil {
		snap = &snapshot{CreatedAt: time.Now()}
	}
	snap.Version = snapshotVersion
	if len(segs) == 0 {
		if !clean && p.synced != nil && *p.synced != (mark{}) {
			return p.lost(nil, 0)
		}
		if snap.HighWatermark == 0 {
			return nil // nothing was ever written
		}
		// kfake reads no snapshot where there is no segment, and would begin at offset 0 again.
		segs = []segmentInfo{{BaseOffset: snap.HighWatermark}}
		if err := os.WriteFile(p.segment(snap.HighWatermark), nil, 0o600); err != nil {
			return err
		}
	}
	segs, end, err := p.walk(segs, clean, seqs)
	if err != nil {
		return err
	}
	if segs, err = p.dropEmpty(segs); err != nil {
		return err
	}
	if clean {
		if end < promised.HighWatermark || segs[0].BaseOffset > promised.LogStartOffset {
			return p.otherFiles()
		}
		p.log.Warn("a partition's files are not quite those of the clean stop, but hold all its records",
			"topic", p.topic, "partition", p.number, "end", end, "files", fmt.Sprint(segs), "stopped with", fmt.Sprint(promised.Segments))
	}
	snap.HighWatermark, snap.LastStableOffset, snap.Segments = end, end, segs
	// An earlier clean stop knows how far the trim was then; later ones are known by the segments they freed.
	snap.LogStartOffset = min(max(snap.LogStartOffset, segs[0].BaseOffset), end)
	b, err := json.Marshal(snap)
	if err != nil {
		return err
	}
	// Not synced: it is written anew after every crash.
	return os.WriteFile(filepath.Join(p.path, "snapshot.json"), b, 0o600)
}

// fits says whether these are the segments that the clean stop left.
func (s *snapshot) fits(segs []segmentInfo) bool {
	if len(s.Segments) == 0 && len(segs) == 1 { // an empty one that only bears the end offset: kfake forgets it when it loads
		return segs[0] == segmentInfo{BaseOffset: s.HighWatermark}
	}
	return slices.Equal(s.Segments, segs) && (len(segs) > 0 || s.HighWatermark == 0)
}

func (p *partition) otherFiles() error {
	return fmt.Errorf("the log was stopped cleanly, but the files in %q are not those of that stop: "+
		"bring the folder back from a backup; or remove %q, %q and %q to take what is there as it is",
		p.path, "broker/"+cleanName, "broker/"+markNames[0], "broker/"+markNames[1])
}

func (p *partition) segment(base int64) string {
	return filepath.Join(p.path, strconv.FormatInt(base, 10)+".dat")
}

// segments returns the segments by offset.
func (p *partition) segments() ([]segmentInfo, error) {
	entries, err := os.ReadDir(p.path)
	if err != nil {
		return nil, err
	}
	var segs []segmentInfo
	for _, e := range entries {
		name, ok := strings.CutSuffix(e.Name(), ".dat")
		if !ok {
			continue
		}
		base, err := strconv.ParseInt(name, 10, 64)
		if err != nil {
			return nil, fmt.Errorf("%q is not a segment: move it away", filepath.Join(p.path, e.Name()))
		}
		info, err := e.Info()
		if err != nil {
			return nil, err
		}
		segs = append(segs, segmentInfo{BaseOffset: base, Size: info.Size()})
	}
	slices.SortFunc(segs, func(a, b segmentInfo) int { return int(min(max(a.BaseOffset-b.BaseOffset, -1), 1)) })
	return segs, nil
}

// snapshot returns the snapshot of an earlier clean stop; nil if there is none, or a torn one.
func (p *partition) snapshot() (*snapshot, error) {
	b, err := os.ReadFile(filepath.Join(p.path, "snapshot.json"))
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if !json.Valid(b) {
		return nil, nil
	}
	var s snapshot
	if err := json.Unmarshal(b, &s); err != nil {
		return nil, fmt.Errorf("snapshot.json: %w", err)
	}
	if s.Version != snapshotVersion {
		return nil, fmt.Errorf("snapshot.json has version %d, want %d: it was written by another version of the broker", s.Version, snapshotVersion)
	}
	return &s, nil
}

// walk follows the batches of all segments and returns those that stay, and the offset after the last. What a
// crash has left torn at the end is cut off, and segments behind a torn one are moved away. Anything else that
// does not fit is damage, and nothing is changed then.
func (p *partition) walk(segs []segmentInfo, clean bool, seqs *windows) ([]segmentInfo, int64, error) {
	own := &windows{}
	end := segs[0].BaseOffset
	for i := range segs {
		s := &segs[i]
		last := i == len(segs)-1
		keep := own
		if i < len(segs)-2 { // a producer's last five batches may lie on both sides of a roll
			keep = nil
		}
		// What may not have been synced may have lost a page in the middle.
		check := last || p.synced != nil && s.BaseOffset >= p.synced.Segment
		whole, batches, to, err := p.walkSegment(s.BaseOffset, check, keep)
		if err != nil {
			return nil, 0, err
		}
		end = to
		torn := !last && (whole != s.Size || segs[i+1].BaseOffset != end)
		switch {
		case torn && (clean || p.synced == nil):
			return nil, 0, p.hole(s.BaseOffset, end, segs[i+1].BaseOffset)
		case (torn || last) && !clean && p.synced != nil && p.synced.beyond(s.BaseOffset, whole):
			return nil, 0, p.lost(s, end)
		case torn:
			if err := p.moveAway(segs[i+1:]); err != nil {
				return nil, 0, err
			}
			// What is left is walked as the whole: its last two segments tell of the producers.
			return p.walk(segs[:i+1], clean, seqs)
		case last:
			if err := p.cut(s, whole, batches); err != nil {
				return nil, 0, err
			}
		}
	}
	seqs.join(own)
	return segs, end, nil
}

// beyond says whether a mark lies behind so many bytes of a segment.
func (m *mark) beyond(segment, size int64) bool {
	return segment < m.Segment || segment == m.Segment && size < m.Size
}

// moveAway moves segments that a power cut left behind a hole out of the partition.
func (p *partition) moveAway(segs []segmentInfo) error {
	to, err := makeOrphanage(filepath.Dir(filepath.Dir(p.path)), filepath.Base(p.path))
	if err != nil {
		return err
	}
	p.log.Warn("the embedded broker moved segments away that were never synced: a power cut took the end of the one before them",
		"topic", p.topic, "partition", p.number, "segments", fmt.Sprint(segs), "to", to)
	for _, s := range slices.Backward(segs) { // a start that is cut short finds the same hole again
		segment := p.segment(s.BaseOffset)
		for _, from := range []string{segment, index(segment)} {
			if err := os.Rename(from, filepath.Join(to, filepath.Base(from))); err != nil && !errors.Is(err, os.ErrNotExist) {
				return err
			}
		}
	}
	return nil
}

// lost is the error of a log that does not reach what was synced.
func (p *partition) lost(s *segmentInfo, end int64) error {
	found := "nothing is left of it"
	if s != nil {
		found = fmt.Sprintf("it can be read up to offset %d in %q", end, p.segment(s.BaseOffset))
	}
	return fmt.Errorf("the log is damaged: %s, but it was synced up to byte %d of %q: "+
		"the disk has lost what it said it had: bring the folder back from a backup; or remove %q and %q to go on with what is there, "+
		"without what was acknowledged since", found, p.synced.Size, p.segment(p.synced.Segment), "broker/"+markNames[0], "broker/"+markNames[1])
}

func (p *partition) hole(base, end, next int64) error {
	return fmt.Errorf("the log is damaged: segment %q can be read up to offset %d, the next begins at %d. "+
		"If the machine lost power, what comes after was never acknowledged: move the files of offset %d and above out of %q, and start again. "+
		"Otherwise bring the folder back from a backup", p.segment(base), end, next, next, p.path)
}

// The fields of a record batch's header (message format 2), up to the number of records.
const batchHeader = 61

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// walkSegment returns how many bytes and batches at the beginning of a segment are whole, and the offset
// after them. With check it reads the batches too, and compares their checksums.
func (p *partition) walkSegment(base int64, check bool, seqs *windows) (whole int64, batches int, end int64, err error) {
	return p.walkSegmentTo(base, math.MaxInt64, check, seqs)
}

// walkSegmentTo looks at no more than so many bytes.
func (p *partition) walkSegmentTo(base, limit int64, check bool, seqs *windows) (whole int64, batches int, end int64, err error) {
	f, err := os.Open(p.segment(base))
	if err != nil {
		return 0, 0, 0, err
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return 0, 0, 0, err
	}
	end = base
	var h [batchHeader]byte
	var body []byte
	for {
		if _, err := f.ReadAt(h[:], whole); errors.Is(err, io.EOF) {
			return whole, batches, end, nil
		} else if err != nil {
			return 0, 0, 0, err
		}
		size := int64(binary.BigEndian.Uint32(h[8:])) + 12
		first := int64(binary.BigEndian.Uint64(h[:]))
		if first != end || size < batchHeader || whole+size > min(limit, info.Size()) || h[16] != 2 {
			return whole, batches, end, nil
		}
		if check {
			body = slices.Grow(body[:0], int(size))[:size]
			if _, err := f.ReadAt(body, whole); err != nil {
				return 0, 0, 0, err
			}
			if crc32.Checksum(body[21:], castagnoli) != binary.BigEndian.Uint32(h[17:]) {
				return whole, batches, end, nil
			}
		}
		seqs.add(p, h[:], first)
		end += int64(binary.BigEndian.Uint32(h[23:])) + 1
		whole += size
		batches++
	}
}

// dropEmpty removes an empty last segment. A process that was killed between a roll and the first write to the
// new segment leaves one. kfake would forget it when it loads and leave the file, so that the next clean stop would
// speak of other files than there are. The only segment stays: its name is all that tells the end offset.
func (p *partition) dropEmpty(segs []segmentInfo) ([]segmentInfo, error) {
	last := len(segs) - 1
	if last == 0 || segs[last].Size > 0 {
		return segs, nil
	}
	segment := p.segment(segs[last].BaseOffset)
	if err := errors.Join(os.Remove(segment), os.Remove(index(segment))); err != nil {
		return nil, err
	}
	return segs[:last], nil
}

// index is the file beside a segment.
func index(segment string) string { return strings.TrimSuffix(segment, ".dat") + ".idx" }

// cut removes what is torn from the end of the last segment, and makes its index fit. kfake would cut the
// segment too, but go on as if it were as long as before.
func (p *partition) cut(s *segmentInfo, whole int64, batches int) error {
	if s.Size != whole {
		p.log.Warn("the embedded broker cut the torn end of a log", "topic", p.topic, "partition", p.number, "bytes", s.Size-whole)
		if err := os.Truncate(p.segment(s.BaseOffset), whole); err != nil {
			return err
		}
		s.Size = whole
	}
	// The index has nothing that the batches have not, except leader epochs and open transactions: with one
	// broker and no transactions every entry is the same.
	entry := make([]byte, 15)
	entry[0] = snapshotVersion
	entry[1] = byte(crc32.Checksum(entry[2:], castagnoli))
	entries := slices.Repeat(entry, batches)
	return os.WriteFile(index(p.segment(s.BaseOffset)), entries, 0o600)
}

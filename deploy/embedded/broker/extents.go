package broker

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
)

// Extent is what a partition's files hold, from the first record to before End.
type Extent struct {
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	Start     int64  `json:"start"`
	End       int64  `json:"end"`
	Bytes     int64  `json:"bytes"`
}

// Extents looks at a log that nobody serves from this folder, and changes nothing. sizeOf tells how many bytes of a
// segment's file count, nil for all. Start is that of the files: what was trimmed of the first one shows again.
func Extents(dir string, sizeOf func(path string) int64) ([]Extent, error) {
	parts, err := os.ReadDir(filepath.Join(dir, "partitions"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var all []Extent
	for _, e := range parts {
		topic, number, err := splitPartition(e.Name())
		if err != nil {
			return nil, fmt.Errorf("%q is not a partition: %w", e.Name(), err)
		}
		p := partition{path: filepath.Join(dir, "partitions", e.Name()), topic: topic, number: number, log: slog.New(slog.DiscardHandler)}
		segs, err := p.segments()
		if err != nil {
			return nil, err
		}
		if len(segs) == 0 {
			continue
		}
		x := Extent{Topic: topic, Partition: number, Start: segs[0].BaseOffset}
		for _, s := range segs {
			limit := s.Size
			if sizeOf != nil {
				limit = sizeOf(p.segment(s.BaseOffset))
			}
			whole, _, end, err := p.walkSegmentTo(s.BaseOffset, limit, false, nil)
			if err != nil {
				return nil, err
			}
			x.End = end
			x.Bytes += whole
		}
		all = append(all, x)
	}
	slices.SortFunc(all, func(a, b Extent) int {
		if a.Topic != b.Topic {
			return slices.Compare([]byte(a.Topic), []byte(b.Topic))
		}
		return int(a.Partition - b.Partition)
	})
	return all, nil
}

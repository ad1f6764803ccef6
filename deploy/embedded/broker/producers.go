package broker

import (
	"encoding/binary"
	"encoding/json"
	"math"
	"os"
)

// windows are the last batches of each idempotent producer in each partition, as kfake keeps them in
// seq_windows.json: with them a producer that outlived the broker may send again what was not
// acknowledged, and it is appended once.
type windows struct {
	of   map[windowKey]*window
	list []*window
}

type windowKey struct {
	path     string
	producer int64
}

// window is one entry of seq_windows.json.
type window struct {
	PID     int64    `json:"pid"`
	Topic   string   `json:"topic"`
	Part    int32    `json:"partition"`
	Entries [5]entry `json:"entries"`
	Count   uint8    `json:"count"`
	At      uint8    `json:"at"`
	Epoch   int16    `json:"epoch"`
	Seen    bool     `json:"seen"`
	NextSeq int32    `json:"next_seq"`
}

type entry struct {
	FirstSeq int32 `json:"first_seq"`
	NextSeq  int32 `json:"next_seq"`
	Offset   int64 `json:"offset"`
}

// add takes a batch's header into account. It does what kfake did when it appended the batch.
func (w *windows) add(p *partition, h []byte, offset int64) {
	if w == nil {
		return
	}
	producer := int64(binary.BigEndian.Uint64(h[43:]))
	if producer < 0 {
		return
	}
	epoch := int16(binary.BigEndian.Uint16(h[51:]))
	first := int32(binary.BigEndian.Uint32(h[53:]))
	n := int64(binary.BigEndian.Uint32(h[57:]))
	next := int32((int64(first) + n) % math.MaxInt32)

	key := windowKey{p.path, producer}
	pw := w.of[key]
	if pw == nil {
		if w.of == nil {
			w.of = make(map[windowKey]*window)
		}
		pw = &window{PID: producer, Topic: p.topic, Part: p.number, Seen: true, Epoch: epoch}
		w.of[key] = pw
		w.list = append(w.list, pw)
	}
	if epoch != pw.Epoch {
		pw.Epoch, pw.Count, pw.At, pw.Entries = epoch, 0, 0, [5]entry{}
	}
	pw.Entries[pw.At] = entry{first, next, offset}
	pw.At = (pw.At + 1) % 5
	pw.Count = min(pw.Count+1, 5)
	pw.NextSeq = next
}

// join takes over what was seen of another partition.
func (w *windows) join(other *windows) {
	if w != nil {
		w.list = append(w.list, other.list...)
	}
}

func (w *windows) write(path string) error {
	b, err := json.Marshal(struct {
		Version int       `json:"version"`
		Windows []*window `json:"windows"`
	}{snapshotVersion, w.list})
	if err != nil {
		return err
	}
	return os.WriteFile(path, b, 0o600)
}

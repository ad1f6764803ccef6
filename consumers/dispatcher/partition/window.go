package partition

import (
	"bytes"
	"math/bits"
	"slices"

	facts "hookledger/schemas/proto/hookledger/facts/v1"
)

// window knows which offsets of `deliveries` below the read position are not
// settled: a bit each, from the lowest.
type window struct {
	base     uint64 // multiple of 64: the offset of words[0]
	words    []uint64
	head     int    // words[head] is the first that may hold a bit
	position uint64 // R: all below is accepted, dropped, or unsettled here
	n        int    // bits set
}

func newWindow(c *facts.Checkpoint) window {
	w := window{base: c.GetLow() &^ 63, position: c.GetLow()}
	at := c.GetLow()
	for _, d := range c.GetUnfinished() {
		at += d
		w.open(at)
	}
	w.position = max(c.GetPosition(), c.GetLow())
	return w
}

// open says that the offset is accepted and not settled, and moves the position past it.
func (w *window) open(o uint64) {
	i := int((o - w.base) / 64)
	for i >= len(w.words) {
		w.words = append(w.words, 0)
	}
	if bit := uint64(1) << (o % 64); w.words[i]&bit == 0 {
		w.words[i] |= bit
		w.head = min(w.head, i)
		w.n++
	}
	w.pass(o)
}

// pass moves the position past the offset.
func (w *window) pass(o uint64) { w.position = max(w.position, o+1) }

// unsettled reports whether the offset is accepted and not settled.
func (w *window) unsettled(o uint64) bool {
	if o < w.base || o >= w.position {
		return false
	}
	i := int((o - w.base) / 64)
	return i < len(w.words) && w.words[i]&(1<<(o%64)) != 0
}

func (w *window) settle(o uint64) {
	if !w.unsettled(o) {
		return
	}
	w.words[(o-w.base)/64] &^= 1 << (o % 64)
	w.n--
}

// low is the lowest unsettled offset, or the position.
func (w *window) low() uint64 {
	for w.head < len(w.words) && w.words[w.head] == 0 {
		w.head++
	}
	if w.n == 0 {
		w.base, w.words, w.head = w.position&^63, w.words[:0], 0
		return w.position
	}
	if w.head > 1024 && w.head > len(w.words)/2 {
		w.base += uint64(w.head) * 64
		w.words = w.words[:copy(w.words, w.words[w.head:])]
		w.head = 0
	}
	return w.base + uint64(w.head)*64 + uint64(bits.TrailingZeros64(w.words[w.head]))
}

// unfinished lists the unsettled offsets as differences, the first from low.
func (w *window) unfinished() []uint64 {
	if w.n == 0 {
		return nil
	}
	at := w.low()
	list := make([]uint64, 0, w.n)
	for i := w.head; i < len(w.words); i++ {
		for word := w.words[i]; word != 0; word &= word - 1 {
			o := w.base + uint64(i)*64 + uint64(bits.TrailingZeros64(word))
			list = append(list, o-at)
			at = o
		}
	}
	return list
}

// mark is the greatest (offset, webhook) accepted of a partition of `events`.
type mark struct {
	offset  int64
	webhook [16]byte
}

// sources drops what an incarnation of the router said again.
type sources map[int32]mark

func newSources(c *facts.Checkpoint) sources {
	s := make(sources, len(c.GetSources()))
	for _, m := range c.GetSources() {
		s[m.GetPartition()] = mark{offset: m.GetOffset(), webhook: [16]byte(m.GetWebhookId())}
	}
	return s
}

// accept reports whether the request is above everything accepted from its
// partition, and if so makes it the greatest.
func (s sources) accept(from *facts.Source, webhook [16]byte) bool {
	m, ok := s[from.GetPartition()]
	if ok && (from.GetOffset() < m.offset || from.GetOffset() == m.offset && bytes.Compare(webhook[:], m.webhook[:]) <= 0) {
		return false
	}
	s[from.GetPartition()] = mark{offset: from.GetOffset(), webhook: webhook}
	return true
}

// marks are the sources as a checkpoint holds them, in order.
func (s sources) marks() []*facts.SourceMark {
	list := make([]*facts.SourceMark, 0, len(s))
	for p, m := range s {
		list = append(list, &facts.SourceMark{Partition: p, Offset: m.offset, WebhookId: m.webhook[:]})
	}
	slices.SortFunc(list, func(a, b *facts.SourceMark) int { return int(a.GetPartition() - b.GetPartition()) })
	return list
}

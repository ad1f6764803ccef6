package partition

// What a record of `lanes` is live for: an entry's number, a webhook's number
// with the bit tagHealth, or tagCheckpoint.
const (
	tagDead       uint32 = 0
	tagHealth     uint32 = 1 << 31
	tagCheckpoint uint32 = tagHealth
)

// live knows, for each record of `lanes` from the lowest live one on, what it
// is live for: four bytes a record, found by offset because offsets have no gaps.
type live struct {
	tags  []uint32
	head  int
	base  int64 // offset of tags[0]
	alive int
}

func (l *live) reset(start int64) { *l = live{base: start, tags: l.tags[:0]} }

// end is the offset of the next record.
func (l *live) end() int64 { return l.base + int64(len(l.tags)) }

// push adds the next record, dead.
func (l *live) push() {
	if l.head > 1024 && l.head > len(l.tags)/2 {
		l.tags = l.tags[:copy(l.tags, l.tags[l.head:])]
		l.base += int64(l.head)
		l.head = 0
	}
	l.tags = append(l.tags, tagDead)
}

func (l *live) set(offset int64, tag uint32) {
	i := offset - l.base
	if l.tags[i] == tagDead {
		l.alive++
	}
	l.tags[i] = tag
}

func (l *live) kill(offset int64) {
	if i := offset - l.base; offset >= 0 && l.tags[i] != tagDead {
		l.tags[i] = tagDead
		l.alive--
	}
}

// lowest is the offset of the lowest live record, or the end.
func (l *live) lowest() int64 {
	for l.head < len(l.tags) && l.tags[l.head] == tagDead {
		l.head++
	}
	return l.base + int64(l.head)
}

// tag says what the record at the offset is live for; the offset is not below lowest.
func (l *live) tag(offset int64) uint32 { return l.tags[offset-l.base] }

package partition

// heap is a binary heap of entries, by order (a lane's ready ones) or by due
// time (what sleeps). Each entry knows its place, so any can be taken out.
type heap struct {
	ids      []uint32
	byDue    bool
	byOffset bool // a rule's absence, in tests only
}

func (h *heap) less(ix *index, a, b uint32) bool {
	x, y := ix.at(a), ix.at(b)
	if h.byDue && x.due != y.due {
		return x.due < y.due
	}
	if h.byOffset && x.offset >= 0 && y.offset >= 0 {
		return x.offset < y.offset
	}
	return x.order < y.order
}

func (h *heap) push(ix *index, id uint32) {
	h.ids = append(h.ids, id)
	h.up(ix, len(h.ids)-1)
}

func (h *heap) remove(ix *index, id uint32) {
	i, last := int(ix.at(id).at), len(h.ids)-1
	moved := h.ids[last]
	h.ids = h.ids[:last]
	if i == last {
		return
	}
	h.ids[i] = moved
	ix.at(moved).at = uint32(i)
	h.down(ix, i)
	h.up(ix, int(ix.at(moved).at))
}

func (h *heap) up(ix *index, i int) {
	id := h.ids[i]
	for i > 0 {
		parent := (i - 1) / 2
		if !h.less(ix, id, h.ids[parent]) {
			break
		}
		h.set(ix, i, h.ids[parent])
		i = parent
	}
	h.set(ix, i, id)
}

func (h *heap) down(ix *index, i int) {
	id := h.ids[i]
	for {
		child := 2*i + 1
		if child >= len(h.ids) {
			break
		}
		if child+1 < len(h.ids) && h.less(ix, h.ids[child+1], h.ids[child]) {
			child++
		}
		if !h.less(ix, h.ids[child], id) {
			break
		}
		h.set(ix, i, h.ids[child])
		i = child
	}
	h.set(ix, i, id)
}

func (h *heap) set(ix *index, i int, id uint32) {
	h.ids[i] = id
	ix.at(id).at = uint32(i)
}

// queue is a first-in-first-out list that reuses its room.
type queue[T any] struct {
	items []T
	head  int
}

func (q *queue[T]) len() int { return len(q.items) - q.head }

func (q *queue[T]) push(v T) {
	if q.head > 0 && len(q.items) == cap(q.items) && q.head >= len(q.items)/2 {
		n := copy(q.items, q.items[q.head:])
		clear(q.items[n:])
		q.items, q.head = q.items[:n], 0
	}
	q.items = append(q.items, v)
}

func (q *queue[T]) front() *T { return &q.items[q.head] }

func (q *queue[T]) pop() T {
	v := q.items[q.head]
	var zero T
	q.items[q.head] = zero
	q.head++
	if q.head == len(q.items) {
		q.items, q.head = q.items[:0], 0
	}
	return v
}

// least is a small binary heap of values.
type least[T any] struct {
	items []T
	less  func(a, b *T) bool
}

func (h *least[T]) push(v T) {
	h.items = append(h.items, v)
	for i := len(h.items) - 1; i > 0; {
		parent := (i - 1) / 2
		if !h.less(&h.items[i], &h.items[parent]) {
			return
		}
		h.items[i], h.items[parent] = h.items[parent], h.items[i]
		i = parent
	}
}

func (h *least[T]) pop() T {
	v, last := h.items[0], len(h.items)-1
	h.items[0] = h.items[last]
	var zero T
	h.items[last] = zero
	h.items = h.items[:last]
	for i := 0; ; {
		child := 2*i + 1
		if child >= last {
			return v
		}
		if child+1 < last && h.less(&h.items[child+1], &h.items[child]) {
			child++
		}
		if !h.less(&h.items[child], &h.items[i]) {
			return v
		}
		h.items[i], h.items[child] = h.items[child], h.items[i]
		i = child
	}
}

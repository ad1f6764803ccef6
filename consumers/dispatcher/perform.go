package dispatcher

import (
	"context"
	"time"

	"hookledger/consumers/dispatcher/partition"
	"hookledger/ledger"
)

// perform does what the machine wants done.
func (w *worker) perform(ctx context.Context) {
	w.m.Take(&w.fx)
	if w.fx.Empty() {
		return
	}
	for _, s := range w.fx.Seeks {
		w.seek(ctx, s)
	}
	for i := range w.fx.Lanes {
		a := &w.fx.Lanes[i]
		w.append(ctx, a.Token, ledger.LaneRecord(w.p, a.Record))
	}
	for i := range w.fx.Attempts {
		a := &w.fx.Attempts[i]
		w.append(ctx, a.Token, ledger.AttemptRecord(w.p, a.Fact))
	}
	if len(w.fx.Loads) > 0 {
		w.load(ctx, append([]int64(nil), w.fx.Loads...))
	}
	for _, t := range w.fx.Trims {
		w.d.trims.want(t.Log, w.p, t.Before)
	}
	for _, dis := range w.fx.Disables {
		w.disable(ctx, dis)
	}
	w.fx.Reset()
}

func (w *worker) append(ctx context.Context, token uint64, r ledger.Record) {
	w.d.appender.append(ctx, r, func(offset int64, err error) {
		if err != nil {
			w.box.put(input{kind: inAppendFailed, token: token, err: err})
			return
		}
		w.box.put(input{kind: inAppended, token: token, offset: offset})
	})
}

// seek asks for a log's bounds; opened places the reader when they are known.
func (w *worker) seek(ctx context.Context, s partition.Seek) {
	w.seeks++
	t := &w.readers[s.Log]
	*t = tail{seek: w.seeks}
	seek := w.seeks
	w.d.reader(s.Log).Remove(topicOf[s.Log], w.p)
	go func() {
		for {
			starts, err := w.d.Log.Starts(ctx, topicOf[s.Log])
			if err == nil {
				var ends map[int32]int64
				if ends, err = w.d.Log.Ends(ctx, topicOf[s.Log]); err == nil {
					from := s.From
					if from == partition.FromStart {
						from = starts[w.p]
					}
					w.box.put(input{kind: inOpened, log: s.Log, token: seek, at: time.Duration(from), offset: starts[w.p], end: ends[w.p]})
					return
				}
			}
			select {
			case <-ctx.Done():
				return
			case <-time.After(time.Second):
				w.d.Logger.Warn("the bounds of a log could not be asked for, it is tried again", "topic", topicOf[s.Log], "partition", w.p, "error", err)
			}
		}
	}()
}

// opened places the reader of a log and tells the machine its bounds.
func (w *worker) opened(now partition.Time, in *input) {
	t := &w.readers[in.log]
	if t.seek != in.token {
		return // another Seek came after it
	}
	from := int64(in.at)
	w.m.Opened(now, in.log, in.offset, in.end)
	if from < in.offset || from > in.end {
		return // the machine knows what that means
	}
	t.open, t.next = true, from
	w.d.reader(in.log).Add(topicOf[in.log], w.p, from)
}

// load reads lane records by offset.
func (w *worker) load(ctx context.Context, offsets []int64) {
	go func() {
		for _, offset := range offsets {
			r, err := w.d.Log.ReadAt(ctx, ledger.Lanes, w.p, offset)
			in := input{kind: inLoaded, offset: offset}
			if err == nil {
				in.lane, err = ledger.DecodeLane(r.Value)
			}
			if err != nil {
				in = input{kind: inLoadFailed, offset: offset, err: err}
			}
			w.box.put(in)
		}
	}()
}

package subscriptions

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// TestQuestionsAreShared: who arrives while a question is under way waits for
// the next, and that one serves all of them.
func TestQuestionsAreShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		asked := 0
		q := newQuestions()
		var run sync.WaitGroup
		run.Go(func() {
			q.run(ctx, func(context.Context) (map[int32]int64, error) {
				asked++
				answer := int64(asked)
				time.Sleep(time.Millisecond)
				return map[int32]int64{0: answer}, nil
			})
		})
		var wg sync.WaitGroup
		join := func(want int64) {
			wg.Go(func() {
				mine := q.join()
				<-mine.done
				if mine.ends[0] != want {
					t.Errorf("served by question %d, want %d", mine.ends[0], want)
				}
			})
		}
		join(1)
		synctest.Wait()
		for range 100 { // the first is under way
			join(2)
		}
		time.Sleep(1500 * time.Microsecond)
		join(3)
		wg.Wait()
		if asked != 3 {
			t.Errorf("%d questions, want 3", asked)
		}
		cancel()
		run.Wait()
	})
}

func TestAHungQuestionEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		q := newQuestions()
		var run sync.WaitGroup
		run.Go(func() {
			q.run(ctx, func(ctx context.Context) (map[int32]int64, error) { <-ctx.Done(); return nil, ctx.Err() })
		})
		began := time.Now()
		mine := q.join()
		<-mine.done
		if !errors.Is(mine.err, context.DeadlineExceeded) || time.Since(began) != BarrierTimeout {
			t.Errorf("%v after %v", mine.err, time.Since(began))
		}
		cancel()
		run.Wait()
	})
}

func TestProgress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newProgress(2)
		var wg sync.WaitGroup
		wg.Go(func() {
			if err := p.wait(t.Context(), map[int32]int64{0: 2, 1: 1}); err != nil {
				t.Error(err)
			}
		})
		reason := errors.New("stopped")
		wg.Go(func() {
			if err := p.wait(t.Context(), map[int32]int64{1: 5}); !errors.Is(err, reason) {
				t.Errorf("got %v, want the reason of the stop", err)
			}
		})
		wg.Go(func() {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			if err := p.wait(ctx, map[int32]int64{7: 0}); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("a partition that is not there: %v", err)
			}
		})
		p.advance(0, 2)
		synctest.Wait()
		p.advance(1, 1)
		time.Sleep(2 * time.Second)
		p.stop(reason)
		p.stop(errors.New("later"))
		wg.Wait()
	})
}

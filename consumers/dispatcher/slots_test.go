package dispatcher

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

func TestSlowTriesGiveTheirSlotsBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSlots(3, 2, 2*time.Second)
		box := newMailbox()
		begin := func() (*flight, context.Context) {
			t.Helper()
			if s.take(1, box) != 1 {
				t.Fatal("there is no slot")
			}
			ctx, cut := context.WithCancelCause(t.Context())
			return s.fly(cut), ctx
		}
		count := func(free, slow int) {
			t.Helper()
			synctest.Wait()
			if f, n, _ := s.state(); f != free || n != slow {
				t.Fatalf("%d slots are free and %d tries are slow, want %d and %d", f, n, free, slow)
			}
		}
		first, firstCtx := begin()
		time.Sleep(time.Second)
		quick, _ := begin()
		third, thirdCtx := begin()
		if s.take(5, box) != 0 {
			t.Fatal("more slots than there are")
		}
		quick.end()
		select {
		case <-box.wake:
		default:
			t.Fatal("who found no slot is not told of the next")
		}
		count(1, 0)
		time.Sleep(time.Second)
		count(2, 1) // the first is slow
		time.Sleep(time.Second)
		count(3, 2)
		fourth, fourthCtx := begin()
		time.Sleep(2 * time.Second)
		count(3, 2)
		if err := context.Cause(firstCtx); !errors.Is(err, errSlowPool) {
			t.Fatalf("the oldest was not cut: %v", err)
		}
		if thirdCtx.Err() != nil || fourthCtx.Err() != nil {
			t.Fatal("more than the oldest was cut")
		}
		first.end()
		third.end()
		fourth.end()
		count(3, 0)
		if _, _, cuts := s.state(); cuts != 1 {
			t.Fatalf("%d cuts", cuts)
		}
		time.Sleep(time.Minute)
		count(3, 0)
	})
}

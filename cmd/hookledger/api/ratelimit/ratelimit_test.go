package ratelimit_test

import (
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"hookledger/cmd/hookledger/api/ratelimit"
)

// clock is a time that tests move.
type clock struct{ at time.Time }

func (c *clock) now() time.Time { return c.at }

func buckets(t testing.TB, quota int, window time.Duration, size int) (*ratelimit.Buckets, *clock) {
	t.Helper()
	c := &clock{time.Unix(1_000_000, 0)}
	b, err := ratelimit.New(ratelimit.Limit{Quota: quota, Window: window}, size, c.now)
	if err != nil {
		t.Fatal(err)
	}
	return b, c
}

func TestAQuotaComesAtOnceAndThenByTheRate(t *testing.T) {
	b, c := buckets(t, 5, 10*time.Second, 10)
	for i := range 5 {
		if s := b.Take("a", 1); !s.OK || s.Remaining != 4-i || s.Reset != time.Duration(i+1)*2*time.Second || s.Quota != 5 {
			t.Fatalf("the %d. is %+v", i+1, s)
		}
	}
	s := b.Take("a", 1)
	if s.OK || s.Remaining != 0 || s.RetryAfter != 2*time.Second || s.Reset != 10*time.Second {
		t.Fatalf("the sixth is %+v", s)
	}
	if again := b.Take("a", 1); again != s {
		t.Errorf("a refusal took something: %+v", again)
	}
	if other := b.Take("b", 5); !other.OK {
		t.Errorf("another name pays: %+v", other)
	}
	if got := b.Wait("a"); got != 2*time.Second || b.Wait("nobody") != 0 {
		t.Errorf("the wait is %s", got)
	}
	c.at = c.at.Add(s.RetryAfter - 1)
	if s := b.Take("a", 1); s.OK {
		t.Error("it passes before retry after")
	}
	c.at = c.at.Add(1)
	if s := b.Take("a", 1); !s.OK || s.Remaining != 0 {
		t.Errorf("it does not pass after retry after: %+v", s)
	}
	c.at = c.at.Add(time.Hour)
	if s := b.Take("a", 0); s.Remaining != 5 || s.Reset != 0 {
		t.Errorf("after an hour: %+v", s)
	}
}

// More than the quota waits for a full bucket, and does not wait for ever.
func TestMoreThanTheQuota(t *testing.T) {
	b, c := buckets(t, 10, time.Second, 10)
	b.Take("a", 1)
	s := b.Take("a", 1000)
	if s.OK || s.RetryAfter != 100*time.Millisecond {
		t.Fatalf("%+v", s)
	}
	c.at = c.at.Add(s.RetryAfter)
	if s = b.Take("a", 1000); !s.OK || s.Remaining != 0 {
		t.Errorf("%+v", s)
	}
}

func TestWhatIsReturnedIsThereAgain(t *testing.T) {
	b, _ := buckets(t, 7, time.Second, 10)
	b.Take("a", 7)
	b.Return("a", 3)
	b.Return("nobody", 3)
	if s := b.Take("a", 3); !s.OK {
		t.Errorf("%+v", s)
	}
	if s := b.Take("a", 1); s.OK {
		t.Errorf("%+v", s)
	}
}

// Forgetting is no way around: what was asked for a window ago is full anyway.
func TestMemoryIsBounded(t *testing.T) {
	b, c := buckets(t, 2, time.Second, 100)
	for i := range 10_000 {
		b.Take(fmt.Sprint(i), 2)
		c.at = c.at.Add(time.Second / 50) // 50 names in a window
		if i >= 40 && b.Take(fmt.Sprint(i-40), 2).OK {
			t.Fatalf("%d has its quota again within its window", i-40)
		}
	}
	if n := b.Len(); n > 100 {
		t.Errorf("%d buckets are kept", n)
	}
	for range 1000 {
		b.Take("who asks only", 0)
	}
	if n := b.Len(); n > 100 {
		t.Errorf("%d buckets are kept", n)
	}
}

// Whatever is asked and whenever: never more than quota + t*rate in any time, never
// less than a patient caller may have, and one name is nothing to another.
func TestAnyScheduleIsHeldToTheRate(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		limit := ratelimit.Limit{
			Quota:  rapid.IntRange(1, 1000).Draw(t, "quota"),
			Window: time.Duration(rapid.Int64Range(int64(time.Millisecond), int64(time.Hour)).Draw(t, "window")),
		}
		c := &clock{time.Unix(1, 0)}
		b, err := ratelimit.New(limit, 2, c.now)
		if err != nil {
			t.Fatal(err)
		}
		type grant struct {
			at time.Time
			n  int
		}
		var grants []grant
		for range rapid.IntRange(1, 60).Draw(t, "questions") {
			c.at = c.at.Add(time.Duration(rapid.Int64Range(0, int64(limit.Window)).Draw(t, "later")))
			n := rapid.IntRange(0, limit.Quota).Draw(t, "n")
			b.Take("other", limit.Quota)
			s := b.Take("a", n)
			if s.Remaining < 0 || s.Remaining > limit.Quota || s.Reset < 0 || s.Reset > limit.Window || s.OK == (s.RetryAfter > 0) {
				t.Fatalf("%+v", s)
			}
			if !s.OK {
				c.at = c.at.Add(s.RetryAfter)
				if s = b.Take("a", n); !s.OK {
					t.Fatalf("%d are refused after retry after: %+v", n, s)
				}
			}
			grants = append(grants, grant{c.at, n})
		}
		for i := range grants {
			total := 0
			for _, g := range grants[i:] {
				total += g.n
				most := float64(limit.Quota) + g.at.Sub(grants[i].at).Seconds()*float64(limit.Quota)/limit.Window.Seconds()
				if float64(total) > most*(1+1e-9)+1 {
					t.Fatalf("%d units in %s of %+v", total, g.at.Sub(grants[i].at), limit)
				}
			}
		}
	})
}

func TestManyAskAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, err := ratelimit.New(ratelimit.Limit{Quota: 1000, Window: time.Second}, 10, time.Now)
		if err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		passed := make(chan struct{}, 4000)
		for range 4 {
			wg.Go(func() {
				for range 1000 {
					if b.Take("a", 1).OK {
						passed <- struct{}{}
					}
				}
			})
		}
		wg.Wait()
		if len(passed) != 1000 {
			t.Errorf("%d of 4000 passed, want 1000", len(passed))
		}
	})
}

func TestNoLimitIsNoBuckets(t *testing.T) {
	for _, l := range []ratelimit.Limit{{0, time.Second}, {1, 0}} {
		if _, err := ratelimit.New(l, 1, time.Now); err == nil {
			t.Errorf("%+v is taken", l)
		}
	}
}

func TestTheNearerLimitIsToldOf(t *testing.T) {
	l := func(quota, remaining int, ok bool) ratelimit.State {
		return ratelimit.State{Limit: ratelimit.Limit{Quota: quota}, Remaining: remaining, OK: ok}
	}
	for _, c := range []struct{ near, far ratelimit.State }{
		{l(100, 10, true), l(10, 5, true)}, {l(10, 5, false), l(10, 0, true)}, {l(10, 0, true), l(10, 1, true)},
	} {
		if !c.near.Nearer(c.far) || c.far.Nearer(c.near) {
			t.Errorf("%+v and %+v", c.near, c.far)
		}
	}
}

func BenchmarkTake(b *testing.B) {
	buckets, err := ratelimit.New(ratelimit.Limit{Quota: 1 << 30, Window: time.Second}, 1<<18, time.Now)
	if err != nil {
		b.Fatal(err)
	}
	names := make([]string, 10_000)
	for i := range names {
		names[i] = fmt.Sprintf("account-%d", i)
	}
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		buckets.Take(names[i%len(names)], 1)
		i++
	}
}

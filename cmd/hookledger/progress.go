package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"time"
)

// How often progress is shown: on a terminal, and in plain lines.
const (
	barEvery  = 200 * time.Millisecond
	lineEvery = 5 * time.Second
	barWidth  = 30
)

// progress is what is being done, and how many records were read of how many; total 0 is not known.
type progress func() (what string, read, total int64)

// show shows progress on w until the work is done: one line that is drawn again
// on a terminal, else a line now and then.
func (ask progress) show(ctx context.Context, w io.Writer, work func(context.Context) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- work(ctx) }()
	bar := isTerminal(w)
	every := lineEvery
	if bar {
		every = barEvery
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	look := time.NewTicker(barEvery)
	defer look.Stop()
	var said string
	var rate rate
	line := func() {
		what, read, total := ask()
		text := rate.line(time.Now(), what, read, total)
		if bar {
			fmt.Fprintf(w, "\r\x1b[K%s", text)
		} else if text != said {
			fmt.Fprintln(w, text)
		}
		said = text
	}
	before := ""
	for {
		select {
		case err := <-done:
			if bar {
				fmt.Fprint(w, "\r\x1b[K")
			}
			return err
		case <-look.C: // a new step is said at once
			if what, _, _ := ask(); what != before {
				before = what
				rate = newRate(time.Now(), ask)
				line()
			}
		case <-tick.C:
			line()
		}
	}
}

// rate is how fast the records of a step are read.
type rate struct {
	began time.Time
	from  int64
}

func newRate(now time.Time, ask progress) rate {
	_, read, _ := ask()
	return rate{now, read}
}

func (r rate) line(now time.Time, what string, read, total int64) string {
	if total == 0 {
		return what
	}
	share := min(float64(read)/float64(total), 1)
	full := int(share * barWidth)
	text := fmt.Sprintf("%s [%s%s] %3.0f %%, %d of %d records", what, strings.Repeat("#", full), strings.Repeat(".", barWidth-full), share*100, read, total)
	if took := now.Sub(r.began).Seconds(); took > 0.5 && read > r.from {
		per := float64(read-r.from) / took
		text += fmt.Sprintf(", %.0f records/s", per)
		if read < total {
			text += fmt.Sprintf(", %s left", (time.Duration(float64(total-read)/per) * time.Second).Round(time.Second))
		}
	}
	return text
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

package historian_test

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"
)

// BenchmarkCatchUp reads a log of some 100,000 records into an empty history.
// The processor time is that of the whole process (broker and historian) and of
// the engine's.
func BenchmarkCatchUp(b *testing.B) {
	w := newWorld(b)
	for i := range 25 {
		w.traffic(uint64(i), 1000)
	}
	for b.Loop() {
		for _, table := range []string{"places", "attempts", "deliveries", "events", "config_changes", "attempts_hourly"} {
			w.exec("DROP TABLE IF EXISTS " + table)
		}
		w.exec("DROP TABLE IF EXISTS schema_migrations")
		own, engine, began := cpu(b, os.Getpid()), cpu(b, db.Engine(b).PID()), time.Now()
		stop := w.run(w.open(w.dsn))
		w.covered()
		took := time.Since(began)
		own, engine = cpu(b, os.Getpid())-own, cpu(b, db.Engine(b).PID())-engine
		must(b, stop())
		var rows int
		for _, all := range w.dump() {
			rows += len(all)
		}
		b.ReportMetric(float64(rows)/took.Seconds(), "rows/s")
		b.ReportMetric(own.Seconds()/float64(rows)*1000, "own-cpu-s/1000rows")
		b.ReportMetric(engine.Seconds()/float64(rows)*1000, "engine-cpu-s/1000rows")
		b.ReportMetric(float64(rows), "rows")
	}
}

// BenchmarkSteady appends some 200 records a second for ten seconds.
func BenchmarkSteady(b *testing.B) {
	w := newWorld(b)
	w.run(w.h)
	w.traffic(1, 1)
	w.settled()
	for b.Loop() {
		own, engine := cpu(b, os.Getpid()), cpu(b, db.Engine(b).PID())
		began := time.Now()
		for i := range 50 {
			w.traffic(uint64(i+10), 8)
			time.Sleep(time.Until(began.Add(time.Duration(i+1) * 200 * time.Millisecond)))
		}
		w.covered()
		seconds := time.Since(began).Seconds()
		b.ReportMetric((cpu(b, os.Getpid())-own).Seconds()/seconds, "own-cores")
		b.ReportMetric((cpu(b, db.Engine(b).PID())-engine).Seconds()/seconds, "engine-cores")
	}
}

// cpu is the processor time of a process so far; 0 where /proc doesn't tell.
func cpu(b *testing.B, pid int) time.Duration {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	user, _ := strconv.Atoi(fields[11])
	system, _ := strconv.Atoi(fields[12])
	return time.Duration(user+system) * 10 * time.Millisecond
}

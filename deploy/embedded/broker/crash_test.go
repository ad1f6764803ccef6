package broker_test

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"hookledger/deploy/embedded/broker"
	"hookledger/deploy/embedded/broker/brokertest"
	"hookledger/deploy/embedded/datadir"
)

// childEnv makes the test binary a process that loads a broker on a folder until it is killed, and prints
// what was acknowledged. Its value is the folder, the round, the fsync mode, and where to note what is synced, if
// a power cut follows: then only what is synced counts as acknowledged.
const (
	childEnv   = "BROKER_TEST_CHILD"
	partitions = 2
	topicName  = "load"
	groupName  = "load"
)

func runChild(arg string) int {
	f := strings.Split(arg, "|")
	if err := load(f[0], f[1], broker.Fsync(f[2]), f[3]); err != nil {
		fmt.Println("failed", err)
		return 1
	}
	return 0
}

// load runs until it is killed. Each line that it prints is one acknowledged thing:
//
//	r PARTITION OFFSET VALUE   a record
//	c PARTITION OFFSET         a commit
//	t PARTITION OFFSET         a trim up to this offset
//
// and before each trim, what it asks for: T PARTITION OFFSET.
//
// VALUE is the round and a counter by partition.
func load(path, round string, fsync broker.Fsync, notes string) error {
	ctx := context.Background()
	dir, err := datadir.Open(path)
	if err != nil {
		return err
	}
	o := broker.Options{Dir: dir, Fsync: fsync}
	if notes != "" {
		o.WatchSync = brokertest.Power{Dir: dir.Broker(), Notes: notes}.Watch()
	}
	b, err := broker.Start(ctx, o)
	if err != nil {
		return err
	}
	cl, err := kgo.NewClient(append(b.ClientOpts(), kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerLinger(0), kgo.MaxBufferedRecords(64))...)
	if err != nil {
		return err
	}
	adm := kadm.NewClient(cl)
	if _, err := adm.CreateTopic(ctx, partitions, 1, map[string]*string{"segment.bytes": kadm.StringPtr("65536")}, topicName); err != nil &&
		!errors.Is(err, kerr.TopicAlreadyExists) {
		return err
	}
	var out sync.Mutex
	say := func(format string, args ...any) {
		out.Lock()
		defer out.Unlock()
		fmt.Printf(format+"\n", args...)
	}
	failed := make(chan error, 1)
	if notes != "" {
		say = sayWhenSynced(ctx, b, say, failed)
	}
	last := make([]chan int64, partitions)
	for p := range int32(partitions) {
		last[p] = make(chan int64, 1)
		go func() {
			for n := 0; ; n++ {
				value := fmt.Sprintf("%s-%06d-%s", round, n, strings.Repeat("x", rand.IntN(900)))
				cl.Produce(ctx, &kgo.Record{Topic: topicName, Partition: p, Value: []byte(value)}, func(r *kgo.Record, err error) {
					if err != nil {
						failed <- err
						return
					}
					say("r %d %d %s", r.Partition, r.Offset, r.Value[:len(round)+7])
					select {
					case last[p] <- r.Offset:
					default:
					}
				})
			}
		}()
		go func() {
			for n := 0; ; n++ {
				at := <-last[p]
				var o kadm.Offsets
				o.Add(kadm.Offset{Topic: topicName, Partition: p, At: at})
				if err := adm.CommitAllOffsets(ctx, groupName, o); err != nil {
					failed <- err
					return
				}
				say("c %d %d", p, at)
				if err := b.Sync(ctx); err != nil {
					failed <- err
					return
				}
				if n%4 == 3 {
					if n%8 == 7 {
						at = -1 // to the end
					}
					say("T %d %d", p, at)
					o = kadm.Offsets{}
					o.Add(kadm.Offset{Topic: topicName, Partition: p, At: at})
					rs, err := adm.DeleteRecords(ctx, o)
					if err == nil {
						err = rs.Error()
					}
					if errors.Is(err, kerr.OffsetOutOfRange) {
						continue // an earlier trim to the end went further
					}
					if err != nil {
						failed <- err
						return
					}
					r, _ := rs.Lookup(topicName, p)
					say("t %d %d", p, r.LowWatermark)
				}
			}
		}()
	}
	return <-failed
}

// sayWhenSynced says each line once it is synced, in order; but at once what may be gone by a trim.
func sayWhenSynced(ctx context.Context, b *broker.Broker, say func(string, ...any), failed chan<- error) func(string, ...any) {
	lines := make(chan string, 1<<16)
	go func() {
		for line := range lines {
			waiting := []string{line}
			for len(lines) > 0 {
				waiting = append(waiting, <-lines)
			}
			if err := b.Sync(ctx); err != nil {
				failed <- err
				return
			}
			for _, line := range waiting {
				say("%s", line)
			}
		}
	}()
	return func(format string, args ...any) {
		line := fmt.Sprintf(format, args...)
		if line[0] == 'T' || line[0] == 't' {
			say("%s", line)
			return
		}
		lines <- line
	}
}

// acked is what the children were acknowledged.
type acked struct {
	records [partitions]map[int64]string
	commit  [partitions]int64
	trim    [partitions]int64
	asked   [partitions]int64 // a trim that was not answered
	end     [partitions]int64
}

// killUnderLoad runs a child until it has printed n commits, and kills it.
func (a *acked) killUnderLoad(t *testing.T, path string, round int, fsync broker.Fsync, notes string, n int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, os.Args[0])
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%s|r%03d|%s|%s", childEnv, path, round, fsync, notes))
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := 0
	for in := bufio.NewReader(out); ; {
		line, err := in.ReadString('\n')
		if err != nil {
			break // the last line may be cut: it was not seen whole, so nothing was promised
		}
		if line[0] == 'c' {
			lines++
		}
		if lines == n && line[0] == 'c' {
			if err := cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
		}
		f := strings.Fields(line)
		if f[0] == "failed" {
			t.Fatalf("round %d: %s", round, line)
		}
		p, err1 := strconv.Atoi(f[1])
		at, err2 := strconv.ParseInt(f[2], 10, 64)
		if err := errors.Join(err1, err2); err != nil {
			t.Fatalf("round %d said %q: %v", round, line, err)
		}
		switch f[0] {
		case "r":
			if a.records[p] == nil {
				a.records[p] = make(map[int64]string)
			}
			if old, ok := a.records[p][at]; ok {
				t.Fatalf("offset %d of partition %d was used twice: %s and %s", at, p, old, f[3])
			}
			a.records[p][at] = f[3]
			a.end[p] = max(a.end[p], at+1)
		case "c":
			a.commit[p] = at
		case "T":
			if at == -1 {
				at = math.MaxInt64
			}
			a.asked[p] = at
		case "t":
			a.trim[p], a.asked[p] = max(a.trim[p], at), 0
		}
	}
	_ = cmd.Wait() // killed
	if lines < n {
		t.Fatalf("round %d ended by itself after %d commits", round, lines)
	}
}

// check compares what a restarted broker has with what was acknowledged.
func (a *acked) check(t *testing.T, path string) {
	t.Helper()
	var said strings.Builder
	o := broker.Options{Logger: slog.New(slog.NewTextHandler(&said, nil))}
	b, stop := open(t, path, o)
	defer stop()
	if !b.Unclean() {
		t.Error("a killed broker counts as cleanly stopped")
	}
	ctx := testContext(t)
	cl := brokertest.Client(t, b)
	defer cl.Close()
	adm := kadm.NewClient(cl)
	commits, err := adm.FetchOffsets(ctx, groupName)
	if err != nil {
		t.Fatal(err)
	}
	log := readAll(t, b, topicName, partitions)
	for p := range int32(partitions) {
		if c, _ := commits.Lookup(topicName, p); c.At < a.commit[p] {
			t.Errorf("partition %d: commit %d, acknowledged was %d", p, c.At, a.commit[p])
		}
		recs := log[p]
		if len(recs) == 0 {
			t.Fatalf("partition %d is empty", p)
		}
		start, end := recs[0].Offset, recs[len(recs)-1].Offset+1
		if start > max(a.trim[p], a.asked[p]) {
			t.Errorf("partition %d starts at %d, though trimmed to %d only", p, start, a.trim[p])
		}
		if end < a.end[p] {
			t.Errorf("partition %d ends at %d, acknowledged was up to %d", p, end, a.end[p])
		}
		before := ""
		for i, r := range recs {
			if r.Offset != start+int64(i) {
				t.Fatalf("partition %d: offset %d follows %d", p, r.Offset, start+int64(i)-1)
			}
			value := string(r.Value[:strings.LastIndexByte(string(r.Value), '-')])
			if want, ok := a.records[p][r.Offset]; ok && want != value {
				t.Fatalf("partition %d: %s at offset %d, acknowledged was %s", p, value, r.Offset, want)
			}
			if value <= before {
				t.Fatalf("partition %d: %s after %s", p, value, before)
			}
			before = value
		}
	}
	// What the clean stop now writes down fits its files, whatever the kill had left.
	stop()
	b, again := open(t, path, o)
	again()
	if b.Unclean() || strings.Contains(said.String(), "not quite") {
		t.Errorf("the start after the clean stop doubts it: %s", said.String())
	}
}

// readAll reads each partition from its start to its end.
func readAll(t testing.TB, b *broker.Broker, topic string, partitions int32) [][]*kgo.Record {
	t.Helper()
	ctx := testContext(t)
	from := make(map[int32]kgo.Offset)
	for p := range partitions {
		from[p] = kgo.NewOffset().AtStart()
	}
	cl := brokertest.Client(t, b, kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: from}))
	defer cl.Close()
	adm := kadm.NewClient(cl)
	starts, err1 := adm.ListStartOffsets(ctx, topic)
	ends, err2 := adm.ListEndOffsets(ctx, topic)
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	var left int64
	for p := range partitions {
		s, _ := starts.Lookup(topic, p)
		e, _ := ends.Lookup(topic, p)
		left += e.Offset - s.Offset
	}
	out := make([][]*kgo.Record, partitions)
	for left > 0 {
		fs := cl.PollFetches(ctx)
		if err := fs.Err(); err != nil {
			t.Fatalf("with %d records left to read: %v", left, err)
		}
		fs.EachRecord(func(r *kgo.Record) {
			out[r.Partition] = append(out[r.Partition], r)
			left--
		})
	}
	return out
}

// What was acknowledged survives SIGKILL under load, again and again: records with their offsets and order,
// commits; and a trim, also one to the end, never makes an offset be used twice.
func TestKilledUnderLoad(t *testing.T) {
	t.Parallel()
	for _, fsync := range []broker.Fsync{broker.FsyncGroup, broker.FsyncNone} {
		t.Run(string(fsync), func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "data")
			var a acked
			for round := range 4 {
				a.killUnderLoad(t, path, round, fsync, "", 4+rand.IntN(100))
				if round != 1 { // killed twice in a row, with nothing in between
					a.check(t, path)
				}
			}
			for p := range partitions {
				t.Logf("partition %d: %d records acknowledged, end %d, commit %d, trim %d", p, len(a.records[p]), a.end[p], a.commit[p], a.trim[p])
			}
		})
	}
}

var powerRounds = flag.Int("power.rounds", 6, "rounds of TestPowerCutUnderLoad")

// What was acknowledged after a sync survives a power cut, again and again, with segments that roll and are trimmed
// all the time: see brokertest.Power for what the cut takes. And the broker starts by itself.
func TestPowerCutUnderLoad(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "data")
	power := brokertest.Power{Dir: filepath.Join(path, "broker"), Notes: filepath.Join(filepath.Dir(path), "notes")}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	dice := rand.New(rand.NewPCG(seed, 0))
	var a acked
	for round := range *powerRounds {
		a.killUnderLoad(t, path, round, broker.FsyncGroup, power.Notes, 4+dice.IntN(60))
		did, err := power.Cut(dice)
		for _, what := range did {
			t.Logf("round %d: %s", round, what)
		}
		if err != nil {
			t.Fatal(err)
		}
		if a.check(t, path); t.Failed() {
			return
		}
	}
}

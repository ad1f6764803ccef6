package router

import (
	"crypto/sha256"
	"encoding/binary"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"hookledger/ledger/ids"
)

func hashOf(n int) ids.ID {
	sum := sha256.Sum256(binary.BigEndian.AppendUint64(nil, uint64(n)))
	return ids.ID(sum[:16])
}

func repeatsIn(t testing.TB, folder string, memory int, end int64) *repeats {
	t.Helper()
	r, err := openRepeats(repeatsOptions{folder: folder, topic: [16]byte{1}, end: end, memory: memory, logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func filesIn(t testing.TB, folder string) []string {
	t.Helper()
	got, err := filepath.Glob(filepath.Join(folder, "*"))
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// The memory, spilling and reopened at any moment, knows what a map knows.
func TestRepeatsModel(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	n := 0
	rapid.Check(t, func(rt *rapid.T) {
		n++
		folder := filepath.Join(root, "model", string(rune('a'+n%26))+strings.Repeat("x", n/26))
		memory := rapid.SampledFrom([]int{0, 8 * minSlots * slotSize, 1 << 20}).Draw(rt, "memory")
		r := repeatsIn(t, folder, memory, 1<<40)
		defer func() { r.close() }()
		type entry struct {
			id     int
			offset int64
			hour   int64
		}
		var log []entry // event-ids: what was appended, in order
		hour, offset := int64(400_000), int64(0)
		insert := func(e entry) {
			hash := ids.ID{}
			if e.id >= 0 {
				hash = hashOf(e.id)
			}
			if err := r.insert(e.hour, hash, e.offset); err != nil {
				rt.Fatal(err)
			}
		}
		for range rapid.IntRange(1, 80).Draw(rt, "steps") {
			switch rapid.SampledFrom([]string{"insert", "insert", "insert", "hour", "hours", "restart", "again"}).Draw(rt, "step") {
			case "insert":
				many, stride := rapid.IntRange(1, 300).Draw(rt, "many"), rapid.IntRange(0, 7).Draw(rt, "stride")
				for i := range many {
					e := entry{i * stride % 1000, offset, hour}
					insert(e)
					log = append(log, e)
					offset++
				}
			case "hour", "hours":
				hour += int64(rapid.IntRange(1, 9).Draw(rt, "hours"))
				if err := r.expire(hour); err != nil {
					rt.Fatal(err)
				}
				e := entry{-1, offset, hour}
				insert(e)
				log = append(log, e)
				offset++
				if err := r.seal(hour, int64(len(log)-1)); err != nil {
					rt.Fatal(err)
				}
			case "restart":
				r.close()
				r = repeatsIn(t, folder, memory, int64(len(log)))
				for _, e := range log[r.covered:] {
					insert(e)
				}
				if err := r.expire(hour); err != nil {
					rt.Fatal(err)
				}
			case "again": // reading again from a commit meets its own entries
				if len(log) > 0 {
					for _, e := range log[rapid.IntRange(0, len(log)-1).Draw(rt, "from"):] {
						if e.hour >= hour-lifeHours {
							insert(e)
						}
					}
				}
			}
			if r.bytes > r.memory {
				rt.Fatalf("%d bytes in memory", r.bytes)
			}
			for range 5 {
				id, at := rapid.IntRange(0, 1000).Draw(rt, "asked"), rapid.Int64Range(0, offset).Draw(rt, "at")
				want := int64(-1)
				for _, e := range log {
					if e.id == id && e.offset < at && e.hour >= hour-lifeHours {
						want = max(want, e.offset)
					}
				}
				if got, found := r.find(hashOf(id), at); got != want || found != (want >= 0) {
					rt.Fatalf("id %d before %d: %d, want %d", id, at, got, want)
				}
			}
			next, want := rapid.Int64Range(0, offset).Draw(rt, "commit"), int64(0)
			for _, e := range log {
				if e.offset < next && e.hour >= hour-lifeHours {
					want = max(want, e.hour)
				}
			}
			if got := r.hourBefore(next); got != want {
				rt.Fatalf("the hour before %d is %d, want %d", next, got, want)
			}
		}
	})
}

// filled is a memory of three closed hours in files, and a fourth begun.
func filled(t *testing.T, folder string) {
	t.Helper()
	r := repeatsIn(t, folder, 0, 1000)
	for i := range 1000 {
		hour := int64(100 + i/300)
		if i%300 == 0 {
			if err := r.insert(hour, ids.ID{}, int64(i)); err != nil {
				t.Fatal(err)
			}
			if err := r.seal(hour, int64(i)); err != nil {
				t.Fatal(err)
			}
		}
		if err := r.insert(hour, hashOf(i), int64(i)); err != nil {
			t.Fatal(err)
		}
	}
	r.close()
}

func TestFilesAreUsedAgain(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	filled(t, folder)
	r := repeatsIn(t, folder, 1<<20, 1000)
	defer r.close()
	if r.covered != 900 || r.entries() != 900 {
		t.Errorf("covered to %d with %d entries", r.covered, r.entries())
	}
	for i := range 900 {
		if at, found := r.find(hashOf(i), 5000); !found || at != int64(i) {
			t.Fatalf("entry %d: %d", i, at)
		}
	}
	if err := r.expire(102 + lifeHours); err != nil {
		t.Fatal(err)
	}
	if _, found := r.find(hashOf(5), 5000); found {
		t.Error("an expired entry is found")
	}
	left := 0
	for _, f := range filesIn(t, folder) {
		if strings.HasSuffix(f, fileSuffix) {
			left++
			if strings.HasPrefix(filepath.Base(f), "100-") || strings.HasPrefix(filepath.Base(f), "101-") {
				t.Errorf("an expired file is left: %s", f)
			}
		}
	}
	if left == 0 {
		t.Error("no file is left")
	}
}

func TestDamagedFilesAreThrownAway(t *testing.T) {
	t.Parallel()
	damage := map[string]func(t *testing.T, path string){
		"a flipped bit": func(t *testing.T, path string) {
			b, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			b[len(b)/2] ^= 1
			if err := os.WriteFile(path, b, 0o600); err != nil {
				t.Fatal(err)
			}
		},
		"a shorter file": func(t *testing.T, path string) {
			if err := os.Truncate(path, 100); err != nil {
				t.Fatal(err)
			}
		},
		"no file": func(t *testing.T, path string) {
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
		},
	}
	probe := t.TempDir()
	filled(t, probe)
	for what, do := range damage {
		for _, of := range filesIn(t, probe) {
			t.Run(what+" "+filepath.Base(of), func(t *testing.T) {
				folder := t.TempDir()
				filled(t, folder)
				path := filepath.Join(folder, filepath.Base(of))
				if strings.HasPrefix(filepath.Base(of), "103-") {
					t.Skip("the open hour's: nobody vouches for it")
				}
				do(t, path)
				r := repeatsIn(t, folder, 1<<20, 1000)
				defer r.close()
				if r.covered != 0 || r.entries() != 0 || len(filesIn(t, folder)) != 0 {
					t.Errorf("covered to %d, %d entries, files %v", r.covered, r.entries(), filesIn(t, folder))
				}
			})
		}
	}
	t.Run("another topic", func(t *testing.T) {
		folder := t.TempDir()
		filled(t, folder)
		r, err := openRepeats(repeatsOptions{folder: folder, topic: [16]byte{2}, end: 1000, memory: 1 << 20, logger: slog.New(slog.DiscardHandler)})
		if err != nil || r.covered != 0 {
			t.Errorf("covered to %d, %v", r.covered, err)
		}
	})
	t.Run("a shorter log", func(t *testing.T) {
		folder := t.TempDir()
		filled(t, folder)
		if r := repeatsIn(t, folder, 1<<20, 899); r.covered != 0 {
			t.Errorf("covered to %d", r.covered)
		}
	})
}

func TestRepeatsOnAFullDisk(t *testing.T) {
	t.Parallel()
	folder := filepath.Join(t.TempDir(), "gone")
	r := repeatsIn(t, folder, 0, 1000)
	defer r.close()
	if err := os.RemoveAll(folder); err != nil {
		t.Fatal(err)
	}
	var err error
	for i := 0; err == nil && i < 1000; i++ {
		err = r.insert(1, hashOf(i), int64(i))
	}
	if err == nil || !strings.Contains(err.Error(), "make room on the disk") {
		t.Errorf("error %v", err)
	}
}

func TestTableKeepsWhatItHolds(t *testing.T) {
	t.Parallel()
	tab := newTable()
	for i := range 5000 {
		if tab.full() {
			tab = tab.grown()
		}
		tab.insert(hashOf(i%2500), int64(i))
	}
	if tab.count != 5000 {
		t.Errorf("%d entries", tab.count)
	}
	for i := range 2500 {
		before, self := tab.find(hashOf(i), int64(i+2500))
		if before != int64(i) || !self {
			t.Fatalf("id %d: %d, %v", i, before, self)
		}
	}
}

func BenchmarkRepeats(b *testing.B) {
	for name, memory := range map[string]int{"memory": 1 << 30, "files": 1 << 20} {
		b.Run(name, func(b *testing.B) {
			r := repeatsIn(b, b.TempDir(), memory, 0)
			defer r.close()
			const hours, each = 24, 40_000
			for i := range hours * each {
				if err := r.insert(int64(100+i/each), hashOf(i), int64(i)); err != nil {
					b.Fatal(err)
				}
			}
			hashes := make([]ids.ID, 4096)
			for i := range hashes {
				hashes[i] = hashOf(-1 - i)
			}
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				if _, found := r.find(hashes[i&4095], 1<<40); found {
					b.Fatal("found")
				}
				i++
			}
		})
	}
}

package main

import (
	"errors"
	"flag"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

var powerRounds = flag.Int("power.rounds", 2, "rounds of TestPowerCut: each kills the server under load, takes what a power cut may take, and starts it again")

// As TestCrash, and after each kill the power is cut: of the broker's files
// everything since the last sync that succeeded may be lost, torn or turned to
// garbage, what was removed may be back; of the engine's, what was renamed into
// place of late may never have been; and what may be thrown away is torn. The
// program starts by itself, and of what it acknowledged nothing is lost, nothing is
// invented, and the history is never ahead of the log (the historian would end).
func TestPowerCut(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes half a minute; `make test` and `make power-cut` run it")
	}
	seed := *crashSeed
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	t.Logf("-power.rounds=%d -crash.seed=%d", *powerRounds, seed)
	dir := newDataDir(t)
	t.Setenv(syncedEnv, dir+".synced")
	cuts, parts := 0, 0
	crash(t, "power cut", *powerRounds, seed, dir, func(dice *rand.Rand) {
		did, err := power(dir, dir+".synced").Cut(dice)
		if err != nil {
			t.Fatal(err)
		}
		lost := cutEngine(t, filepath.Join(dir, "engine"), dice)
		for _, what := range append(did, lost...) {
			t.Log(what)
		}
		cuts, parts = cuts+len(did), parts+len(lost)
		for _, folder := range []string{"subscriptions", "router"} {
			tear(t, filepath.Join(dir, folder), dice)
		}
	})
	t.Logf("%d files of the broker and %d parts of the engine suffered", cuts, parts)
}

// tear cuts or empties files that may be thrown away.
func tear(t *testing.T, folder string, dice *rand.Rand) {
	t.Helper()
	err := filepath.WalkDir(folder, func(path string, e os.DirEntry, err error) error {
		if err != nil || e.IsDir() || dice.IntN(2) == 0 {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		t.Logf("%s: cut", path)
		return os.Truncate(path, dice.Int64N(info.Size()+1))
	})
	if err != nil {
		t.Fatal(err)
	}
}

// cutEngine takes the last parts that the engine renamed into place: it syncs what
// is in them, and the file system's journal writes the renames within some seconds,
// in order. Parts that a merge has read are gone, so nothing is taken that came
// before the last merge, which in most rounds leaves nothing to take.
func cutEngine(t *testing.T, folder string, dice *rand.Rand) (lost []string) {
	t.Helper()
	ended(t, folder)
	parts, err := filepath.Glob(filepath.Join(folder, "store", "*", "*", "*_*_*_*"))
	if err != nil {
		t.Fatal(err)
	}
	all, err := filepath.Glob(filepath.Join(folder, "store", "*", "*", "all_*_*_*"))
	if err != nil {
		t.Fatal(err)
	}
	renamed := map[string]time.Time{}
	since := time.Now().Add(-5 * time.Second)
	for _, part := range append(parts, all...) {
		name := filepath.Base(part)
		if strings.HasPrefix(name, "tmp_") || strings.HasPrefix(name, "delete_") {
			continue
		}
		info, err := os.Stat(part)
		if err != nil {
			t.Fatal(err)
		}
		at := info.Sys().(*syscall.Stat_t).Ctim
		renamed[part] = time.Unix(at.Sec, at.Nsec)
		if !strings.HasSuffix(name, "_0") && renamed[part].After(since) {
			since = renamed[part]
		}
	}
	cut := since
	if dice.IntN(2) == 0 {
		cut = since.Add(time.Duration(dice.Int64N(int64(time.Since(since)) + 1)))
	}
	t.Logf("%d parts, the last merge %s ago", len(renamed), time.Since(since))
	for part, at := range renamed {
		if at.After(cut) {
			lost = append(lost, part+": never renamed into place")
			if err := os.RemoveAll(part); err != nil {
				t.Fatal(err)
			}
		}
	}
	return lost
}

// ended waits until the engine of a killed server has ended, too.
func ended(t *testing.T, folder string) {
	t.Helper()
	f, err := os.OpenFile(filepath.Join(folder, "engine.lock"), os.O_RDWR, 0)
	if errors.Is(err, os.ErrNotExist) {
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	eventually(t, "the killed server's engine to end", func() error { return syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) })
}

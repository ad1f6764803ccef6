package broker

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"
)

// disk knows what a power cut would leave: the sizes of files, and the names in folders, that were synced.
type disk struct {
	mu    sync.Mutex
	sizes map[uint64]int64               // by inode
	names map[uint64]map[string]struct{} // by inode of the folder
}

func (d *disk) syscalls() *syscalls {
	return &syscalls{
		dataSync: func(fd int) error {
			var st unix.Stat_t
			if err := unix.Fstat(fd, &st); err != nil {
				return err
			}
			d.mu.Lock()
			defer d.mu.Unlock()
			d.sizes[st.Ino] = st.Size
			return nil
		},
		sync: func(fd int) error {
			var st unix.Stat_t
			if err := unix.Fstat(fd, &st); err != nil {
				return err
			}
			entries, err := os.ReadDir(fmt.Sprintf("/proc/self/fd/%d", fd))
			if err != nil {
				return err
			}
			names := make(map[string]struct{}, len(entries))
			for _, e := range entries {
				names[e.Name()] = struct{}{}
			}
			d.mu.Lock()
			defer d.mu.Unlock()
			d.names[st.Ino] = names
			return nil
		},
	}
}

// missing returns what a power cut would take of the tree.
func (d *disk) missing(root string) (lost []string) {
	_ = filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			lost = append(lost, err.Error())
			return err
		}
		info, _ := e.Info()
		st, _ := info.Sys().(*syscall.Stat_t)
		if !e.IsDir() && d.sizes[st.Ino] != st.Size {
			lost = append(lost, fmt.Sprintf("%s has %d bytes, %d on disk", path, st.Size, d.sizes[st.Ino]))
		}
		if path != root {
			var up syscall.Stat_t
			if err := syscall.Stat(filepath.Dir(path), &up); err != nil {
				return err
			}
			if _, ok := d.names[up.Ino][filepath.Base(path)]; !ok {
				lost = append(lost, path+" has no name on disk")
			}
		}
		return nil
	})
	return lost
}

// Whatever the broker did to its files, all of it is on disk after a flush, and a flush of what did not
// change syncs nothing.
func TestFileFlusherMissesNothing(t *testing.T) {
	base, runs := t.TempDir(), 0
	rapid.Check(t, func(t *rapid.T) {
		runs++
		root := filepath.Join(base, strconv.Itoa(runs))
		if err := os.Mkdir(root, 0o700); err != nil {
			t.Fatal(err)
		}
		defer func() { _ = os.RemoveAll(root) }()
		d := &disk{sizes: make(map[uint64]int64), names: make(map[uint64]map[string]struct{})}
		ff := newFileFlusher(root, d.syscalls())
		defer func() { _ = ff.close() }()

		folder := rapid.Custom(func(t *rapid.T) string {
			return filepath.Join(root, rapid.SampledFrom([]string{".", "p", "p/a-0", "p/a-1"}).Draw(t, "folder"))
		})
		name := rapid.SampledFrom([]string{"0.dat", "0.idx", "7.dat", "groups.log"})
		must := func(err error) {
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				t.Fatal(err)
			}
		}
		t.Repeat(map[string]func(*rapid.T){
			"append": func(t *rapid.T) {
				dir := folder.Draw(t, "in")
				must(os.MkdirAll(dir, 0o700))
				f, err := os.OpenFile(filepath.Join(dir, name.Draw(t, "name")), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
				must(err)
				_, err = f.Write(make([]byte, rapid.IntRange(1, 100).Draw(t, "bytes")))
				must(err)
				must(f.Close())
			},
			"replace": func(t *rapid.T) {
				dir := folder.Draw(t, "in")
				must(os.MkdirAll(dir, 0o700))
				must(os.WriteFile(filepath.Join(dir, "tmp"), make([]byte, rapid.IntRange(0, 100).Draw(t, "bytes")), 0o600))
				must(os.Rename(filepath.Join(dir, "tmp"), filepath.Join(dir, name.Draw(t, "name"))))
			},
			"remove": func(t *rapid.T) {
				must(os.Remove(filepath.Join(folder.Draw(t, "in"), name.Draw(t, "name"))))
			},
			"remove a topic": func(t *rapid.T) {
				must(os.RemoveAll(filepath.Join(root, "p", rapid.SampledFrom([]string{"a-0", "a-1"}).Draw(t, "partition"))))
			},
			"flush": func(t *rapid.T) {
				must(ff.flush())
				if lost := d.missing(root); len(lost) > 0 {
					t.Fatalf("after a flush: %q", lost)
				}
			},
		})
	})
}

// Where syncfs is not to be had, the automatic choice is the other strategy; an error is an error.
func TestStrategyFallsBack(t *testing.T) {
	t.Parallel()
	for err, want := range map[error]string{
		nil: "*broker.adaptiveFlusher", unix.ENOSYS: "*broker.fileFlusher", unix.EPERM: "*broker.fileFlusher", unix.EIO: "<nil>",
	} {
		sys := osSyscalls()
		sys.syncFS = func(int) error { return err }
		f, _ := newFlusher(t.TempDir(), StrategyAuto, sys)
		if got := fmt.Sprintf("%T", f); got != want {
			t.Errorf("%v: %s, want %s", err, got, want)
		}
		if f != nil {
			_ = f.close()
		}
	}
}

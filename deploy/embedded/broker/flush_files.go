package broker

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// fileFlusher finds by itself what changed: it looks at the size of every file of the log, and syncs those
// that differ from what it synced last. kfake tells nobody which files it wrote.
//
// It keeps a descriptor of each file that still grows, from when it first saw it: the kernel reports a
// failed write-back once to each descriptor that was open when it happened, and to the first that opens the
// file later.
type fileFlusher struct {
	root string
	sys  *syscalls
	dirs map[string]*folder
}

// folder is what was seen of one folder.
type folder struct {
	f       *os.File
	info    os.FileInfo      // its identity
	synced  time.Time        // its time of change when it was synced
	settled bool             // no entry made after the last listing can bear the time synced
	files   map[string]*file // by name; nil for a folder
}

// file is what was synced of one file. Size and identity tell a change: kfake appends, or renames a new file
// into place, and cuts only what it failed to write, after which no sync is tried any more. (The time of
// change alone would not: two writes may bear the same. It tells a new file that has an old one's number.)
type file struct {
	f       *os.File
	info    os.FileInfo
	changed time.Time // when it was last seen to have changed
}

const (
	// Two entries made within this time may leave a folder with the same time of change.
	mtimeGrain = 50 * time.Millisecond
	// A descriptor of a file that did not change for this long is closed: most segments never will again.
	idle = time.Minute
)

func newFileFlusher(root string, sys *syscalls) *fileFlusher {
	return &fileFlusher{root: root, sys: sys, dirs: make(map[string]*folder)}
}

// job is one descriptor to sync, and what to remember when that went well.
type job struct {
	path string
	sync func() error
	done func()
}

func (ff *fileFlusher) flush() error {
	var jobs []job
	if err := ff.scan(ff.root, &jobs); err != nil {
		return fmt.Errorf("look for changed files: %w", err)
	}
	errs := make([]error, len(jobs))
	var wg sync.WaitGroup
	for i, j := range jobs {
		do := func() {
			if err := j.sync(); err != nil {
				errs[i] = fmt.Errorf("sync %q: %w", j.path, err)
			}
		}
		if i == len(jobs)-1 {
			do() // the last one here: one goroutine less, and none for a single file
			break
		}
		wg.Go(do)
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		return err
	}
	for _, j := range jobs {
		j.done()
	}
	return nil
}

// scan adds what changed in the folder and below it.
func (ff *fileFlusher) scan(path string, jobs *[]job) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	d := ff.dirs[path]
	if d != nil && !os.SameFile(d.info, info) { // removed and made again: a topic
		ff.forget(path)
		d = nil
	}
	if d == nil {
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		if info, err = f.Stat(); err != nil {
			return errors.Join(err, f.Close())
		}
		d = &folder{f: f, info: info, files: make(map[string]*file)}
		ff.dirs[path] = d
	}
	changed := !info.ModTime().Equal(d.synced)
	if changed || !d.settled {
		news, err := ff.list(path, d)
		if err != nil {
			return err
		}
		changed = changed || news
		d.settled = time.Since(info.ModTime()) > mtimeGrain
	}
	if changed {
		*jobs = append(*jobs, job{
			path,
			func() error { return ff.sys.sync(int(d.f.Fd())) },
			func() { d.synced = info.ModTime() },
		})
	}
	for name, fl := range d.files {
		full := filepath.Join(path, name)
		if fl == nil { // a folder
			if err := ff.scan(full, jobs); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
			continue
		}
		if err := ff.check(full, fl, jobs); err != nil {
			return err
		}
	}
	return nil
}

// list brings the names up to date, and says whether there are new ones. What was removed is forgotten.
func (ff *fileFlusher) list(path string, d *folder) (news bool, err error) {
	entries, err := os.ReadDir(path)
	if err != nil {
		return false, err
	}
	there := make(map[string]bool, len(entries))
	for _, e := range entries {
		there[e.Name()] = true
		if _, known := d.files[e.Name()]; known {
			continue
		}
		news = true
		d.files[e.Name()] = &file{}
		if e.IsDir() {
			d.files[e.Name()] = nil
		}
	}
	for name, fl := range d.files {
		if there[name] {
			continue
		}
		delete(d.files, name)
		if fl == nil {
			ff.forget(filepath.Join(path, name))
		} else {
			fl.close()
		}
	}
	return news, nil
}

// check adds the file if it is not what was synced last.
func (ff *fileFlusher) check(full string, fl *file, jobs *[]job) error {
	info, err := os.Stat(full)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // removed since the listing: the folder's time of change says so next time
	}
	if err != nil {
		return err
	}
	if fl.info != nil && os.SameFile(fl.info, info) {
		if fl.info.Size() == info.Size() && fl.info.ModTime().Equal(info.ModTime()) {
			if time.Since(fl.changed) > idle {
				fl.close()
			}
			return nil
		}
	} else {
		fl.close() // another file under this name, or none seen yet
	}
	if fl.f == nil {
		if fl.f, err = os.Open(full); errors.Is(err, fs.ErrNotExist) {
			return nil
		} else if err != nil {
			return err
		}
		if info, err = fl.f.Stat(); err != nil {
			return err
		}
	}
	*jobs = append(*jobs, job{
		full,
		func() error { return ff.sys.dataSync(int(fl.f.Fd())) },
		func() { fl.info, fl.changed = info, time.Now() },
	})
	return nil
}

// close gives the descriptor back. It was opened for reading, so there is no error to miss.
func (fl *file) close() {
	if fl.f != nil {
		_ = fl.f.Close()
		fl.f = nil
	}
}

func (ff *fileFlusher) forget(path string) {
	d := ff.dirs[path]
	if d == nil {
		return
	}
	delete(ff.dirs, path)
	_ = d.f.Close() // of a folder that was removed, opened for reading
	for name, fl := range d.files {
		if fl == nil {
			ff.forget(filepath.Join(path, name))
		} else {
			fl.close()
		}
	}
}

func (ff *fileFlusher) close() error {
	for path := range ff.dirs {
		ff.forget(path)
	}
	return nil
}

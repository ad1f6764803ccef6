package secrets

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// maxFile bounds what is read as a key file.
const maxFile = 1 << 20

// ErrUnsafeFile means that others could read or change the key file.
var ErrUnsafeFile = errors.New("the key file is not safe")

// Load reads the key file. fs.ErrNotExist if there is none.
func Load(path string) (*Set, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open the key file: %w", err)
	}
	defer func() { _ = f.Close() }()
	// The open file is judged, not the path: it can't be changed in between.
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("key file %q: %w", path, err)
	}
	if err := safe(path, info, os.Geteuid()); err != nil {
		return nil, err
	}
	text, err := io.ReadAll(io.LimitReader(f, maxFile))
	if err != nil {
		return nil, fmt.Errorf("read key file %q: %w", path, err)
	}
	s, err := Parse(text)
	if err != nil {
		return nil, fmt.Errorf("key file %q: %w; it was left as it is: restore it from a backup (a new one could not open the secrets in the log)", path, err)
	}
	return s, nil
}

func safe(path string, info fs.FileInfo, uid int) error {
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%w: %q is no regular file", ErrUnsafeFile, path)
	}
	if perm := info.Mode().Perm(); perm&0o077 != 0 {
		return fmt.Errorf("%w: %q has mode %04o, others have access: run `chmod 600 %s`, and think of who may have read it", ErrUnsafeFile, path, perm, path)
	}
	if st, ok := info.Sys().(*syscall.Stat_t); ok && int(st.Uid) != uid {
		return fmt.Errorf("%w: %q belongs to user %d, and this process runs as %d: run `chown %d %s && chmod 600 %s`",
			ErrUnsafeFile, path, st.Uid, uid, uid, path, path)
	}
	return nil
}

// Create makes the key file with new keys. fs.ErrExist if there is one: of
// two processes that start at once, one makes it.
func Create(path string, random io.Reader) (*Set, error) {
	s, err := Generate(random)
	if err != nil {
		return nil, err
	}
	// A link, unlike a rename, never replaces what is there.
	if err := write(path, s, os.Link); err != nil {
		return nil, fmt.Errorf("make key file %q: %w", path, err)
	}
	return s, nil
}

// LoadOrCreate loads the key file, or makes it if there is none; made says which.
func LoadOrCreate(path string, random io.Reader) (s *Set, made bool, err error) {
	if s, err = Load(path); !errors.Is(err, fs.ErrNotExist) {
		return s, false, err
	}
	if s, err = Create(path, random); !errors.Is(err, fs.ErrExist) {
		return s, err == nil, err
	}
	s, err = Load(path)
	return s, false, err
}

// Replace puts a changed set (Add, Use, Drop) into an existing key file. A
// power cut leaves the old file or the new one. Two at once: the last stands.
func Replace(path string, s *Set) error {
	if _, err := Load(path); err != nil {
		return err
	}
	if err := write(path, s, os.Rename); err != nil {
		return fmt.Errorf("replace key file %q: %w", path, err)
	}
	return nil
}

// write makes a file beside path, synced, puts it in place, and syncs the folder.
func write(path string, s *Set, place func(from, to string) error) (err error) {
	text, err := s.text()
	if err != nil {
		return err
	}
	folder := filepath.Dir(path)
	f, err := os.CreateTemp(folder, filepath.Base(path)+".*.tmp") // mode 0600
	if err != nil {
		return err
	}
	defer func() {
		// After a rename there is nothing to remove.
		if gone := os.Remove(f.Name()); gone != nil && !errors.Is(gone, fs.ErrNotExist) {
			err = errors.Join(err, gone)
		}
	}()
	_, err = f.Write(text)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := place(f.Name(), path); err != nil {
		return err
	}
	d, err := os.Open(folder)
	if err != nil {
		return err
	}
	err = d.Sync()
	if errors.Is(err, syscall.EINVAL) { // a file system that has nothing to sync
		err = nil
	}
	return errors.Join(err, d.Close())
}

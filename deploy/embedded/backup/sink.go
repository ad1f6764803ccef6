package backup

import (
	"archive/tar"
	"compress/gzip"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"hookledger/deploy/embedded/datadir"
)

// sink takes the files of a backup.
type sink interface {
	// file takes one, of exactly so many bytes.
	file(path string, size int64, from io.Reader) error
	// finish makes the backup appear, on disk.
	finish() error
	// abandon removes what finish did not make appear.
	abandon() error
}

// isTar says whether a path names a tar rather than a folder.
func isTar(path string) bool {
	return strings.HasSuffix(path, ".tar.gz") || strings.HasSuffix(path, ".tgz")
}

func newSink(to string) (sink, error) {
	partial := to + ".partial"
	if isTar(to) {
		f, err := os.OpenFile(partial, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
		if err != nil {
			return nil, err
		}
		z := gzip.NewWriter(f)
		return &tarSink{to: to, f: f, z: z, t: tar.NewWriter(z)}, nil
	}
	if err := os.Mkdir(partial, 0o700); err != nil {
		return nil, err
	}
	return &folderSink{to: to, folder: partial}, nil
}

type folderSink struct {
	to, folder string
	finished   bool
}

func (s *folderSink) file(path string, size int64, from io.Reader) error {
	return writeFile(filepath.Join(s.folder, filepath.FromSlash(path)), size, from)
}

// writeFile makes a file of so many bytes, and the folders above it, and syncs it.
func writeFile(to string, size int64, from io.Reader) error {
	if err := os.MkdirAll(filepath.Dir(to), 0o700); err != nil {
		return err
	}
	f, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = io.CopyN(f, from, size)
	return errors.Join(err, f.Sync(), f.Close())
}

func (s *folderSink) finish() error {
	if err := syncFolders(s.folder); err != nil {
		return err
	}
	if err := os.Rename(s.folder, s.to); err != nil {
		return err
	}
	s.finished = true
	return datadir.SyncFolder(filepath.Dir(s.to))
}

// syncFolders syncs a folder and those below it.
func syncFolders(root string) error {
	return filepath.WalkDir(root, func(path string, e os.DirEntry, err error) error {
		if err != nil || !e.IsDir() {
			return err
		}
		return datadir.SyncFolder(path)
	})
}

func (s *folderSink) abandon() error {
	if s.finished {
		return nil
	}
	return os.RemoveAll(s.folder)
}

type tarSink struct {
	to       string
	f        *os.File
	z        *gzip.Writer
	t        *tar.Writer
	finished bool
}

func (s *tarSink) file(path string, size int64, from io.Reader) error {
	err := s.t.WriteHeader(&tar.Header{Name: path, Size: size, Mode: 0o600, ModTime: time.Now(), Typeflag: tar.TypeReg, Format: tar.FormatPAX})
	if err != nil {
		return err
	}
	_, err = io.CopyN(s.t, from, size)
	return err
}

func (s *tarSink) finish() error {
	if err := errors.Join(s.t.Close(), s.z.Close(), s.f.Sync(), s.f.Close()); err != nil {
		return err
	}
	if err := os.Rename(s.f.Name(), s.to); err != nil {
		return err
	}
	s.finished = true
	return datadir.SyncFolder(filepath.Dir(s.to))
}

func (s *tarSink) abandon() error {
	if s.finished {
		return nil
	}
	_ = s.f.Close() // also when finish has closed it
	return os.Remove(s.f.Name())
}

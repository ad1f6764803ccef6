package backup

import (
	"archive/tar"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"hookledger/deploy/embedded/datadir"
)

// Restore brings a backup back as a data folder, which must not be there yet, or be empty. Every file is checked
// against the manifest before the folder appears; a backup that lacks one, has one too many, or has one changed is
// refused.
func Restore(from, data string) (*Manifest, error) {
	m, err := restore(from, data)
	if err != nil {
		return nil, fmt.Errorf("restore %q to %q: %w", from, data, err)
	}
	return m, nil
}

func restore(from, data string) (_ *Manifest, err error) {
	there, err := os.ReadDir(data)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if len(there) > 0 {
		return nil, errors.New("the folder is not empty: name one that is, or move it away")
	}
	abs, err := filepath.Abs(data)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Dir(abs), 0o700); err != nil {
		return nil, err
	}
	stage, err := os.MkdirTemp(filepath.Dir(abs), filepath.Base(abs)+".restore-") // mode 0700
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(stage)) }() // renamed away by then, if all went well
	sums := make(map[string]File)
	if isTar(from) {
		err = untar(from, stage, sums)
	} else {
		err = copyFolder(from, stage, sums)
	}
	if err != nil {
		return nil, err
	}
	text, err := os.ReadFile(filepath.Join(stage, manifestName))
	if err != nil {
		return nil, fmt.Errorf("it has no manifest (is it whole?): %w", err)
	}
	var m Manifest
	if err := json.Unmarshal(text, &m); err != nil {
		return nil, fmt.Errorf("%s: %w", manifestName, err)
	}
	if m.Format != Format {
		return nil, fmt.Errorf("%s has format %d, this program knows %d: use the program that made it (%s)", manifestName, m.Format, Format, m.Program)
	}
	if err := m.check(sums); err != nil {
		return nil, err
	}
	if err := os.Remove(filepath.Join(stage, manifestName)); err != nil {
		return nil, err
	}
	if err := syncFolders(stage); err != nil {
		return nil, err
	}
	// An empty folder gives way to a rename; one that was filled meanwhile does not.
	if err := os.Rename(stage, abs); err != nil {
		return nil, err
	}
	return &m, datadir.SyncFolder(filepath.Dir(abs))
}

// check compares what was read with what the manifest names.
func (m *Manifest) check(found map[string]File) error {
	var wrong []string
	for _, f := range m.Files {
		switch got, ok := found[f.Path]; {
		case !ok:
			wrong = append(wrong, f.Path+" is missing")
		case got != f:
			wrong = append(wrong, fmt.Sprintf("%s has %d bytes with checksum %.12s, want %d with %.12s", f.Path, got.Size, got.SHA256, f.Size, f.SHA256))
		}
		delete(found, f.Path)
	}
	for path := range found {
		if path != manifestName {
			wrong = append(wrong, path+" is not of it")
		}
	}
	if len(wrong) > 0 {
		return fmt.Errorf("the backup is damaged, nothing was restored: %s", strings.Join(wrong, "; "))
	}
	return nil
}

// store writes one file of a backup below stage, and notes its checksum.
func store(stage, path string, size int64, from io.Reader, sums map[string]File) error {
	if !filepath.IsLocal(filepath.FromSlash(path)) {
		return fmt.Errorf("the backup has a file %q, which is not within a data folder", path)
	}
	sum := sha256.New()
	if err := writeFile(filepath.Join(stage, filepath.FromSlash(path)), size, io.TeeReader(from, sum)); err != nil {
		return fmt.Errorf("read %s: %w", path, err)
	}
	sums[path] = File{path, size, hex.EncodeToString(sum.Sum(nil))}
	return nil
}

func untar(from, stage string, sums map[string]File) error {
	f, err := os.Open(from)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	z, err := gzip.NewReader(f)
	if err != nil {
		return err
	}
	for t := tar.NewReader(z); ; {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("the backup is cut or damaged: %w", err)
		}
		if h.Typeflag != tar.TypeReg {
			return fmt.Errorf("the backup has %q, which is no file", h.Name)
		}
		if err := store(stage, h.Name, h.Size, t, sums); err != nil {
			return err
		}
	}
}

func copyFolder(from, stage string, sums map[string]File) error {
	root, err := os.OpenRoot(from)
	if err != nil {
		return err
	}
	defer func() { _ = root.Close() }()
	return fs.WalkDir(root.FS(), ".", func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		if !e.Type().IsRegular() {
			return fmt.Errorf("the backup has %q, which is no file", path)
		}
		in, err := root.Open(path)
		if err != nil {
			return err
		}
		defer func() { _ = in.Close() }()
		info, err := in.Stat()
		if err != nil {
			return err
		}
		return store(stage, path, info.Size(), in, sums)
	})
}

package broker

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"log/slog"
	"os"
	"path/filepath"

	"hookledger/deploy/embedded/datadir"
)

// kfake rewrites groups.log and pids.log when they have grown to 10 MiB, and when it stops: into a new file that it
// renames over the old one without a sync. A power cut before the next sync may leave the new name and none of its
// bytes (XFS does), and with them every commit. So the file that was last synced keeps a second name: what a start
// finds there is what the new file was made from.

// stateLogs are the logs that kfake rewrites. Their entries replace earlier ones of the same key.
var stateLogs = [...]string{"groups.log", "pids.log"}

// keptName is the second name.
func keptName(name string) string { return name + ".synced" }

// keeper moves the second names once their files are synced.
type keeper struct {
	dir  string
	kept [len(stateLogs)]os.FileInfo
}

// look returns the files that the sync that comes will cover.
func (k *keeper) look() (files [len(stateLogs)]os.FileInfo) {
	for i, name := range stateLogs {
		if info, err := os.Stat(filepath.Join(k.dir, name)); err == nil {
			files[i] = info
		}
	}
	return files
}

// done gives files that are synced their second name.
func (k *keeper) done(files [len(stateLogs)]os.FileInfo) error {
	for i, name := range stateLogs {
		if files[i] == nil || k.kept[i] != nil && os.SameFile(k.kept[i], files[i]) {
			continue
		}
		path := filepath.Join(k.dir, name)
		tmp := path + ".link"
		if err := os.Remove(tmp); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		if err := os.Link(path, tmp); errors.Is(err, errors.ErrUnsupported) || errors.Is(err, os.ErrPermission) {
			k.kept[i] = files[i] // a file system without second names
			continue
		} else if err != nil {
			return err
		}
		info, err := os.Stat(tmp)
		if err != nil {
			return err
		}
		if !os.SameFile(info, files[i]) { // replaced since: the next one's turn
			if err := os.Remove(tmp); err != nil {
				return err
			}
			continue
		}
		if err := os.Rename(tmp, filepath.Join(k.dir, keptName(name))); err != nil {
			return err
		}
		// Renaming one name of a file over another of the same does nothing, and leaves both.
		if err := os.Remove(tmp); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		k.kept[i] = info
	}
	return nil
}

// mendStateLog cuts what is torn from the end of groups.log or pids.log. kfake ignores what follows a torn entry,
// but appends behind it: the commits after a power cut would be lost by the next kill. If the file was rewritten
// since it was last synced, what it was made from comes first.
func mendStateLog(dir, name string, log *slog.Logger) error {
	path, kept := filepath.Join(dir, name), filepath.Join(dir, keptName(name))
	b, err := os.ReadFile(path) // empty if it is missing
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	whole := wholeEntries(b)
	replaced, err := otherFile(path, kept)
	if err != nil {
		return err
	}
	if replaced {
		old, err := os.ReadFile(kept)
		if err != nil {
			return err
		}
		old = old[:wholeEntries(old)]
		log.Warn("the embedded broker had just rewritten a file when it was killed: both states of it are put together",
			"file", name, "before", len(old), "after", whole)
		return datadir.WriteFile(path, append(old, b[:whole]...))
	}
	if whole == len(b) {
		return nil
	}
	log.Warn("the embedded broker cut the torn end of a file", "file", name, "bytes", len(b)-whole)
	return os.Truncate(path, int64(whole))
}

// otherFile says whether kept is there, and not the file of the other name.
func otherFile(path, kept string) (bool, error) {
	k, err := os.Stat(kept)
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	p, err := os.Stat(path)
	if errors.Is(err, os.ErrNotExist) {
		return true, nil
	}
	return err == nil && !os.SameFile(k, p), err
}

// wholeEntries returns how many bytes from the beginning are whole entries. An entry is its length and a checksum
// (4 bytes each, little-endian), and as many bytes as the length says.
func wholeEntries(b []byte) int {
	whole := 0
	for rest := b; len(rest) >= 10; rest = b[whole:] {
		n := int(binary.LittleEndian.Uint32(rest))
		if n < 2 || n > len(rest)-8 || crc32.Checksum(rest[8:8+n], castagnoli) != binary.LittleEndian.Uint32(rest[4:]) {
			break
		}
		whole += 8 + n
	}
	return whole
}

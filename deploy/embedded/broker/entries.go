package broker

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"log/slog"
	"os"
	"path/filepath"
)

// cutTornEntries cuts groups.log or pids.log after its last whole entry. An entry is its length and a
// checksum (4 bytes each, little-endian), and as many bytes as the length says. kfake ignores what follows
// a torn entry, but appends behind it: the commits after a power cut would be lost by the next kill.
func cutTornEntries(path string, log *slog.Logger) error {
	b, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	whole := 0
	for rest := b; len(rest) >= 10; rest = b[whole:] {
		n := int(binary.LittleEndian.Uint32(rest))
		if n < 2 || n > len(rest)-8 || crc32.Checksum(rest[8:8+n], castagnoli) != binary.LittleEndian.Uint32(rest[4:]) {
			break
		}
		whole += 8 + n
	}
	if whole == len(b) {
		return nil
	}
	log.Warn("the embedded broker cut the torn end of a file", "file", filepath.Base(path), "bytes", len(b)-whole)
	return os.Truncate(path, int64(whole))
}

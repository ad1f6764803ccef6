package history

import (
	"encoding/binary"

	"github.com/cespare/xxhash/v2"
	"github.com/twmb/franz-go/pkg/kgo"
)

// RecordHash is the hash of a whole record that its row keeps: XXH64, seed 0, of
//
//	partition (4 bytes), offset (8), timestamp in Unix milliseconds (8),
//	key, value, the number of headers (4), and each header's key and value
//
// where numbers are big-endian and every string is its length (4) and its
// bytes; the length of a nil key or value is 0xffffffff. It may never change:
// `hookledger verify` compares it with rows of any age.
func RecordHash(r *kgo.Record) uint64 {
	d := xxhash.New()
	var n [20]byte
	binary.BigEndian.PutUint32(n[0:], uint32(r.Partition))
	binary.BigEndian.PutUint64(n[4:], uint64(r.Offset))
	binary.BigEndian.PutUint64(n[12:], uint64(r.Timestamp.UnixMilli()))
	_, _ = d.Write(n[:]) // a hash takes whatever it is given
	bytes := func(b []byte) {
		size := uint32(len(b))
		if b == nil {
			size = 0xffffffff
		}
		binary.BigEndian.PutUint32(n[:], size)
		_, _ = d.Write(n[:4])
		_, _ = d.Write(b)
	}
	bytes(r.Key)
	bytes(r.Value)
	binary.BigEndian.PutUint32(n[:], uint32(len(r.Headers)))
	_, _ = d.Write(n[:4])
	for _, h := range r.Headers {
		binary.BigEndian.PutUint32(n[:], uint32(len(h.Key)))
		_, _ = d.Write(n[:4])
		_, _ = d.WriteString(h.Key)
		bytes(h.Value)
	}
	return d.Sum64()
}

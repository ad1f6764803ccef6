package api

import (
	"strconv"
	"strings"
)

// ETag is the entity tag of a version.
func ETag(version int64) string { return `"` + strconv.FormatInt(version, 10) + `"` }

// MatchETag says whether a header If-Match or If-None-Match names etag: it is `*`, or has it in its list. Weak marks are ignored:
// our tags name versions, of which there is one representation.
func MatchETag(header, etag string) bool {
	if strings.TrimSpace(header) == "*" {
		return true
	}
	for header != "" {
		header = strings.TrimLeft(header, " \t,")
		header = strings.TrimPrefix(header, "W/")
		if !strings.HasPrefix(header, `"`) { // not a tag: clients that send the bare version are understood
			var bare string
			bare, header, _ = strings.Cut(header, ",")
			if `"`+strings.TrimSpace(bare)+`"` == etag {
				return true
			}
			continue
		}
		end := strings.IndexByte(header[1:], '"')
		if end < 0 {
			return false
		}
		if header[:end+2] == etag {
			return true
		}
		header = header[end+2:]
	}
	return false
}

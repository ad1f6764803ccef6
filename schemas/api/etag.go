package api

import (
	"crypto/sha256"
	"encoding/hex"
	"strconv"
	"strings"
)

// VersionTag is the entity tag of something that has a version, and beside it
// figures that change without one. It is weak (RFC 9110, section 8.8.1): the
// same tag is the same version and figures, though not always the same bytes.
//
// If-None-Match compares all of it ([MatchETag]), so that who polls sees new
// figures. If-Match compares the version only ([MatchVersion]), so that new
// figures don't stand in the way of a change; in that it is not the strong
// comparison of RFC 9110, section 13.1.1, which no weak tag would ever pass.
func VersionTag(version int64, figures string) string {
	return `W/"` + strconv.FormatInt(version, 10) + "-" + digest(figures) + `"`
}

// ContentTag is the strong entity tag of a representation: its bytes decide.
func ContentTag(body []byte) string { return `"` + digest(string(body)) + `"` }

func digest(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:8])
}

// MatchETag says whether a header If-None-Match names etag: it is `*`, or has it in its list. Weak marks are
// ignored, as the weak comparison does.
func MatchETag(header, etag string) bool {
	want := opaque(etag)
	return matchTags(header, func(tag string) bool { return tag == want })
}

// MatchVersion says whether a header If-Match names a version: it is `*`, or has a [VersionTag] of it in its
// list. The bare version is understood as well.
func MatchVersion(header string, version int64) bool {
	want := strconv.FormatInt(version, 10)
	return matchTags(header, func(tag string) bool {
		have, _, _ := strings.Cut(tag, "-")
		return have == want
	})
}

func opaque(tag string) string {
	return strings.Trim(strings.TrimPrefix(tag, "W/"), `"`)
}

// matchTags asks about each opaque tag of a header.
func matchTags(header string, match func(string) bool) bool {
	if strings.TrimSpace(header) == "*" {
		return true
	}
	for header != "" {
		header = strings.TrimLeft(header, " \t,")
		header = strings.TrimPrefix(header, "W/")
		if !strings.HasPrefix(header, `"`) { // not a tag: clients that leave out the quotes are understood
			var bare string
			bare, header, _ = strings.Cut(header, ",")
			if bare = strings.TrimSpace(bare); bare != "" && match(bare) {
				return true
			}
			continue
		}
		end := strings.IndexByte(header[1:], '"')
		if end < 0 {
			return false
		}
		if match(header[1 : end+1]) {
			return true
		}
		header = header[end+2:]
	}
	return false
}

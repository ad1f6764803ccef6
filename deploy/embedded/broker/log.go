package broker

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"

	"github.com/twmb/franz-go/pkg/kfake"
)

// logAdapter passes kfake's messages to slog, one level lower: its Info is about single requests.
//
// It is also how a failed write is noticed. kfake answers a produce request that it could not write with
// an error, but acknowledges an offset commit, a producer id, a topic or a whole stop whose write failed,
// and says so only here. All of these messages begin with one of failures.
type logAdapter struct {
	log       *slog.Logger
	fail      func(error)
	truncated atomic.Bool // kfake found a damaged batch while it loaded
}

var failures = [...]string{"persist ", "save session state", "rebuildSegments ", "endTx: failed"}

// Logf implements kfake.Logger.
func (l *logAdapter) Logf(level kfake.LogLevel, format string, args ...any) {
	if level <= kfake.LogLevelWarn {
		if strings.Contains(format, "truncating %d corrupt bytes") {
			l.truncated.Store(true)
		}
		for _, f := range failures {
			if strings.HasPrefix(format, f) {
				l.fail(fmt.Errorf(strings.ReplaceAll(format, "%v", "%w"), args...))
			}
		}
	}
	to := slog.LevelDebug - 4
	switch level {
	case kfake.LogLevelError:
		to = slog.LevelError
	case kfake.LogLevelWarn:
		to = slog.LevelWarn
	case kfake.LogLevelInfo:
		to = slog.LevelDebug
	}
	// kfake logs each step of each request at debug level: don't format what nobody reads.
	if l.log.Enabled(context.Background(), to) {
		l.log.Log(context.Background(), to, "embedded broker: "+fmt.Sprintf(format, args...))
	}
}

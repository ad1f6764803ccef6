package historian

import (
	"errors"
	"fmt"

	"hookledger/ledger"
)

// ErrOtherTopic: the history was made from another topic of this name.
var ErrOtherTopic = errors.New("the history was made from another topic of the same name")

// DamageError says that log and history don't fit together, or that the log
// itself is damaged. Nobody reads over it: rows would be missing, or rows would
// be there that the log doesn't know.
type DamageError struct {
	Topic     ledger.Topic
	Partition int32
	// Offset that was to be read next.
	Offset int64
	// Err is ledger.ErrGap, ErrBelowStart, ErrBeyondEnd, or ErrOtherTopic.
	Err error
}

// Error names the place, what is wrong, and what to do.
func (e *DamageError) Error() string {
	what := "run `hookledger repair`"
	switch {
	case errors.Is(e.Err, ErrOtherTopic):
		what = "make the history again with `hookledger rebuild`"
	case errors.Is(e.Err, ledger.ErrGap):
		what = "restore the broker's data from a backup, then run `hookledger repair`"
	}
	return fmt.Sprintf("history of %s/%d, next offset %d: %v: %s", e.Topic, e.Partition, e.Offset, e.Err, what)
}

// Unwrap is the reason.
func (e *DamageError) Unwrap() error { return e.Err }

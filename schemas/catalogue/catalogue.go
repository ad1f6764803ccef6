// Package catalogue knows the event names: the platform's own (events.txt, data that is compiled in) and those
// that an operator adds by a file or by flags.
//
// It promises that a catalogue, once loaded, never changes, that every name in it has the form below, and that a fault
// in what the operator gave is an error that names line and rule, all faults at once; nothing is skipped.
// It never removes a platform name: existing webhooks subscribe to them.
//
// A name is lower-case words of a-z, 0-9 and _ joined by dots, at most 100 characters; `test` is reserved for
// test events. An operator's name that the platform has too is no fault, so that a name can move into the
// platform's catalogue without breaking the start of those who had added it.
package catalogue

import (
	_ "embed"
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
)

//go:embed events.txt
var builtin string

// MaxLength is the longest name, in bytes.
const MaxLength = 100

// reserved is the name of test events: a subscription to it would never fire.
const reserved = "test"

var form = regexp.MustCompile(`^[a-z][a-z0-9_]*(\.[a-z0-9_]+)*$`)

// Catalogue is a fixed set of event names. It is safe for use by any number of goroutines.
type Catalogue struct {
	names []string
	known map[string]string
}

// Builtin is the platform's catalogue alone.
func Builtin() (*Catalogue, error) { return Load("", nil) }

// Load joins the platform's names with those in file (none if file is empty) and those in extra, in this order.
func Load(file string, extra []string) (*Catalogue, error) {
	c := &Catalogue{known: map[string]string{}}
	faults := c.addLines("the built-in catalogue", builtin)
	if file != "" {
		b, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("read the operator's event names: %w: give a readable file with one name a line", err)
		}
		faults = append(faults, c.addLines(fmt.Sprintf("event names file %q", file), string(b))...)
	}
	for _, name := range extra {
		if err := c.add(name); err != nil {
			faults = append(faults, fmt.Errorf("extra event name: %w", err))
		}
	}
	if err := errors.Join(faults...); err != nil {
		return nil, err
	}
	return c, nil
}

// addLines adds one name a line; # begins a comment.
func (c *Catalogue) addLines(where, text string) []error {
	var faults []error
	n := 0
	for line := range strings.Lines(text) {
		n++
		name, _, _ := strings.Cut(line, "#")
		if name = strings.TrimSpace(name); name == "" {
			continue
		}
		if err := c.add(name); err != nil {
			faults = append(faults, fmt.Errorf("%s, line %d: %w", where, n, err))
		}
	}
	return faults
}

func (c *Catalogue) add(name string) error {
	switch {
	case len(name) > MaxLength:
		return fmt.Errorf("event name %.40q... has %d characters, at most %d are possible", name, len(name), MaxLength)
	case !form.MatchString(name):
		return fmt.Errorf("event name %q: want lower-case words of a-z, 0-9 and _ joined by dots, like media.created", name)
	case name == reserved:
		return fmt.Errorf("event name %q is reserved for test events: choose another", name)
	}
	if _, ok := c.known[name]; !ok {
		c.names = append(c.names, name)
		c.known[name] = name
	}
	return nil
}

// Names returns the names in order: the platform's, then the operator's as they were given.
func (c *Catalogue) Names() []string { return slices.Clone(c.names) }

// Has says whether name is known.
func (c *Catalogue) Has(name string) bool {
	_, ok := c.known[name]
	return ok
}

// Intern returns the catalogue's own copy of a known name, without allocating.
func (c *Catalogue) Intern(name []byte) (string, bool) {
	s, ok := c.known[string(name)]
	return s, ok
}

// Suggest returns the known name that was probably meant by an unknown one, or "" if none is near.
func (c *Catalogue) Suggest(name string) string { return Nearest(name, c.names) }

// Nearest returns the candidate nearest to name by edits (a letter more, less, other, or two swapped), after
// levelling case and separators, or "" if even that is further than a third of it (a name of 4 to 8 characters: than 2). Of
// equals the first wins.
func Nearest(name string, candidates []string) string {
	if len(name) > 2*MaxLength { // nothing known is near, and the comparison is quadratic
		return ""
	}
	level := strings.NewReplacer("-", "_", " ", "_", "/", ".", ":", ".").Replace(strings.ToLower(name))
	most := len(level) / 3
	if len(level) >= 4 {
		most = max(2, most)
	}
	best, least := "", most+1
	for _, cand := range candidates {
		if d := distance(level, cand, least); d < least {
			best, least = cand, d
		}
	}
	return best
}

// distance is the optimal string alignment distance of a and b; anything not below limit may be returned as limit.
func distance(a, b string, limit int) int {
	if abs(len(a)-len(b)) >= limit {
		return limit
	}
	before, prev, cur := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range prev {
		prev[j] = j
	}
	for i := 1; i <= len(a); i++ {
		cur[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			cur[j] = min(prev[j]+1, cur[j-1]+1, prev[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				cur[j] = min(cur[j], before[j-2]+1)
			}
		}
		before, prev, cur = prev, cur, before
	}
	return min(prev[len(b)], limit)
}

func abs(n int) int {
	if n < 0 {
		return -n
	}
	return n
}

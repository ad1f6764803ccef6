package router

import (
	"errors"
	"fmt"
)

// Ready is nil while this node is in the group and routes the partitions that
// the group has given to it, which may be none.
func (r *Router) Ready() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.joined == nil || !r.joined():
		return errors.New("router: not in its group")
	case r.trouble != nil:
		return fmt.Errorf("router: interrupted: %w", r.trouble)
	case r.unready > 0:
		return fmt.Errorf("router: %d partitions are being prepared", r.unready)
	}
	return nil
}

// interrupted says why nothing is routed; it is over when all partitions are taken up again.
func (r *Router) interrupted(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.trouble = err
}

// prepared says how many of the owned partitions are not being routed yet.
func (r *Router) prepared(unready int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.unready = unready; unready == 0 {
		r.trouble = nil
	}
}

package router

import "errors"

// Ready is nil once the group has named this node's partitions.
func (r *Router) Ready() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.turn == 0 {
		return errors.New("router: not yet in its group")
	}
	return nil
}

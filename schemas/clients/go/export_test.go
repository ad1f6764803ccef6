package hookledger

import "time"

// RetrySoon makes a client wait less between tries.
func (c *Client) RetrySoon() {
	if d, ok := c.http.Client.(*doer); ok {
		d.firstWait = time.Millisecond
	}
}

// RetryAfter is what reads the header.
var RetryAfter = retryAfter

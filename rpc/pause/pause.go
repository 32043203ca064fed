// Package pause waits where nothing tells that something has changed.
package pause

import (
	"context"
	"time"
)

// For waits for d, no longer than ctx. It reports whether ctx did not end first.
func For(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

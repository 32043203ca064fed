package server

import (
	"log/slog"
	"sync"
	"time"
)

// rarely logs what strangers can make happen as often as they like: once in rarelyEvery, and how often it was not.
type rarely struct {
	mu    sync.Mutex
	last  time.Time
	quiet int
}

const rarelyEvery = time.Second

func (r *rarely) warn(log *slog.Logger, message string, args ...any) {
	r.mu.Lock()
	now, quiet := time.Now(), r.quiet
	if !r.last.IsZero() && now.Sub(r.last) < rarelyEvery {
		r.quiet++
		r.mu.Unlock()
		return
	}
	r.last, r.quiet = now, 0
	r.mu.Unlock()
	log.Warn(message, append(args, "more", quiet)...)
}

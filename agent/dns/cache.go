package dns

import (
	"context"
	"sync"
)

// Bounds of what is remembered. Names that do not exist have few places of their own, so that asking
// for random ones pushes out nothing else.
const (
	maxAnswers     = 16384
	maxAnswerBytes = 64 << 20
	maxNegatives   = 2048
)

// cache holds packed answers by question.
type cache struct {
	positive, negative shelf

	mu      sync.Mutex
	flights map[string]*flight
}

// shelf is a bounded map; when it is full, whatever comes first leaves.
type shelf struct {
	entries, bytes int // bounds

	mu      sync.RWMutex
	answers map[string]*answer
	held    int // bytes
}

// flight is a look-up that is under way, for all who ask the same meanwhile.
type flight struct {
	done   chan struct{}
	answer *answer // nil if the waiters have to ask for themselves
}

func newCache() *cache {
	return &cache{
		positive: shelf{entries: maxAnswers, bytes: maxAnswerBytes, answers: map[string]*answer{}},
		negative: shelf{entries: maxNegatives, bytes: maxAnswerBytes, answers: map[string]*answer{}},
		flights:  map[string]*flight{},
	}
}

// get returns a fresh answer, or nil. It neither blocks nor allocates.
func (c *cache) get(key []byte) *answer {
	if a := c.positive.get(key); a != nil {
		return a
	}
	return c.negative.get(key)
}

// put remembers an answer that may be used again.
func (c *cache) put(key string, a *answer) {
	a.key = key
	if a.rcode == 0 {
		c.positive.put(a)
	} else if a.expires.IsZero() { // a negative answer is kept only if a change ends it
		c.negative.put(a)
	}
}

// sweep drops answers that are not fresh, so that what they were made of can go too.
func (c *cache) sweep() {
	c.positive.sweep()
	c.negative.sweep()
}

// once calls look unless someone does so already for the same key; then it waits for that one's
// answer. Answers that are for one client only, or that a change has overtaken, are not shared.
func (c *cache) once(ctx context.Context, key string, look func() (a *answer, shared bool)) *answer {
	for range 3 {
		c.mu.Lock()
		f, ok := c.flights[key]
		if !ok {
			f = &flight{done: make(chan struct{})}
			c.flights[key] = f
			c.mu.Unlock()
			return c.fly(key, f, look)
		}
		c.mu.Unlock()
		select {
		case <-f.done:
		case <-ctx.Done():
			return alone(look)
		}
		if f.answer == nil {
			return alone(look)
		}
		if f.answer.fresh() {
			return f.answer
		}
	}
	return alone(look)
}

func alone(look func() (*answer, bool)) *answer {
	a, _ := look()
	return a
}

func (c *cache) fly(key string, f *flight, look func() (*answer, bool)) *answer {
	a, shared := look()
	if shared {
		f.answer = a
	}
	c.mu.Lock()
	delete(c.flights, key)
	c.mu.Unlock()
	close(f.done)
	return a
}

func (s *shelf) get(key []byte) *answer {
	s.mu.RLock()
	a := s.answers[string(key)]
	s.mu.RUnlock()
	if a == nil || !a.fresh() {
		return nil
	}
	return a
}

func (s *shelf) put(a *answer) {
	size := a.cost()
	if size > s.bytes/4 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.drop(a.key)
	for key := range s.answers {
		if len(s.answers) < s.entries && s.held+size <= s.bytes {
			break
		}
		s.drop(key)
	}
	s.answers[a.key] = a
	s.held += size
}

func (s *shelf) drop(key string) {
	if old, ok := s.answers[key]; ok {
		s.held -= old.cost()
		delete(s.answers, key)
	}
}

func (s *shelf) sweep() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for key, a := range s.answers {
		if !a.fresh() {
			s.drop(key)
		}
	}
}

package proxy

import (
	"testing"
	"time"
)

func TestScarce(t *testing.T) {
	var s scarce
	for _, c := range []struct {
		now    time.Duration
		others uint64
		say    bool
	}{{0, 0, true}, {time.Millisecond, 0, false}, {time.Second / 2, 0, false}, {time.Second + time.Millisecond, 2, true}, {time.Second + 2*time.Millisecond, 0, false}, {time.Minute, 1, true}} {
		if others, say := s.again(c.now); others != c.others || say != c.say {
			t.Errorf("at %v: %d, %v, want %d, %v", c.now, others, say, c.others, c.say)
		}
	}
}

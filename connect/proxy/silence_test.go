package proxy

import (
	"testing"
	"time"
)

// What is sent again and again is unacknowledged since it was sent first, as the waits between tell, and no longer than they can
// have taken in all; once is nothing yet, and what was acknowledged between begins anew.
func TestUnacknowledged(t *testing.T) {
	var l line
	now := time.Now()
	f := func(after time.Duration, repeats int, wait, want time.Duration) {
		t.Helper()
		now = now.Add(after)
		if got := l.unacknowledged(pulse{repeats: repeats, wait: wait, heard: time.Hour}, now); got != want {
			t.Errorf("%v, want %v", got, want)
		}
	}
	const first = 200 * time.Millisecond
	f(0, 0, first, 0)
	f(500*time.Millisecond, 1, 2*first, 0)
	f(500*time.Millisecond, 2, 4*first, 700*time.Millisecond) // it was 200 ms at the first look
	f(300*time.Millisecond, 2, 4*first, time.Second)
	f(500*time.Millisecond, 3, 8*first, 1500*time.Millisecond)
	f(time.Second, 0, first, 0)
	f(time.Second, 2, 4*first, 3*first)
	f(time.Second, 4, 16*first, 3*first+time.Second)
	f(time.Second, 2, 4*first, 3*first) // something went through
	f(time.Hour, 2, 4*first, 7*first)   // and this is another that nobody saw begin
}

package server

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/catalog/state"
)

// A session whose end is under way is not renewed: who asks for that waits until it has ended, or goes on.
func TestRenewalWaitsForTheEndThatIsUnderWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		decide := make(chan bool)
		timers := newSessionTimers(func(context.Context, string) bool { return <-decide })
		timers.begin(t.Context(), state.New().Read)
		s := &catalog.Session{ID: "s", TTL: "10s"}
		if timers.Start(s) != nil {
			t.Fatal("a new session is being ended")
		}
		time.Sleep(14 * time.Second)
		if timers.Start(s) != nil {
			t.Fatal("a session is being ended within its time")
		}
		for _, ended := range []bool{false, true} {
			time.Sleep(15 * time.Second)
			synctest.Wait()
			ending := timers.Start(s)
			select {
			case <-ending:
				t.Fatal("it is decided what becomes of a session before its end was tried")
			default:
			}
			if ending == nil {
				t.Fatal("a session was renewed that is being ended")
			}
			decide <- ended
			<-ending
			if timers.Start(s) != nil {
				t.Fatal("nothing ends the session any more")
			}
		}
		timers.end()
	})
}

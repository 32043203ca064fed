package server

import (
	"testing"
	"testing/synctest"
)

func TestGate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate()
		for range 2 {
			if !g.enter() {
				t.Fatal("an open gate lets nobody in")
			}
		}
		var shut [2]bool
		done := make(chan int)
		for i := range shut {
			go func() {
				g.shut()
				shut[i] = true
				done <- i
			}()
		}
		synctest.Wait()
		if g.enter() {
			t.Fatal("a gate lets somebody in while it is being shut")
		}
		g.leave()
		synctest.Wait()
		if shut[0] || shut[1] {
			t.Fatal("a gate is shut while somebody is inside")
		}
		g.leave()
		first := <-done
		synctest.Wait()
		if shut[1-first] || g.enter() {
			t.Fatal("a gate is shut twice, or open")
		}
		g.open()
		<-done
		if g.enter() {
			t.Fatal("a shut gate lets somebody in")
		}
		g.open()
		if !g.enter() {
			t.Fatal("an open gate lets nobody in")
		}
	})
}

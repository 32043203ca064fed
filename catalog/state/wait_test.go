package state_test

import (
	"fmt"
	"testing"
	"testing/synctest"

	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/catalog/state"
)

// TestWaitersWake: whoever waits for what was read is woken by a change of it, however many places the read looked at,
// and by nothing else.
func TestWaitersWake(t *testing.T) {
	for _, places := range []int{1, 3, 9} {
		t.Run(fmt.Sprint(places, " places"), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := newDesk(t)
				d.write(func(tx *state.Txn) {
					for i := range places {
						state.KVSet(tx, &catalog.KVPair{Key: fmt.Sprint("k", i)})
					}
				})
				var w state.Watch
				tx := d.store.Read()
				for i := range places {
					state.KVGet(tx, &w, fmt.Sprint("k", i))
				}
				woken := make(chan error, 1)
				go func() { woken <- w.Wait(t.Context(), nil) }() // ends with the change, or the bubble says that it does not
				synctest.Wait()
				d.write(func(tx *state.Txn) { state.KVSet(tx, &catalog.KVPair{Key: "other"}) })
				synctest.Wait()
				select {
				case <-woken:
					t.Fatal("woken by a change of something else")
				default:
				}
				d.write(func(tx *state.Txn) {
					state.KVSet(tx, &catalog.KVPair{Key: fmt.Sprint("k", places-1), Value: []byte("v")})
				})
				if err := <-woken; err != nil || !w.Fired() {
					t.Error(err, w.Fired())
				}
			})
		})
	}
}

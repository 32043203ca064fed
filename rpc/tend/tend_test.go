package tend_test

import (
	"context"
	"maps"
	"slices"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/curia-mesh/curia/rpc/tend"
)

func TestEach(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		wanted, at, begun := map[string]bool{"a": true, "b": true}, map[string]bool{}, 0
		again := make(chan struct{})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			tend.Each(ctx, again, func() map[string]bool {
				mu.Lock()
				defer mu.Unlock()
				return maps.Clone(wanted)
			}, func(ctx context.Context, k string) {
				mu.Lock()
				at[k] = true
				begun++
				mu.Unlock()
				<-ctx.Done()
				mu.Lock()
				delete(at, k)
				mu.Unlock()
			})
		}()
		followed := func(want []string, starts int) {
			t.Helper()
			synctest.Wait()
			mu.Lock()
			defer mu.Unlock()
			if got := slices.Sorted(maps.Keys(at)); !slices.Equal(got, want) || begun != starts {
				t.Errorf("%q are followed, after %d starts; want %q after %d", got, begun, want, starts)
			}
		}
		want := func(names ...string) {
			mu.Lock()
			clear(wanted)
			for _, name := range names {
				wanted[name] = true
			}
			mu.Unlock()
			again <- struct{}{}
		}
		followed([]string{"a", "b"}, 2)
		want("b", "c")
		followed([]string{"b", "c"}, 3)
		want("a")
		followed([]string{"a"}, 4)
		cancel()
		<-done
		followed(nil, 4)
	})
}

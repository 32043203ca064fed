package pause_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/curia-mesh/curia/rpc/pause"
)

func TestFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begun := time.Now()
		if !pause.For(t.Context(), time.Minute) || time.Since(begun) != time.Minute {
			t.Errorf("a minute took %v", time.Since(begun))
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		begun = time.Now()
		if pause.For(ctx, time.Minute) || time.Since(begun) != time.Second {
			t.Errorf("a second took %v", time.Since(begun))
		}
	})
}

package limit

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/curia-mesh/curia/catalog"
)

func TestClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := NewClient()
		through := func(tries, want int) {
			t.Helper()
			got := 0
			for range tries {
				err := c.Admit()
				if err == nil {
					got++
				} else if catalog.CodeOf(err) != catalog.Limited {
					t.Fatal(err)
				}
			}
			if got != want {
				t.Errorf("%d of %d came through, want %d", got, tries, want)
			}
		}
		through(100, 100)
		c.Set(-1, 1)
		through(100, 100)
		c.Set(0, 1000)
		through(100, 0)
		c.Set(10, 5)
		through(100, 5)
		time.Sleep(time.Second / 5)
		through(100, 2)
		time.Sleep(time.Hour)
		through(100, 5)
		c.Set(1e12, 1<<30)
		through(100, 100)
	})
}

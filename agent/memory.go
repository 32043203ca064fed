package agent

import (
	"os"
	"runtime"
	"runtime/debug"

	"github.com/curia-mesh/curia/rpc/cores"
)

// A heap of live memory above bigHeap is collected when it has grown by half; a smaller one may double,
// as is Go's default, for there collecting costs more than it frees.
const (
	bigHeap      = 24 << 20
	smallPercent = 100
	bigPercent   = 50
)

// governor is who sets on how many cores the agent runs, if it has the process for itself.
func governor(o Options) *cores.Governor {
	if !o.Alone {
		return nil
	}
	return cores.New()
}

// paceCollector keeps a large catalog from taking twice its size. It leaves the pace alone when the
// operator has set GOGC.
func paceCollector() {
	if os.Getenv("GOGC") != "" {
		return
	}
	paceAfter(smallPercent)
}

// sentinel dies with each collection, which is when the size of the live heap is news.
type sentinel struct{ percent *int }

func paceAfter(percent int) {
	s := &sentinel{percent: &percent}
	runtime.SetFinalizer(s, func(s *sentinel) {
		want := smallPercent
		if cores.Live() > bigHeap {
			want = bigPercent
		}
		if want != *s.percent {
			debug.SetGCPercent(want)
		}
		paceAfter(want)
	})
}

package proxy

import (
	"os"
	"runtime"
)

// Alone sets the runtime of a process that runs proxies and nothing else: half of the cores run Go code at once, at least
// one. The applications that they are for have the others, and fewer threads that wake one another save a tenth of what a
// request costs. GOMAXPROCS in the environment counts instead.
func Alone() {
	if os.Getenv("GOMAXPROCS") == "" {
		runtime.GOMAXPROCS(max(1, runtime.GOMAXPROCS(0)/2)) // which is what a container may use
	}
}

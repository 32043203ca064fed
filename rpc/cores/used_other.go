//go:build !unix

package cores

import "time"

// used is 0: the CPU time of this process is not known.
func used() time.Duration { return 0 }

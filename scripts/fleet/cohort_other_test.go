//go:build unix && !linux

package fleet

import (
	"context"
	"errors"
	"time"
)

// starveBoth needs a kernel that ends processes with the one that started them, also those that are stopped.
func starveBoth(context.Context, int, time.Duration, time.Duration, time.Duration) (with, without starvation, err error) {
	return with, without, errors.New("agents can only be stopped on Linux")
}

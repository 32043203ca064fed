package raftstore

import (
	"errors"
	"fmt"
	"io"
	"time"
)

const (
	// DefaultLockTimeout is how long a store waits for its directory by default.
	DefaultLockTimeout = time.Second
	lockRetry          = 20 * time.Millisecond
)

// Lock makes dir, mode 0700, durably if it is not there, and takes its lock
// file until the result is closed or the process ends. The error wraps
// ErrLocked if another process holds it for longer than timeout.
func Lock(dir string, timeout time.Duration) (io.Closer, error) {
	fs, err := openOSFS(dir)
	if err != nil {
		return nil, err
	}
	return takeLock(fs, timeout)
}

// takeLock waits a little: a predecessor that was just killed may linger.
func takeLock(fs FS, timeout time.Duration) (io.Closer, error) {
	for deadline := time.Now().Add(timeout); ; time.Sleep(lockRetry) {
		lock, err := fs.Lock(lockName)
		switch {
		case err == nil:
			return lock, nil
		case !errors.Is(err, ErrLocked):
			return nil, fmt.Errorf("take lock file %s: %w", lockName, err)
		case time.Now().After(deadline):
			return nil, fmt.Errorf("%w: stop it, or choose another data directory", err)
		}
	}
}

//go:build !linux && !darwin && !freebsd

package socket

import "errors"

// peerOf cannot be asked for here.
func peerOf(int) (uid int, err error) { return 0, errors.ErrUnsupported }

//go:build !linux

package proxy

// rouser would wake listeners when connections wait at them: here each has a goroutine that waits.
type rouser struct{}

func newRouser() *rouser { return nil }

func (*rouser) watch(*listening) bool { return false }

func (*rouser) again(*listening) bool { return false }

func (*rouser) forget(*listening) {}

func (*rouser) close() {}

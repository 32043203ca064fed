package proxy

import (
	"net"
	"unsafe"
)

// view is b as a string, without a copy. It is to be used only while b does not change, and not to be kept.
func view(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

// hostOf is an address without its port; empty where it has none.
func hostOf(a net.Addr) string {
	if t, ok := a.(*net.TCPAddr); ok {
		return t.AddrPort().Addr().Unmap().WithZone("").String()
	}
	return ""
}

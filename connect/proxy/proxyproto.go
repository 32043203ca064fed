package proxy

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"strconv"
	"strings"
)

// The PROXY protocol tells who made a connection that somebody else passes on.
// Source: https://www.haproxy.org/download/2.9/doc/proxy-protocol.txt

const (
	maxProxyV1 = 107 // bytes of a line, with its end
	maxProxyV2 = 16 + 4096
	proxyV2    = "\r\n\r\n\x00\r\nQUIT\n"
)

var errProxy = errors.New("malformed header of the PROXY protocol")

// readProxy reads the header, and not a byte more.
func (c *client) readProxy() error {
	from, to, err := readProxyHeader(c.raw)
	if err == nil && from != nil {
		c.remote, c.local = from, to
	}
	return err
}

// readProxyHeader reads a header of either version. The addresses are nil where the sender speaks for itself.
func readProxyHeader(r io.Reader) (from, to net.Addr, err error) {
	var b [maxProxyV1]byte
	// No header of either version is shorter than this; the second version has 16 bytes at least.
	const shortest = len("PROXY UNKNOWN\r\n")
	if _, err := io.ReadFull(r, b[:len(proxyV2)]); err != nil {
		return nil, nil, err
	}
	if string(b[:len(proxyV2)]) == proxyV2 {
		return readProxyV2(r)
	}
	if string(b[:6]) != "PROXY " {
		return nil, nil, errProxy
	}
	if _, err := io.ReadFull(r, b[len(proxyV2):shortest]); err != nil {
		return nil, nil, err
	}
	n := shortest
	for string(b[n-2:n]) != "\r\n" { // a byte at a time: what follows is another's to read
		if n == len(b) {
			return nil, nil, errProxy
		}
		if _, err := io.ReadFull(r, b[n:n+1]); err != nil {
			return nil, nil, err
		}
		n++
	}
	return parseProxyV1(string(b[:n-2]))
}

func parseProxyV1(line string) (from, to net.Addr, err error) {
	f := strings.Split(line, " ")
	if len(f) >= 2 && f[1] == "UNKNOWN" {
		return nil, nil, nil
	}
	if len(f) != 6 || f[1] != "TCP4" && f[1] != "TCP6" {
		return nil, nil, errProxy
	}
	addr := func(ip, port string) (net.Addr, error) {
		a, err := netip.ParseAddr(ip)
		n, bad := strconv.ParseUint(port, 10, 16)
		if err != nil || bad != nil || a.Is4() != (f[1] == "TCP4") || a.Zone() != "" || strconv.FormatUint(n, 10) != port {
			return nil, errProxy
		}
		return net.TCPAddrFromAddrPort(netip.AddrPortFrom(a, uint16(n))), nil
	}
	if from, err = addr(f[2], f[4]); err != nil {
		return nil, nil, err
	}
	if to, err = addr(f[3], f[5]); err != nil {
		return nil, nil, err
	}
	return from, to, nil
}

// readProxyV2 reads what comes behind the signature.
func readProxyV2(r io.Reader) (from, to net.Addr, err error) {
	var h [4]byte
	if _, err := io.ReadFull(r, h[:]); err != nil {
		return nil, nil, err
	}
	length := int(binary.BigEndian.Uint16(h[2:]))
	if h[0]>>4 != 2 || h[0]&15 > 1 || length > maxProxyV2-16 {
		return nil, nil, errProxy
	}
	rest := make([]byte, length)
	if _, err := io.ReadFull(r, rest); err != nil {
		return nil, nil, err
	}
	size := 0
	switch family := h[1] >> 4; {
	case h[1]&15 > 2 || family > 3:
		return nil, nil, errProxy
	case h[0]&15 == 0: // LOCAL: a check of the sender's own
		return nil, nil, nil
	case family == 1:
		size = 4
	case family == 2:
		size = 16
	default: // UNSPEC, and unix sockets, which have no name worth telling
		return nil, nil, nil
	}
	if length < 2*size+4 {
		return nil, nil, errProxy
	}
	addr := func(at, port int) net.Addr {
		a, _ := netip.AddrFromSlice(rest[at : at+size])
		return net.TCPAddrFromAddrPort(netip.AddrPortFrom(a, binary.BigEndian.Uint16(rest[port:])))
	}
	return addr(0, 2*size), addr(size, 2*size+2), nil
}

// appendProxy appends a header of a version.
func appendProxy(b []byte, version int, from, to net.Addr) []byte {
	f, okFrom := from.(*net.TCPAddr)
	t, okTo := to.(*net.TCPAddr)
	known := okFrom && okTo
	var src, dst netip.AddrPort
	if known {
		src, dst = f.AddrPort(), t.AddrPort()
		src, dst = unmap(src), unmap(dst)
		known = src.Addr().Is4() == dst.Addr().Is4()
	}
	if version == 1 {
		if !known {
			return append(b, "PROXY UNKNOWN\r\n"...)
		}
		family := "TCP6"
		if src.Addr().Is4() {
			family = "TCP4"
		}
		return append(b, "PROXY "+family+" "+src.Addr().WithZone("").String()+" "+dst.Addr().WithZone("").String()+" "+
			strconv.Itoa(int(src.Port()))+" "+strconv.Itoa(int(dst.Port()))+"\r\n"...)
	}
	b = append(b, proxyV2...)
	if !known {
		return append(b, 0x20, 0, 0, 0) // LOCAL
	}
	addrs := append(src.Addr().AsSlice(), dst.Addr().AsSlice()...)
	kind := byte(0x21)
	if src.Addr().Is4() {
		kind = 0x11
	}
	b = append(b, 0x21, kind)
	b = binary.BigEndian.AppendUint16(b, uint16(len(addrs)+4))
	b = append(b, addrs...)
	b = binary.BigEndian.AppendUint16(b, src.Port())
	return binary.BigEndian.AppendUint16(b, dst.Port())
}

func unmap(a netip.AddrPort) netip.AddrPort { return netip.AddrPortFrom(a.Addr().Unmap(), a.Port()) }

package dns

import (
	"net"
	"os"
	"syscall"
)

// pktinfo says which control messages a socket that is bound to all addresses gives with each packet
// (ip(7), ipv6(7)): they say to which address it was sent. Handed back with the reply, they make it
// leave from there, without which clients of hosts with several addresses would not take it.
type pktinfo int

const (
	noPktinfo pktinfo = iota
	pktinfo4
	pktinfo6
)

const (
	sizeofInetPktinfo  = 12 // interface index, local address, destination
	sizeofInet6Pktinfo = 20 // address, interface index
)

var oobLen = syscall.CmsgSpace(sizeofInet6Pktinfo)

func enablePktinfo(c *net.UDPConn) (pktinfo, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return noPktinfo, err
	}
	info := pktinfo6
	var failed error
	err = raw.Control(func(fd uintptr) {
		if syscall.SetsockoptInt(int(fd), syscall.IPPROTO_IPV6, syscall.IPV6_RECVPKTINFO, 1) == nil {
			return
		}
		info = pktinfo4
		failed = os.NewSyscallError("setsockopt", syscall.SetsockoptInt(int(fd), syscall.IPPROTO_IP, syscall.IP_PKTINFO, 1))
	})
	if err == nil {
		err = failed
	}
	return info, err
}

// answering makes a received control message one to send: the reply takes the address, and whichever
// interface the routes say, but for link-local addresses, which mean nothing without theirs.
func (p pktinfo) answering(oob []byte) []byte {
	data := syscall.CmsgLen(0)
	switch {
	case p == pktinfo4 && len(oob) >= data+sizeofInetPktinfo:
		clear(oob[data : data+4])
		if local := oob[data+4 : data+8]; [4]byte(local) == [4]byte{} { // the packet came before the socket had the option
			copy(local, oob[data+8:data+12])
		}
	case p == pktinfo6 && len(oob) >= data+sizeofInet6Pktinfo:
		if linkLocal := oob[data] == 0xfe && oob[data+1]&0xc0 == 0x80; !linkLocal {
			clear(oob[data+16 : data+20])
		}
	default:
		return oob[:0]
	}
	return oob
}

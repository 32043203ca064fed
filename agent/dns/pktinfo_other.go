//go:build !linux

package dns

import "net"

// pktinfo is known on Linux only; elsewhere replies of a socket that is bound to all addresses leave
// from the address that the routes say.
type pktinfo int

const noPktinfo pktinfo = 0

const oobLen = 0

func enablePktinfo(*net.UDPConn) (pktinfo, error) { return noPktinfo, nil }

func (pktinfo) answering(oob []byte) []byte { return oob[:0] }

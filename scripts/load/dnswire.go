//go:build linux

package main

import (
	"encoding/binary"
	"fmt"

	"github.com/miekg/dns"
)

// dnsWire asks one question over and over, each time under another ID.
type dnsWire struct {
	packet  []byte
	id      uint16
	answers uint16 // records that an answer must have
	failed  int
}

// newDNS builds the connection of a question; size is what EDNS offers, 0 for a question without it.
func newDNS(name string, kind uint16, size uint16, answers int) (*dnsWire, error) {
	packet, err := question(name, kind, size).Pack()
	if err != nil {
		return nil, fmt.Errorf("question %s: %w", name, err)
	}
	return &dnsWire{packet: packet, answers: uint16(answers)}, nil
}

func question(name string, kind uint16, size uint16) *dns.Msg {
	m := new(dns.Msg).SetQuestion(dns.Fqdn(name), kind)
	if size > 0 {
		m.SetEdns0(size, false)
	}
	return m
}

func (d *dnsWire) failures() int { return d.failed }

func (d *dnsWire) reason() string { return fmt.Sprintf("not NOERROR with %d records", d.answers) }

func (d *dnsWire) next() []byte {
	d.id++
	binary.BigEndian.PutUint16(d.packet, d.id)
	return d.packet
}

// take knows the answer by its ID: one that comes after its question was given up is dropped.
func (d *dnsWire) take(b []byte) (bool, error) {
	if len(b) < 12 || binary.BigEndian.Uint16(b) != d.id {
		return false, nil
	}
	if b[3]&0xf != 0 || binary.BigEndian.Uint16(b[6:]) != d.answers {
		d.failed++
	}
	return true, nil
}

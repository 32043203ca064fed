package proxy

import (
	"fmt"
	"strings"

	"github.com/curia-mesh/curia/connect/balance"
)

// unreached is why none of the targets of a leg could be reached.
type unreached struct {
	leg  *leg
	why  map[*Target]error // of those that were tried
	last error
}

// add notes why one could not be. Nil is for none so far.
func (u *unreached) add(l *leg, t *Target, err error) *unreached {
	if u == nil {
		u = &unreached{leg: l, why: make(map[*Target]error, len(l.targets))}
	}
	u.why[t], u.last = err, err
	return u
}

// err is what is to be said.
func (u *unreached) err() error {
	switch {
	case u == nil:
		return nil
	case u.leg.alone():
		return u.last
	}
	return u
}

// told is how many targets an error tells of.
const told = 4

// Error implements error. It tells of those too that were not tried, since they have nobody.
func (u *unreached) Error() string {
	var b strings.Builder
	for i, t := range u.leg.targets {
		if i == told {
			fmt.Fprintf(&b, "; and %d more targets", len(u.leg.targets)-told)
			break
		}
		if i > 0 {
			b.WriteString("; ")
		}
		err := u.why[t]
		if err == nil {
			err = &balance.Unavailable{Status: t.cluster.pool.Status(t.cluster.proxy.clock())}
		}
		b.WriteString(err.Error())
	}
	return b.String()
}

// Unwrap is what was found last.
func (u *unreached) Unwrap() error { return u.last }

package endpoint

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/rpc"
)

const maxForwards = 4

// Call answers one request, here or by forwarding it to the server that can. While there is no leader, or it
// cannot be reached, the call is held, as long as it cannot have been acted on yet.
func (r *Registry) Call(ctx context.Context, call *rpc.Call) (rpc.Answer, error) {
	v := r.verbs[call.Method]
	if v == nil {
		return rpc.Answer{}, noMethod(call.Method)
	}
	call, err := r.ruled(v, call)
	if err != nil {
		return rpc.Answer{}, err
	}
	var since time.Time // from when on the call is held
	for {
		begun := time.Now()
		way, err := r.route(v, call)
		var answer rpc.Answer
		var tried rpc.Caller // who answered that it does not lead, when it is this server
		switch {
		case err != nil:
		case way == nil:
			tried = r
			answer, err = r.here(ctx, v, call)
			begun = time.Now() // the time that it waited for a change is no time that it was held
		default:
			onward := *call
			onward.Header.Forwarded++
			answer, err = way.Call(ctx, &onward)
		}
		if err == nil || !r.mayRepeat(v, call, err) {
			return answer, err
		}
		link := new(rpc.LinkError)
		lost := errors.As(err, &link)
		if since.IsZero() && lost {
			since = time.Now()
		} else if since.IsZero() {
			since = begun
		}
		if tried != nil {
			way = tried
		}
		none := r.host.AwaitLeader(ctx, way, since)
		switch {
		case none == nil:
		case catalog.CodeOf(none) == catalog.NoLeader && r.stale(v, call.Header): // it was not when the call came
		case lost:
			return rpc.Answer{}, fmt.Errorf("%w; before, %v", none, err)
		default:
			return rpc.Answer{}, none
		}
	}
}

// ruled addresses to the primary datacenter what it must answer.
func (r *Registry) ruled(v *verb, call *rpc.Call) (*rpc.Call, error) {
	own, primary := r.host.Datacenter(), r.host.Primary()
	if v.primary == nil || primary == own || call.Header.Datacenter != "" && call.Header.Datacenter != own {
		return call, nil
	}
	decoded, err := v.decoded(call)
	if err != nil || !v.primary(decoded.Body) {
		return call, err
	}
	there := *call
	there.Header.Datacenter = primary
	return &there, nil
}

// here answers a call on this server. A read that is not stale counts only if this server still leads after
// it: it may have waited long, and the process may have been stopped meanwhile. A quorum is asked when the lease is over.
func (r *Registry) here(ctx context.Context, v *verb, call *rpc.Call) (rpc.Answer, error) {
	answer, err := r.answer(ctx, v, call)
	h := call.Header
	if err != nil || v.kind != query || h.Consistency == rpc.Stale {
		return answer, err
	}
	if !r.host.Leading() {
		return rpc.Answer{}, catalog.Errorf(catalog.NoLeader, "no cluster leader: this server has lost the leadership")
	}
	if h.MinIndex > 0 && h.Consistency == rpc.Consistent || h.Consistency == rpc.Default && !r.host.Leased() {
		err = r.host.Confirm(ctx)
	}
	return answer, err
}

// mayRepeat reports whether a call that failed so can be made again: it was not acted on, or reads.
func (r *Registry) mayRepeat(v *verb, call *rpc.Call, err error) bool {
	if dc := call.Header.Datacenter; dc != "" && dc != r.host.Datacenter() {
		return false
	}
	if link := new(rpc.LinkError); errors.As(err, &link) {
		return !link.Sent || v.kind == query
	}
	return catalog.CodeOf(err) == catalog.NoLeader
}

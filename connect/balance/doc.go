// Package balance picks the endpoint that serves a request, takes endpoints out that fail, and bounds what
// retries and overload may cost.
//
// A Pool holds the endpoints of one target. Its owner tells it who they are with Update; a request asks it with
// Pick, calls Begin on the endpoint and Done when the answer is there. Picking reads one immutable view and
// takes no lock. What is known of an endpoint (how long it takes, how many requests it has, how it failed) lives
// in its Endpoint, which stays when the others change.
//
// Nothing here does I/O, starts a goroutine or reads a clock, Pool.Wait aside: moments are time.Durations since a
// moment that the caller chooses, of a monotonic clock.
package balance

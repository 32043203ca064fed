package gossip

import (
	"time"

	"github.com/hashicorp/serf/coordinate"
)

// Coordinate is a point in the space of round trip times that serf estimates (Vivaldi: Dabek et al., SIGCOMM 2004);
// all values are in seconds. Its JSON form is that of Consul's /v1/coordinate.
type Coordinate = coordinate.Coordinate

// Dimensions that the vector of a coordinate of this product has.
const Dimensions = 8

// Coordinate returns this node's own coordinate, nil when they are turned off.
func (p *Pool) Coordinate() *Coordinate {
	c, err := p.serf.GetCoordinate()
	if err != nil {
		return nil
	}
	return c
}

// CoordinateOf returns the last coordinate that the member told in answer to a probe of ours; shared, read it only. A
// member that was not probed yet has none.
func (p *Pool) CoordinateOf(name string) (c *Coordinate, ok bool) {
	if name == p.cfg.Name {
		c = p.Coordinate()
		return c, c != nil
	}
	return p.serf.GetCachedCoordinate(name)
}

// RoundTrip estimates the round trip time between two coordinates; ok is false when one is missing or not usable.
func RoundTrip(a, b *Coordinate) (rtt time.Duration, ok bool) {
	if a == nil || b == nil || !a.IsValid() || !b.IsValid() || !a.IsCompatibleWith(b) {
		return 0, false
	}
	return a.DistanceTo(b), true
}

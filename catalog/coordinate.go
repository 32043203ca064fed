package catalog

import (
	"math"
	"slices"
	"time"
)

// Coordinate is a node's place in the network's round-trip times (Vivaldi; Dabek et al., SIGCOMM 2004),
// in seconds.
type Coordinate struct {
	Vec        []float64
	Error      float64
	Adjustment float64
	Height     float64
}

// CoordinateDimensions is how many dimensions a coordinate has.
const CoordinateDimensions = 8

// NodeCoordinate is the coordinate of a node in a segment.
type NodeCoordinate struct {
	Node    string
	Segment string
	Coord   *Coordinate
}

// Validate checks that the coordinate is finite and has the right number of dimensions.
func (c *Coordinate) Validate() error {
	if len(c.Vec) != CoordinateDimensions {
		return Errorf(Invalid, "coordinate has %d dimensions, want %d", len(c.Vec), CoordinateDimensions)
	}
	for _, v := range append([]float64{c.Error, c.Adjustment, c.Height}, c.Vec...) {
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return Errorf(Invalid, "coordinate holds a number that is not finite")
		}
	}
	return nil
}

// Same reports whether two coordinates are the same place.
func (c *Coordinate) Same(o *Coordinate) bool {
	return c != nil && o != nil && slices.Equal(c.Vec, o.Vec) && c.Error == o.Error && c.Adjustment == o.Adjustment && c.Height == o.Height
}

// Distance is the estimated round-trip time between two coordinates, never negative; nil or unlike ones are
// infinitely far apart.
func (c *Coordinate) Distance(o *Coordinate) time.Duration {
	if c == nil || o == nil || len(c.Vec) != len(o.Vec) {
		return math.MaxInt64
	}
	sum := 0.0
	for i := range c.Vec {
		d := c.Vec[i] - o.Vec[i]
		sum += d * d
	}
	rtt := math.Sqrt(sum) + (c.Height + o.Height) // in an order that is the same there and back
	if adjusted := rtt + (c.Adjustment + o.Adjustment); adjusted > 0 {
		rtt = adjusted
	}
	if rtt *= float64(time.Second); rtt < math.MaxInt64 {
		return max(0, time.Duration(rtt))
	}
	return math.MaxInt64 // infinite, or as good as
}

package state

import (
	"strings"

	"github.com/curia-mesh/curia/catalog"
)

// coordinateRow is a node's coordinate in a segment.
type coordinateRow struct {
	Node    string
	Segment string
	Coord   *catalog.Coordinate
	// Index of the last change.
	Index uint64
}

var coordinates = &table[coordinateRow]{
	name: "coordinates",
	of:   func(v *version) *rows[coordinateRow] { return &v.coordinates },
	keys: []func([]byte, *coordinateRow) []byte{
		primary: func(key []byte, c *coordinateRow) []byte { return joined(key, fold(c.Node), c.Segment) },
	},
}

// Coordinates returns the coordinates of all nodes.
func Coordinates(tx *Txn, w *Watch) ([]*catalog.NodeCoordinate, uint64) {
	return listCoordinates(tx, w, nil, indexOf(tx, coordinatesIndex))
}

// NodeCoordinates returns a node's coordinates, one for each segment it is in.
func NodeCoordinates(tx *Txn, w *Watch, node string) ([]*catalog.NodeCoordinate, uint64) {
	index := buried(tx, graveNode, fold(node))
	return listCoordinates(tx, w, tx.key(fold(node)), index)
}

func listCoordinates(tx *Txn, w *Watch, prefix []byte, index uint64) ([]*catalog.NodeCoordinate, uint64) {
	found := []*catalog.NodeCoordinate{}
	index = max(index, 1)
	for c := range coordinates.scan(tx, w, primary, prefix) {
		index = max(index, c.Index)
		found = append(found, &catalog.NodeCoordinate{Node: c.Node, Segment: c.Segment, Coord: c.Coord})
	}
	return found, index
}

// CoordinateSet stores the coordinates of nodes that exist; those of others are left out, for their
// nodes may just have gone.
func CoordinateSet(tx *Txn, all []*catalog.NodeCoordinate) {
	for _, c := range all {
		if c == nil || c.Coord == nil || strings.IndexByte(c.Segment, 0) >= 0 {
			continue
		}
		n := nodeNamed(tx, nil, c.Node)
		if n == nil {
			continue
		}
		old := coordinates.get(tx, nil, primary, tx.key(fold(c.Node), c.Segment))
		if old != nil && old.Coord.Same(c.Coord) {
			continue
		}
		coordinates.put(tx, &coordinateRow{Node: n.Node, Segment: c.Segment, Coord: c.Coord, Index: tx.Index})
	}
}

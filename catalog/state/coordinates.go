package state

import "github.com/curia-mesh/curia/catalog"

// coordinateRow is a node's coordinate in a segment.
type coordinateRow struct {
	Node    string
	Segment string
	Coord   *catalog.Coordinate
	// Index of the last change.
	Index uint64
}

var coordinates = &table[coordinateRow]{name: "coordinates", indexes: map[string]func(*coordinateRow) []byte{
	primary: func(c *coordinateRow) []byte { return joined(fold(c.Node), c.Segment) },
}}

const coordinatesIndex = "coordinates"

// Coordinates returns the coordinates of all nodes.
func Coordinates(tx *Txn, w *Watch) ([]*catalog.NodeCoordinate, uint64) {
	return listCoordinates(tx, w, nil, indexOf(tx, coordinatesIndex))
}

// NodeCoordinates returns a node's coordinates, one for each segment it is in.
func NodeCoordinates(tx *Txn, w *Watch, node string) ([]*catalog.NodeCoordinate, uint64) {
	return listCoordinates(tx, w, joined(fold(node)), buried(tx, graveNode, fold(node), false))
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
		n := nodes.get(tx, nil, primary, joined(fold(c.Node)))
		if n == nil || c.Coord == nil {
			continue
		}
		coordinates.put(tx, &coordinateRow{Node: n.Node, Segment: c.Segment, Coord: c.Coord, Index: tx.Index})
		setIndex(tx, coordinatesIndex)
	}
}

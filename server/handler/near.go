package handler

import (
	"math/rand/v2"
	"sort"
	"time"

	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/catalog/state"
)

// sortNear orders elements by the round-trip time from a node to theirs, those that are equally far at
// random places among themselves. Without a node, or one without a coordinate, the order stays.
func sortNear[T any](tx *state.Txn, from string, list []T, nodeOf func(T) string) {
	if from == "" {
		return
	}
	origin := coordinate(tx, from)
	if origin == nil {
		return
	}
	known := map[string]time.Duration{}
	far := func(element T) time.Duration {
		node := nodeOf(element)
		d, ok := known[node]
		if !ok {
			d = origin.Distance(coordinate(tx, node))
			known[node] = d
		}
		return d
	}
	rand.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	sort.SliceStable(list, func(i, j int) bool { return far(list[i]) < far(list[j]) })
}

func coordinate(tx *state.Txn, node string) *catalog.Coordinate {
	all, _ := state.NodeCoordinates(tx, nil, node)
	for _, c := range all {
		return c.Coord
	}
	return nil
}

package chain

import (
	"maps"
	"slices"
	"strings"

	"github.com/curia-mesh/curia/catalog"
)

// then is what one change of headers after another comes to, as one change. What is removed in it is neither
// set nor added, so that the order does not matter in which a proxy does these. Of two values that are
// added to one header the later remains. Names are told apart regardless of case.
func then(first, second *catalog.HeaderModifiers) *catalog.HeaderModifiers {
	switch {
	case first == nil:
		return second
	case second == nil:
		return first
	}
	return &catalog.HeaderModifiers{
		Add:    over(first.Add, second.Add, second.Set, second.Remove),
		Set:    over(first.Set, second.Set, nil, second.Remove),
		Remove: removed(first.Remove, second),
	}
}

// over is first with what is in second, and without what the second change sets or removes.
func over(first, second, set map[string]string, remove []string) map[string]string {
	all := map[string]string{}
	for name, value := range first {
		if !names(second, name) && !names(set, name) && !containsFold(remove, name) {
			all[name] = value
		}
	}
	maps.Copy(all, second)
	if len(all) == 0 {
		return nil
	}
	return all
}

// removed is what both changes remove, without what the second puts there again.
func removed(first []string, second *catalog.HeaderModifiers) []string {
	var all []string
	for _, name := range first {
		if !names(second.Add, name) && !names(second.Set, name) && !containsFold(second.Remove, name) {
			all = append(all, name)
		}
	}
	return append(all, second.Remove...)
}

func names(m map[string]string, name string) bool {
	for n := range m {
		if strings.EqualFold(n, name) {
			return true
		}
	}
	return false
}

func containsFold(list []string, name string) bool {
	return slices.ContainsFunc(list, func(n string) bool { return strings.EqualFold(n, name) })
}

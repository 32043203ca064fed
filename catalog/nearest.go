package catalog

import "strings"

// Nearest returns the name that key most probably was meant to be, "" when none is near.
func Nearest(key string, names []string) string {
	if len(key) > 64 {
		return ""
	}
	best, least := "", max(1, len(key)/3)+1
	wanted := loose(key)
	for _, name := range names {
		if d := distance(wanted, loose(name)); d < least {
			best, least = name, d
		}
	}
	return best
}

// distance is how many characters have to be put in, taken out, changed or swapped with their neighbour
// to make b of a (optimal string alignment).
func distance(a, b string) int {
	before, last, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(row[j-1]+1, last[j]+1, last[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last, row = last, row, before
	}
	return last[len(b)]
}

// loose is the form of a name in which two that differ only in case and underscores are equal.
func loose(name string) string { return strings.ToLower(strings.ReplaceAll(name, "_", "")) }

package decode

import "bytes"

// names are the keys of one object so far, on the walker's stack.
type names struct {
	w    *walker
	from int
	many map[string]struct{} // the same keys, once there are too many to look through
}

// fewNames is how many keys are looked through one by one.
const fewNames = 16

// again reports whether the object had the key before, and remembers it. Two parsers of a document with a
// key that is there twice may see different documents. Files are exempt: there a block may stand twice.
func (n *names) again(key []byte) bool {
	w := n.w
	if w.file || w.diagnose {
		return false
	}
	if n.many != nil {
		before := len(n.many)
		n.many[string(key)] = struct{}{}
		return len(n.many) == before
	}
	for _, k := range w.keys[n.from:] {
		if bytes.Equal(k, key) {
			return true
		}
	}
	if w.keys = append(w.keys, key); len(w.keys)-n.from > fewNames {
		n.many = make(map[string]struct{}, 2*fewNames)
		for _, k := range w.keys[n.from:] {
			n.many[string(k)] = struct{}{}
		}
	}
	return false
}

// forget takes the object's keys from the stack.
func (n *names) forget() { n.w.keys = n.w.keys[:n.from] }

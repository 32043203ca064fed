package canon

import "bytes"

// Exact returns the path that an operator means by one that is compared with whole paths, in canonical form: what comes
// is in that form, and would never match another. A path that has none stays as it is, and matches nothing.
func Exact(pattern string) string {
	path, err := Rules{Slashes: Keep}.Path(nil, []byte(pattern))
	if err != nil {
		return pattern
	}
	return string(path)
}

// Prefix is Exact for the beginnings of paths. The last segment may be the beginning of a name, so that dots there are no
// dot segment, and an escape that is not complete is the beginning of one.
func Prefix(pattern string) string {
	i := bytes.LastIndexByte([]byte(pattern), '/')
	if i < 0 {
		return pattern
	}
	head, err := Rules{Slashes: Keep}.Path(nil, []byte(pattern[:i+1]))
	if err != nil {
		return pattern
	}
	name := pattern[i+1:]
	if last, err := (Rules{Slashes: Keep}).Path([]byte(nil), []byte("/x"+name)); err == nil {
		name = string(last[len("/x"):])
	}
	return string(head) + name
}

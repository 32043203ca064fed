package snapstore

// Reseal gives a changed meta.json the checksum of what it holds now.
func Reseal(b []byte) []byte {
	n := len(metaHead)
	copy(b[n:], sumOf(b[n+8:len(b)-1]))
	return b
}

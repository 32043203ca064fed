package raftstore

// OpenBackendSteps is OpenBackend with small writes that calls step before each
// change.
func OpenBackendSteps(dir string, step func() error, want Backend, others ...Backend) (Log, error) {
	return (&migration{dir: dir, write: 16 << 10, step: step}).open(want, others)
}

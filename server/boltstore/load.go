package boltstore

import (
	"fmt"
	"os"

	"github.com/hashicorp/raft"

	"github.com/curia-mesh/curia/server/raftstore"
)

// verify reads the whole file, and sets what is kept in memory.
func (s *Store) verify() error {
	f, err := os.OpenFile(s.path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	l := loader{s: s, stable: map[string][]byte{}, buckets: map[string]bool{}}
	t := &tree{f: f, visit: l.visit}
	if err := t.walk(); err != nil {
		return err
	}
	if len(l.buckets) != 2 {
		return fmt.Errorf("raft log %s lacks the bucket %q or %q: another program wrote it; move it away", s.path, logsBucket, stableBucket)
	}
	if err := s.memory.Load(l.bounds, l.stable); err != nil {
		return s.damage("%v", err)
	}
	return t.settle()
}

// loader is what was read so far.
type loader struct {
	s       *Store
	bounds  raftstore.Bounds
	stable  map[string][]byte
	buckets map[string]bool
	entry   raft.Log
}

// visit takes one key and value, or the begin of a bucket, whose key is nil.
func (l *loader) visit(bucket, key, value []byte) error {
	name := string(bucket)
	switch logs := name == string(logsBucket); {
	case !logs && name != string(stableBucket):
		return fmt.Errorf("raft log %s has a bucket %.40q: another program or a newer version wrote it; run that, or move the file away", l.s.path, name)
	case key == nil:
		l.buckets[name] = true
		return nil
	case logs:
		return l.visitEntry(key, value)
	}
	val, ok := unseal(value, key)
	if !ok {
		return l.s.damage("the stable value of %.40q fails its checksum", key)
	}
	l.stable[string(key)] = append([]byte{}, val...)
	return nil
}

func (l *loader) visitEntry(key, value []byte) error {
	if err := l.s.decode(key, value, &l.entry); err != nil {
		return err
	}
	if !l.bounds.Empty() && l.entry.Index != l.bounds.Last+1 {
		return l.s.damage("entry %d follows entry %d", l.entry.Index, l.bounds.Last)
	}
	if l.bounds.Last = l.entry.Index; l.bounds.First == 0 {
		l.bounds.First = l.bounds.Last
	}
	return nil
}

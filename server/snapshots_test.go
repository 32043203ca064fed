package server_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math"
	"slices"
	"sync"
	"testing"

	"github.com/hashicorp/go-msgpack/v2/codec"
	"github.com/hashicorp/raft"

	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/rpc"
	"github.com/curia-mesh/curia/server"
	"github.com/curia-mesh/curia/server/api"
	"github.com/curia-mesh/curia/server/snapshot"
)

// save returns an archive of the server's state and its index.
func save(t *testing.T, s *server.Server) ([]byte, uint64) {
	t.Helper()
	var out bytes.Buffer
	var index uint64
	err := s.Snapshots().SaveSnapshot(t.Context(), rpc.Header{}, func(i uint64) io.Writer { index = i; return &out })
	if err != nil {
		t.Fatal("save:", err)
	}
	return out.Bytes(), index
}

func restore(t *testing.T, s *server.Server, archive []byte) error {
	t.Helper()
	return s.Snapshots().RestoreSnapshot(t.Context(), rpc.Header{}, &api.RestoreRequest{}, bytes.NewReader(archive))
}

func TestRestoreReplacesEverything(t *testing.T) {
	for _, dir := range []string{"", t.TempDir()} {
		s, stop := start(t, dir)
		put(t, s, "kept", "1")
		saved, _ := save(t, s)
		put(t, s, "kept", "2")
		put(t, s, "later", "3")
		if err := restore(t, s, saved); err != nil {
			t.Fatal(err)
		}
		want := func(key, value string) {
			t.Helper()
			if got, _ := get(t, s, key); got != value {
				t.Errorf("dir %q: %s = %q after the restore, want %q", dir, key, got, value)
			}
		}
		want("kept", "1")
		want("later", "")
		put(t, s, "after", "4")
		if dir != "" {
			stop()
			s, stop = start(t, dir)
			want("kept", "1")
			want("later", "")
		}
		if want("after", "4"); dir == "" {
			want("kept", "1")
		}
		again, _ := save(t, s)
		if err := restore(t, s, again); err != nil {
			t.Error("an archive of a restored state:", err)
		}
		want("after", "4")
		stop()
	}
}

func TestArchiveMovesToAnotherCluster(t *testing.T) {
	s, _ := start(t, "")
	for i := range 50 {
		put(t, s, "k", fmt.Sprint(i))
	}
	saved, index := save(t, s)
	other, _ := start(t, t.TempDir(), func(c *server.Config) { c.NodeID = "9e0e0bd1-0000-4000-8000-0000000000ff" })
	if err := restore(t, other, saved); err != nil {
		t.Fatal(err)
	}
	put(t, other, "new", "1")
	if got, _ := get(t, other, "k"); got != "49" {
		t.Errorf("k = %q", got)
	}
	if _, now := get(t, other, "new"); now <= index {
		t.Errorf("a write after the restore has index %d, the archive has %d: blocked readers would miss it", now, index)
	}
}

func TestSavingAgainCostsNothingWhenNothingWasWritten(t *testing.T) {
	s, _ := start(t, t.TempDir())
	put(t, s, "a", "1")
	_, first := save(t, s)
	taken := s.RaftStats()["last_snapshot_index"]
	if _, again := save(t, s); again != first || s.RaftStats()["last_snapshot_index"] != taken {
		t.Errorf("another snapshot was taken: index %d, then %d", first, again)
	}
	put(t, s, "a", "2")
	if _, next := save(t, s); next <= first {
		t.Errorf("the snapshot after a write has index %d, the one before %d", next, first)
	}
}

func TestWritesUnderRestoreAreKeptOrRefusedButNotBoth(t *testing.T) {
	s, _ := start(t, t.TempDir())
	put(t, s, "base", "1")
	saved, _ := save(t, s)
	ctx, cancel := context.WithCancel(t.Context())
	var writers sync.WaitGroup
	for w := range 4 {
		writers.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				req := &api.KVWrite{Op: api.KVSet, Pair: catalog.KVPair{Key: fmt.Sprint("w", w), Value: []byte(fmt.Sprint(i))}}
				_, _, err := api.KVApply.Call(t.Context(), s.Caller(), rpc.Header{}, req)
				if code := catalog.CodeOf(err); err != nil && code != catalog.Unavailable {
					t.Errorf("a write beside a restore failed with code %q: %v", code, err)
					return
				}
			}
		})
	}
	for range 5 {
		if err := restore(t, s, saved); err != nil {
			t.Error(err)
		}
	}
	cancel()
	writers.Wait()
	put(t, s, "base", "2")
	if got, _ := get(t, s, "base"); got != "2" {
		t.Errorf("base = %q", got)
	}
}

func TestOneRestoreAtATime(t *testing.T) {
	s, _ := start(t, "")
	put(t, s, "a", "1")
	saved, _ := save(t, s)
	from, to := io.Pipe()
	done := make(chan error)
	go func() { done <- s.Snapshots().RestoreSnapshot(t.Context(), rpc.Header{}, &api.RestoreRequest{}, from) }()
	to.Write(saved[:10]) // returns when the restore has begun to read
	if err := restore(t, s, saved); catalog.CodeOf(err) != catalog.Conflict {
		t.Errorf("a second restore: %v", err)
	}
	to.CloseWithError(errors.New("the client went away"))
	if err := <-done; catalog.CodeOf(err) != catalog.Invalid {
		t.Errorf("a restore whose client went away: %v", err)
	}
	if err := restore(t, s, saved); err != nil {
		t.Error("the next restore:", err)
	}
}

// pack is an archive of hand-made rows of one table.
func pack(t *testing.T, meta raft.SnapshotMeta, index uint64, table string, rows ...any) []byte {
	t.Helper()
	var body []byte
	for _, row := range rows {
		if err := codec.NewEncoderBytes(&body, &codec.MsgpackHandle{}).Encode(row); err != nil {
			t.Fatal(err)
		}
	}
	sum := func(parts ...[]byte) []byte {
		return binary.BigEndian.AppendUint32(nil, crc32.Checksum(bytes.Join(parts, nil), crc32.MakeTable(crc32.Castagnoli)))
	}
	head := binary.BigEndian.AppendUint64([]byte("CURIASN1"), index)
	state := slices.Concat(head, sum(head))
	chunk := func(table string, rows int, body []byte) {
		head := append([]byte{byte(len(table))}, table...)
		head = binary.BigEndian.AppendUint32(head, uint32(rows))
		head = binary.BigEndian.AppendUint32(head, uint32(len(body)))
		state = slices.Concat(state, head, sum(head, body), body)
	}
	chunk(table, len(rows), body)
	chunk("", 1, nil)
	meta.Size = int64(len(state))
	var out bytes.Buffer
	if err := snapshot.Write(&out, &meta, bytes.NewReader(state)); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// Raft panics when it cannot finish a restore, and keeps the snapshot.
func TestArchivesThatCannotBeLoadedAreRefusedBeforeRaftBegins(t *testing.T) {
	s, _ := start(t, t.TempDir())
	put(t, s, "mine", "1")
	good := raft.SnapshotMeta{Version: 1, Index: 9, Term: 1}
	pair := map[string]any{"Key": "x", "Value": []byte("1"), "CreateIndex": 1, "ModifyIndex": 1}
	if err := restore(t, s, pack(t, good, 9, "kv", pair)); err != nil {
		t.Fatal("a hand-made archive:", err)
	}
	put(t, s, "mine", "2")
	last, old := good, good
	last.Index, old.Version = math.MaxUint64, 7
	for what, archive := range map[string][]byte{
		"instance without a node": pack(t, good, 9, "instances", map[string]any{"Node": "nowhere", "Service": map[string]any{"ID": "x", "Service": "x"}}),
		"instance of nothing":     pack(t, good, 9, "instances", map[string]any{"Node": "nowhere"}),
		"unknown table":           pack(t, good, 9, "nonsense", pair),
		"row of another kind":     pack(t, good, 9, "kv", 7),
		"last index there is":     pack(t, last, 9, "kv", pair),
		"state of a later index":  pack(t, good, math.MaxUint64, "kv", pair),
		"unknown version":         pack(t, old, 9, "kv", pair),
	} {
		if err := restore(t, s, archive); catalog.CodeOf(err) != catalog.Invalid {
			t.Errorf("%s: code %q, %v", what, catalog.CodeOf(err), err)
		}
		if got, _ := get(t, s, "mine"); got != "2" {
			t.Fatalf("%s: it was refused, and the state is another: %q", what, got)
		}
	}
}

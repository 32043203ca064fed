package snapstore

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"io"
	"os"

	"github.com/hashicorp/raft"
)

// format is the version of what is in meta.json and of the directory.
const format = 1

// meta is what meta.json says.
type meta struct {
	Format int
	raft.SnapshotMeta
	StateSum uint32 // CRC-32C of the state
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func newSum() hash.Hash32 { return crc32.New(castagnoli) }

// metaHead begins meta.json; the checksum of what follows it comes next, in 8 hexadecimal digits.
const metaHead = `{"Sum":"`

// maxMeta is far more than a configuration of servers takes.
const maxMeta = 1 << 20

// encodeMeta returns the content of meta.json.
func encodeMeta(m *meta) ([]byte, error) {
	b, err := json.Marshal(m)
	if err != nil {
		return nil, err
	}
	rest := append([]byte(`",`), b[1:]...)
	return fmt.Appendf(nil, "%s%s%s\n", metaHead, sumOf(rest), rest), nil
}

func sumOf(rest []byte) string {
	return hex.EncodeToString(binary.BigEndian.AppendUint32(nil, crc32.Checksum(rest, castagnoli)))
}

// readMeta reads and verifies the meta.json of a snapshot.
func (s *Store) readMeta(id string) (*meta, error) {
	path := s.path(id, metaFile)
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, damaged(path, "the file is missing")
	} else if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxMeta))
	if err != nil {
		return nil, err
	}
	m, err := decodeMeta(b)
	switch {
	case err != nil:
		return nil, damaged(path, "%v", err)
	case m.Format > format || m.Version > raft.SnapshotVersionMax:
		return nil, fmt.Errorf("raft snapshot %s has format %d, version %d, this binary reads format %d, version %d: run the version that wrote it", path, m.Format, m.Version, format, raft.SnapshotVersionMax)
	case m.ID != id:
		return nil, damaged(path, "it says that it is of %s: the directory was renamed", m.ID)
	}
	return m, nil
}

// decodeMeta is the inverse of encodeMeta. The checksum covers every bit that is not given.
func decodeMeta(b []byte) (*meta, error) {
	line, ended := bytes.CutSuffix(b, []byte("\n"))
	rest, ok := bytes.CutPrefix(line, []byte(metaHead))
	if !ok || !ended || len(rest) < 8 {
		return nil, errors.New("it does not begin and end as it was written")
	}
	if sum := string(rest[:8]); sum != sumOf(rest[8:]) {
		return nil, fmt.Errorf("its checksum is %s, that of what was written %.8q", sumOf(rest[8:]), sum)
	}
	m := new(meta)
	if err := json.Unmarshal(line, m); err != nil {
		return nil, err
	}
	return m, nil
}

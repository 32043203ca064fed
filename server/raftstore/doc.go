// Package raftstore keeps hashicorp/raft's log and stable store on disk, in a
// write-ahead log that costs one fdatasync per append.
//
// # Goals
//
//   - What StoreLogs, DeleteRange, Set and SetUint64 acknowledged survives a
//     kill, a power cut, and a full or failing disk.
//   - Acknowledged data is read back as it was written, or an error names the
//     damaged file. It is never dropped silently, and no content of the files
//     makes the process panic.
//   - An append is one write and one fdatasync inside a file that was filled
//     beforehand, so a client alone is as fast as the disk allows, and a batch
//     of entries (raft groups concurrent proposals) costs no more than one.
//   - Disk space follows what compaction leaves, while running.
//
// Not goals: reading by more than one process, entries out of order, repair.
//
// # Layout
//
// The directory (0700) holds files (0600):
//
//	LOCK                      held while a process uses the directory
//	wal-0000000000000007.log  segments, oldest to newest, 8 MiB each
//	spare.tmp                 a segment being made, or kept to be used again
//
// A segment is a header with a random salt and then frames: an entry, new
// bounds of the log, or a stable value (see frame.go). Every frame has a
// checksum over its header, which is seeded with the segment's salt, and one
// over its payload. The frames of one call are one batch: one write, one sync.
// Entries are found by offsets kept in memory, 8 bytes each, and the newest
// MiB of entries is kept whole. A batch larger than a segment grows it.
//
// Each segment begins with a state frame: the bounds of the log, all stable
// values, and where the segment before it ends. So a segment whose entries are
// all compacted away can go, whatever else it held, and a segment that lost
// its end is noticed. The next segment is made ahead of need, in the
// background, if possible from a file that compaction freed; its state frame
// travels with the first batch, so a rotation costs no extra sync either.
//
// After each sync a 24-byte mark is written behind the batch, without a sync,
// to be overwritten by the next batch. It is the witness that the batch was
// complete: without it, damage to the newest batch would look like a torn one.
//
// # What is assumed of disks
//
//   - After a successful fdatasync the written bytes, and the size of a file
//     that grew, are on the disk; after fsync of a directory, its names are.
//   - A write that was not synced may be there wholly, partly, in any sectors
//     or bytes, or not at all. It leaves other sectors alone.
//   - Bits may flip later. Checksums are CRC-32C: any one damaged run of up to
//     32 bits is always found, anything else but once in 2^32.
//   - After a failed fsync the kernel may call pages clean that are not on the
//     disk. So no fsync is retried: the first failed write or sync makes all
//     later writes fail with its error, until a restart. Reads go on, because
//     raft panics when it cannot read a committed entry; Failed tells the
//     server to step down and exit.
//
// # Crash cases
//
//   - Within a batch: some frames are unreadable and nothing written later is
//     there. The batch was not acknowledged. Its readable beginning is kept,
//     the remains behind it are wiped.
//   - After the write, before the sync: the batch is found. It may be in the
//     page cache only, or fail to be on the disk after an fsync error, so the
//     newest batch is written and synced once more before Open returns.
//   - In the first batch of a segment: without a readable state frame the
//     segment counts as not begun.
//   - While a segment is made: it has a temporary name until its header is
//     synced; Open deletes the leftover.
//   - While segments are retired: oldest first, each directory change synced
//     before the next, so the numbers stay consecutive.
//
// # What is refused
//
// Open returns a *CorruptError for a file header, a frame, or a whole file
// that cannot be read though something written after it can: a later batch,
// the mark, or the next segment's word about where this one ends. An entry
// that rots later is found by GetLog. Ways out: move the directory away and
// let the server rejoin if others have the data; else restore a backup.
//
// # Limits
//
//   - Damage to the newest batch within the seconds before a power cut, when
//     its mark was not on the disk yet, cannot be told from a torn write. After
//     a kill or a clean Close it can.
//   - Indexes are consecutive (raft.MonotonicLogStore); only an empty log may
//     begin anywhere. DeleteRange must reach an end of the log.
//   - One StoreLogs call may hold 1 GiB, all stable values 64 KiB, a stable key
//     1 byte to 32 KiB.
//   - The directory needs room for the log as compaction leaves it and about
//     four segments.
//   - If the disk fills up, appends go on to the end of the current segment
//     and of the one made in advance, then fail for good; once there is space,
//     a restart suffices.
//
// # Why this is the default
//
// Package boltstore keeps the same on bbolt, a B+tree. OpenBackend opens either
// and turns one into the other. What
//
//	go test -p 1 -run - -bench . -count 2 ./server/raftstore ./server/boltstore
//
// measured on two shared cores at 2.8 GHz with a virtual disk, entries of 200
// bytes, while other work ran (the better of two; the ratio varied from 1.7 to 9
// for single appends, as the disk was more or less busy with others):
//
//	                           write-ahead log      bbolt
//	append 1 entry                     0.16 ms    0.29 ms
//	append 64 entries                  0.19 ms    0.66 ms
//	syncs per append                         1          2
//	allocations, 1 and 64 entries       1 , 64    68, 648
//	read an entry not in memory         0.7 µs     1.8 µs
//	open 20,000 entries                  17 ms      13 ms
//
// A bbolt commit needs two syncs, one after the other, and rewrites whole pages
// up to the root. bbolt has no checksum on its pages, goes on with the commit
// before when its newest meta page is damaged (a vote could be forgotten), and
// panics in a goroutine of its own when it opens some damaged files; boltstore
// reads the file itself before bbolt does, but cannot guard it afterwards. Its
// file never shrinks. In its favour: common tools read it, and a batch is stored
// wholly or not at all.
package raftstore

// Package boltstore keeps hashicorp/raft's log and stable store in a bbolt
// file, for those who prefer a format that other tools read. The default is the
// write-ahead log of package raftstore, whose documentation compares the two.
//
// # Layout
//
// The directory (0700) holds LOCK and raft.db (0600), a bbolt file of two
// buckets, whose names tell the version of their format:
//
//	logs.v1    index, 8 bytes big-endian: entry as in raftstore, CRC-32C
//	stable.v1  key: value, CRC-32C
//
// The checksums cover key and value. A StoreLogs or Set is one transaction, so
// one write and sync of the changed pages and one of the meta page. DeleteRange
// takes one per 4096 entries, from the end of the log that they reach, so that a
// crash leaves no hole; the whole log goes at once. The file never shrinks:
// pages that compaction frees are used again.
//
// # Damage
//
// bbolt verifies the checksums of its two meta pages and nothing else. On a
// damaged file it may read where nothing is mapped, run in circles, write over
// live pages, or panic in a goroutine of its own, which ends the process. So
// Open first reads the file itself: every page must be used once or be free,
// every key in order, every value whole. That costs about what reading the log
// costs (20,000 entries of 200 bytes: 13 ms), and finds any flipped bit
// that matters. It also refuses a file with one unreadable meta page, where
// bbolt would go on with the transaction before and forget a vote.
//
// Not found by this are:
//
//   - Pages that the disk never wrote though it said so: an old page is as good
//     as a new one to bbolt, unless its neighbours or entries do not fit it. An
//     old meta page is the store of one transaction ago.
//   - With NoFreelistSync, a page that is longer than it says and reaches into
//     free ones; that ends in a failed write.
//   - Damage to the inner pages after Open. GetLog verifies the entry, and a
//     panic or fault of bbolt becomes a *raftstore.CorruptError and ends all
//     writes; but where pages lead in a circle, the process dies.
//
// # Failures
//
// The first failed write makes all later writes fail with its error until a
// restart: what bbolt remembers no longer is what the file holds, and a second
// fsync may succeed without having written what the first one dropped. Open
// writes the newest meta page once more and syncs it, since the page cache may
// hold it without the disk having it.
//
// Ways out of damage are those of raftstore: move the raft directory away and
// let the server rejoin if others hold the data, else restore a backup.
package boltstore

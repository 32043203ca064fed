package replica

import (
	"context"
	"slices"
	"time"

	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/catalog/state"
	"github.com/curia-mesh/curia/rpc"
	"github.com/curia-mesh/curia/rpc/pause"
	"github.com/curia-mesh/curia/server/api"
)

const (
	// keyBatch is how many keys are asked for, stored or deleted at once, at most: with a pace of eight a second these are
	// about 4000 a second.
	keyBatch = 512
	// keyBytes is about how many bytes of pairs are one entry of the log, however much the source sends.
	keyBytes = 1 << 20
	// busyShare is which part of the time comparing keys may take, and listPace how many bytes of lists of keys the source is
	// asked for in a second on the long run. Rounds rest for that.
	busyShare = 10
	listPace  = 1 << 20
)

// keyCopy copies the keys of one entry. Nothing of it is remembered: keys are compared by what they say, so that it does
// not matter who has led, or which snapshot was restored where.
type keyCopy struct {
	*loop
	keys  *Keys
	entry *catalog.KVReplication
	scope *catalog.KVScope
	stop  func() // nil when the copy is not made

	// The lock of loop guards these.
	written, deleted, kept int
	rest                   time.Duration // before the next round
}

// round is that of a task. The source is told a digest of each span of keys as they are here, and says which are not the
// same there; only those are looked at key by key.
func (c *keyCopy) round(ctx context.Context, from *uint64) error {
	c.mu.Lock()
	rest := c.rest
	c.mu.Unlock()
	pause.For(ctx, rest)
	if err := c.await(ctx, *from); err != nil {
		return err
	}
	began := time.Now()
	spans, n := state.KVSpans(c.keys.store.Read(), c.scope, c.entry.Counts)
	busy := time.Since(began)
	differ, index, err := c.compare(ctx, spans)
	if err != nil {
		return err
	}
	if index < *from {
		c.log.Warn("the source is older than it was: was a snapshot restored there? Its state counts", "kind", c.kind, "source", c.entry.Source, "index", index, "was", *from)
	}
	found := &findings{}
	for _, span := range differ {
		if err := c.settle(ctx, span, found); err != nil {
			return err
		}
	}
	if err := c.drop(ctx, found, n); err != nil {
		return err
	}
	if len(found.refused) > 0 {
		return notStored(found.refused)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	*from, c.at.Index, c.at.Rows, c.kept = index, index, n+found.added-len(found.drop), found.kept
	c.rest = max((busyShare-1)*busy, time.Duration(found.listed)*time.Second/listPace) - roundPause
	return nil
}

// findings are what a round finds out.
type findings struct {
	added   int      // keys that were not here
	drop    []string // keys that are not in the source, and go
	kept    int      // keys that are not as in the source and stay
	listed  int      // about how many bytes of keys the source has listed
	refused []string
}

// await blocks until keys have changed at the source after an index, or for roundWait.
func (c *keyCopy) await(ctx context.Context, after uint64) error {
	if after == 0 {
		return nil
	}
	h := c.keys.cfg.Ask(c.entry.Source)
	h.MinIndex, h.MaxWait = after, roundWait
	ctx, cancel := context.WithTimeout(ctx, roundWait+callTime)
	defer cancel()
	_, _, err := api.KVCompare.Call(ctx, c.keys.cfg.Abroad, h, c.ask(&api.KVCopyQuery{}))
	return c.advised(err)
}

// compare asks the source which spans are not the same there, and returns them: those that are side by side are one. The
// index is that of the keys there.
func (c *keyCopy) compare(ctx context.Context, spans []catalog.KVSpan) (differ []catalog.KVSpan, index uint64, err error) {
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	found, meta, err := api.KVCompare.Call(ctx, c.keys.cfg.Abroad, c.keys.cfg.Ask(c.entry.Source), c.ask(&api.KVCopyQuery{Spans: spans}))
	if err != nil {
		return nil, 0, c.advised(err)
	}
	last := -1
	for _, i := range found.Spans {
		if i <= last || i >= len(spans) {
			return nil, 0, c.senseless("spans that it was not asked for")
		}
		if i == last+1 && len(differ) > 0 {
			differ[len(differ)-1].To = spans[i].To
		} else {
			differ = append(differ, catalog.KVSpan{After: spans[i].After, To: spans[i].To})
		}
		last = i
	}
	return differ, meta.Index, nil
}

// settle makes the keys of a span as they are in the source, but for those that go.
func (c *keyCopy) settle(ctx context.Context, span catalog.KVSpan, found *findings) error {
	for {
		c.step()
		page, err := once(ctx, c, api.KVHashes, &api.KVCopyQuery{Spans: []catalog.KVSpan{span}})
		if err != nil {
			return err
		}
		after := span.After
		for _, key := range page.Keys {
			if key.Key <= after || !span.Has(key.Key) || !c.scope.Covers(key.Key) {
				return c.senseless("keys that it was not asked for")
			}
			after = key.Key
			found.listed += len(key.Key) + len(key.Hash)
		}
		part := span
		if page.More {
			if len(page.Keys) == 0 {
				return c.senseless("a list without an end")
			}
			part.To = after
		}
		if err := c.put(ctx, c.diff(&part, page.Keys, found), found); err != nil {
			return err
		}
		if !page.More {
			return nil
		}
		span.After = part.To
	}
}

// diff compares the keys of a span with those of the source, and returns which are to be copied.
func (c *keyCopy) diff(span *catalog.KVSpan, there []catalog.ReplicaKey, found *findings) (put []string) {
	hashes := make(map[string][]byte, len(there))
	for _, k := range there {
		hashes[k.Key] = k.Hash
	}
	for p := range state.KVWithin(c.keys.store.Read(), c.scope, span) {
		hash, known := hashes[p.Key]
		delete(hashes, p.Key)
		switch counts := c.entry.Counts(p); {
		case known && string(hash) == string(state.KVHash(p)):
		case known && counts:
			put = append(put, p.Key)
		case known || counts && c.entry.Deletions == catalog.DeletionsKeep:
			found.kept++
		case counts:
			found.drop = append(found.drop, p.Key)
		}
	}
	found.added += len(hashes)
	for _, k := range there {
		if _, missing := hashes[k.Key]; missing {
			put = append(put, k.Key)
		}
	}
	return put
}

// put copies keys.
func (c *keyCopy) put(ctx context.Context, keys []string, found *findings) error {
	for len(keys) > 0 {
		c.step()
		asked := keys[:min(len(keys), keyBatch)]
		rows, err := once(ctx, c, api.KVRows, &api.KVCopyQuery{Keys: asked})
		if err != nil {
			return err
		}
		if rows.Rest < 0 || rows.Rest >= len(asked) || len(rows.Pairs) > len(asked) {
			return c.senseless("other rows than it was asked for")
		}
		keys = keys[len(asked)-rows.Rest:]
		for left := rows.Pairs; len(left) > 0; {
			n, size := 0, 0
			for n < len(left) && size < keyBytes {
				if left[n] != nil {
					size += len(left[n].Key) + len(left[n].Value)
				}
				n++
			}
			if err := c.write(ctx, &api.KVCopyWrite{Rows: left[:n]}, found); err != nil {
				return err
			}
			left = left[n:]
		}
	}
	return nil
}

// drop deletes the keys that the source does not have, of n that are here, unless these are too many at once.
func (c *keyCopy) drop(ctx context.Context, found *findings, n int) error {
	if most := c.entry.DeletionsAllowed(n); len(found.drop) > most {
		return catalog.Errorf(catalog.Conflict, "%d of %d keys that are here are not in %s, and none of them is deleted: more than %d at once may mean that %s was made anew, or restored from an old snapshot. Restore them there, or, if they are to go, set MaxDeletions of %s to at least %d",
			len(found.drop), n, c.entry.Source, most, c.entry.Source, c.entry.Head(), len(found.drop))
	}
	for keys := range slices.Chunk(found.drop, keyBatch) {
		c.step()
		if err := c.write(ctx, &api.KVCopyWrite{Drop: keys}, found); err != nil {
			return err
		}
	}
	return nil
}

func (c *keyCopy) write(ctx context.Context, w *api.KVCopyWrite, found *findings) error {
	w.Entry, w.Index = c.entry.Name, c.entry.ModifyIndex
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	done, _, err := api.KVCopyApply.Call(ctx, c.keys.caller, rpc.Header{}, w)
	if err != nil {
		return err
	}
	found.kept, found.refused = found.kept+done.Kept, append(found.refused, done.Refused...)
	c.mu.Lock()
	if stored := len(w.Rows) + len(w.Drop) - len(done.Refused) - done.Kept; len(w.Drop) > 0 {
		c.deleted += stored
	} else {
		c.written += stored
	}
	c.mu.Unlock()
	if !pause.For(ctx, pace) {
		return ctx.Err()
	}
	return nil
}

// ask says of which keys a question is.
func (c *keyCopy) ask(q *api.KVCopyQuery) *api.KVCopyQuery {
	q.From, q.Scope = c.keys.cfg.Datacenter, *c.scope
	return q
}

// once asks the source something that is answered at once.
func once[Rep any](ctx context.Context, c *keyCopy, m rpc.Method[api.KVCopyQuery, Rep], q *api.KVCopyQuery) (*Rep, error) {
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	rep, _, err := m.Call(ctx, c.keys.cfg.Abroad, c.keys.cfg.Ask(c.entry.Source), c.ask(q))
	return rep, c.advised(err)
}

// advised says what to do where the source does not let its keys be read.
func (c *keyCopy) advised(err error) error {
	if err == nil || catalog.CodeOf(err) != catalog.Denied {
		return err
	}
	return catalog.Errorf(catalog.Denied, "datacenter %s does not let its keys be copied: %w: give the servers of %s, as acl.tokens.replication, a token that %s knows, and that may read all keys under %q",
		c.entry.Source, err, c.keys.cfg.Datacenter, c.entry.Source, c.scope.Prefixes)
}

// senseless is the error about a source that answers what it was not asked.
func (c *keyCopy) senseless(what string) error {
	return catalog.Errorf(catalog.Internal, "datacenter %s answers %s: is it of another version?", c.entry.Source, what)
}

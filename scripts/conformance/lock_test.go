package conformance

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"
)

// Acquire and release by hand: one holder, lock indexes, and what the wrong session may not do.
func TestAcquire(t *testing.T) {
	t.Parallel()
	a := start(t, nil)
	kv := a.KV()
	mine, other := session(t, a), session(t, a)
	try := func(do func(*api.KVPair, *api.WriteOptions) (bool, *api.WriteMeta, error), session, value string) bool {
		t.Helper()
		done, _, err := do(&api.KVPair{Key: "lock", Session: session, Value: []byte(value), Flags: 3}, nil)
		must(t, err)
		return done
	}
	equal(t, "acquire, again, by another", []bool{try(kv.Acquire, mine, "1"), try(kv.Acquire, mine, "2"), try(kv.Acquire, other, "3")}, []bool{true, true, false})
	p, _, err := kv.Get("lock", nil)
	must(t, err)
	equal(t, "held", []any{p.Session, p.LockIndex, string(p.Value), p.Flags}, []any{mine, 1, "2", 3})
	equal(t, "release by another, by the holder", []bool{try(kv.Release, other, "4"), try(kv.Release, mine, "5")}, []bool{false, true})
	p, _, err = kv.Get("lock", nil)
	must(t, err)
	equal(t, "released", []any{p.Session, p.LockIndex, string(p.Value)}, []any{"", 1, "5"})
	equal(t, "acquire by another", try(kv.Acquire, other, "6"), true)
	p, _, err = kv.Get("lock", nil)
	must(t, err)
	equal(t, "held by another", []any{p.Session, p.LockIndex}, []any{other, 2})
	_, _, err = kv.Acquire(&api.KVPair{Key: "lock", Session: uuid1}, nil)
	refused(t, "a session that is not there", err, 500)
	_, err = kv.Put(&api.KVPair{Key: "lock", Value: []byte("advisory")}, nil)
	must(t, err)
	p, _, err = kv.Get("lock", nil)
	must(t, err)
	equal(t, "a plain write keeps the lock", []any{p.Session, string(p.Value)}, []any{other, "advisory"})
}

// session makes one without a lock delay.
func session(t *testing.T, a *agent) string {
	t.Helper()
	id, _, err := a.Session().Create(&api.SessionEntry{LockDelay: time.Nanosecond}, nil)
	must(t, err)
	return id
}

// After a session is lost its locks rest for the lock delay; after a release they do not.
func TestLockDelay(t *testing.T) {
	t.Parallel()
	a := start(t, nil)
	const delay = time.Second
	lost, _, err := a.Session().Create(&api.SessionEntry{LockDelay: delay}, nil)
	must(t, err)
	next := session(t, a)
	acquire := func(session string) bool {
		done, _, err := a.KV().Acquire(&api.KVPair{Key: "lock", Session: session}, nil)
		must(t, err)
		return done
	}
	equal(t, "acquired", acquire(lost), true)
	begun := time.Now()
	_, err = a.Session().Destroy(lost, nil)
	must(t, err)
	// The official lock waits and tries again by itself.
	lock, err := a.LockOpts(&api.LockOptions{Key: "lock", Session: next})
	must(t, err)
	if acquire(next) && time.Since(begun) < delay {
		t.Error("acquired during the delay")
	}
	_, err = a.KV().Delete("lock", nil)
	must(t, err)
	_, err = lock.Lock(nil)
	must(t, err)
	if took := time.Since(begun); took < delay {
		t.Errorf("the lock was had %s after its session ended, its delay is %s", took, delay)
	}
}

// The official lock: one holder at a time, the next one follows at once, loss is told.
func TestLock(t *testing.T) {
	t.Parallel()
	a := start(t, nil)
	first, err := a.LockKey("leader")
	must(t, err)
	lost, err := first.Lock(nil)
	must(t, err)
	if _, err := first.Lock(nil); !errors.Is(err, api.ErrLockHeld) {
		t.Errorf("locking twice: %v", err)
	}
	p, _, err := a.KV().Get("leader", nil)
	must(t, err)
	equal(t, "flags of the key", p.Flags, uint64(api.LockFlagValue))

	once, err := a.LockOpts(&api.LockOptions{Key: "leader", LockTryOnce: true, LockWaitTime: 100 * time.Millisecond})
	must(t, err)
	held, err := once.Lock(nil)
	must(t, err)
	if held != nil {
		t.Error("two hold the lock")
	}

	second, err := a.LockOpts(&api.LockOptions{Key: "leader", SessionOpts: &api.SessionEntry{Name: "second", LockDelay: time.Nanosecond, TTL: "15s", Behavior: api.SessionBehaviorRelease}})
	must(t, err)
	type result struct {
		lost <-chan struct{}
		err  error
	}
	followed := make(chan result, 1)
	go func() { // ends when the first lets go
		lost, err := second.Lock(nil)
		followed <- result{lost, err}
	}()
	must(t, first.Unlock())
	<-lost
	got := <-followed
	must(t, got.err)
	if err := first.Unlock(); !errors.Is(err, api.ErrLockNotHeld) {
		t.Errorf("unlocking twice: %v", err)
	}
	if err := first.Destroy(); !errors.Is(err, api.ErrLockInUse) {
		t.Errorf("destroying a lock in use: %v", err)
	}

	// Loss of the session, and of the key.
	sessions, _, err := a.Session().List(nil)
	must(t, err)
	for _, s := range sessions {
		if s.Name == "second" {
			_, err := a.Session().Destroy(s.ID, nil)
			must(t, err)
		}
	}
	waitClosed(t, "the loss of the session to be told", got.lost)
	third, err := a.LockKey("leader")
	must(t, err)
	lost, err = third.Lock(nil)
	must(t, err)
	_, err = a.KV().Delete("leader", nil)
	must(t, err)
	waitClosed(t, "the loss of the key to be told", lost)
	_, err = a.KV().Put(&api.KVPair{Key: "no-lock", Flags: 1}, nil)
	must(t, err)
	wrong, err := a.LockKey("no-lock")
	must(t, err)
	if _, err := wrong.Lock(nil); !errors.Is(err, api.ErrLockConflict) {
		t.Errorf("locking a plain key: %v", err)
	}
	must(t, third.Unlock())
	must(t, third.Destroy())
}

func waitClosed(t *testing.T, what string, c <-chan struct{}) {
	t.Helper()
	select {
	case <-c:
	case <-time.After(patience):
		t.Fatalf("waiting for %s", what)
	}
}

// The official semaphore: as many holders as it has slots, a slot is freed by release and by loss.
func TestSemaphore(t *testing.T) {
	t.Parallel()
	a := start(t, nil)
	type contender struct {
		*api.Semaphore
		session string
		lost    <-chan struct{}
		err     error
	}
	enter := func() *contender {
		t.Helper()
		c := &contender{session: session(t, a)}
		s, err := a.SemaphoreOpts(&api.SemaphoreOptions{Prefix: "slots", Limit: 2, Session: c.session})
		must(t, err)
		c.Semaphore = s
		return c
	}
	acquire := func(c *contender) <-chan *contender {
		done := make(chan *contender, 1)
		go func() { // ends when there is a slot
			c.lost, c.err = c.Acquire(nil)
			done <- c
		}()
		return done
	}
	one, two := <-acquire(enter()), <-acquire(enter())
	must(t, errors.Join(one.err, two.err))
	once, err := a.SemaphoreOpts(&api.SemaphoreOptions{Prefix: "slots", Limit: 2, SemaphoreTryOnce: true, SemaphoreWaitTime: 100 * time.Millisecond})
	must(t, err)
	slot, err := once.Acquire(nil)
	must(t, err)
	if slot != nil {
		t.Error("three hold two slots")
	}
	third := acquire(enter())
	must(t, one.Release())
	waitClosed(t, "the release to be told", one.lost)
	three := <-third
	must(t, three.err)
	fourth := acquire(enter())
	_, err = a.Session().Destroy(two.session, nil)
	must(t, err)
	waitClosed(t, "the loss of the session to be told", two.lost)
	four := <-fourth
	must(t, four.err)

	pair, _, err := a.KV().Get("slots/"+api.DefaultSemaphoreKey, nil)
	must(t, err)
	if pair.Flags != api.SemaphoreFlagValue || !strings.Contains(string(pair.Value), three.session) || !strings.Contains(string(pair.Value), four.session) || strings.Contains(string(pair.Value), two.session) {
		t.Errorf("the semaphore's own key: %d %s", pair.Flags, pair.Value)
	}
	if err := one.Release(); !errors.Is(err, api.ErrSemaphoreNotHeld) {
		t.Errorf("releasing twice: %v", err)
	}
	if err := one.Destroy(); !errors.Is(err, api.ErrSemaphoreInUse) {
		t.Errorf("destroying a semaphore in use: %v", err)
	}
	wrong, err := a.SemaphorePrefix("slots", 3)
	must(t, err)
	if _, err := wrong.Acquire(nil); err == nil {
		t.Error("a contender with another limit was let in")
	}
	must(t, errors.Join(three.Release(), four.Release(), one.Destroy()))
}

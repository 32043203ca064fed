//go:build linux

package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// clockVariable names the file in which a server that was built by withClock finds by how many seconds its clock is off.
const clockVariable = "CHAOS_CLOCK"

// clock is the file of a server.
func (s *server) clock() string { return filepath.Join(s.host.Dir, "clock") }

// setClock has the wall clock of a server be off by so much from now on. Its monotonic clock goes on.
func (s *server) setClock(off time.Duration) error {
	next := s.clock() + ".new"
	if err := os.WriteFile(next, fmt.Appendf(nil, "%d", int64(off.Seconds())), 0o600); err != nil {
		return err
	}
	return os.Rename(next, s.clock())
}

// look is how often such a server reads its file.
const look = 20 * time.Millisecond

// settable is what package time gets: the machine's own clock is everybody's, and a static program reads it from the
// kernel's page, so it cannot be faked from outside.
const settable = `package time

import (
	"sync/atomic"
	"syscall"
)

var off atomic.Int64

func init() {
	name, ok := syscall.Getenv("` + clockVariable + `")
	if !ok {
		return
	}
	go func() {
		for ; ; Sleep(20 * Millisecond) {
			off.Store(offIn(name))
		}
	}()
}

func offIn(name string) (n int64) {
	fd, err := open(name)
	if err != nil {
		return 0
	}
	defer closefd(fd)
	var buf [24]byte
	length, _ := read(fd, buf[:])
	sign := int64(1)
	for _, c := range buf[:max(length, 0)] {
		switch {
		case c == '-':
			sign = -1
		case '0' <= c && c <= '9':
			n = 10*n + int64(c-'0')
		}
	}
	return sign * n
}
`

// withClock builds the product with a clock that can be set, and returns its path.
func withClock(ctx context.Context, root, dir string) (string, error) {
	out, err := exec.CommandContext(ctx, "go", "env", "GOROOT").Output()
	if err != nil {
		return "", fmt.Errorf("go env GOROOT: %w", err)
	}
	std := filepath.Join(strings.TrimSpace(string(out)), "src", "time")
	progress("building servers whose clocks can be set")
	return planted{
		name:  "a clock that can be set",
		edits: []edit{{filepath.Join(std, "time.go"), "	sec, nsec, mono := runtimeNow()\n	if mono == 0 {\n		return Time{uint64(nsec), sec + unixToInternal, Local}\n", "	sec, nsec, mono := runtimeNow()\n	sec += off.Load()\n	if mono == 0 {\n		return Time{uint64(nsec), sec + unixToInternal, Local}\n"}},
		adds:  map[string]string{filepath.Join(std, "settable.go"): settable},
	}.build(ctx, root, dir)
}

// clockJump sets the clock of the leader, and then of a follower, an hour forward and back. Nothing may come of it: no
// election, no lock that is lost though its holder renews its session.
func clockJump(ctx context.Context, r *run) error {
	holder, err := r.holdLock(ctx)
	if err != nil {
		return err
	}
	defer holder.end()
	elections, most := 0, time.Duration(0)
	for range r.rounds {
		leader, err := r.leader(ctx)
		if err != nil {
			return err
		}
		for _, s := range []*server{leader, r.others(leader)[0]} {
			for _, off := range []time.Duration{time.Hour, 0, -time.Hour, 0} {
				gap, p, err := r.during(ctx, func() error {
					err := s.setClock(off)
					pause(ctx, look+lockTTL/2)
					return err
				})
				if err == nil {
					err = r.again(ctx, p)
				}
				if err != nil {
					return err
				}
				most = max(most, gap)
				if now, err := r.leader(ctx); err != nil || now != leader {
					elections++
				}
			}
		}
	}
	r.show("nobody can write after a clock was set an hour forward or back", "%s at most", short(most))
	r.check(elections == 0, "elections for a clock that was set", "0", "%d", elections)
	lost := holder.end()
	r.check(lost == nil, "a lock whose session is renewed every second is kept", "yes", "%s", yesOr(lost))
	return nil
}

// lockTTL is the shortest a session may have.
const lockTTL = 10 * time.Second

// lockHolder keeps a lock by renewing its session.
type lockHolder struct {
	r       *run
	session string
	cancel  context.CancelFunc
	done    chan struct{}
	err     error
}

const clockLock = "/v1/kv/clock/lock"

func (r *run) holdLock(ctx context.Context) (*lockHolder, error) {
	h := &lockHolder{r: r, done: make(chan struct{})}
	var made struct{ ID string }
	if err := r.api.json(ctx, r.servers[0], "PUT", "/v1/session/create", map[string]any{"TTL": lockTTL.String()}, &made); err != nil {
		return nil, err
	}
	h.session = made.ID
	if got, err := r.api.ask(ctx, r.servers[0], "PUT", clockLock+"?acquire="+h.session, nil); err != nil || strings.TrimSpace(string(got)) != "true" {
		return nil, fmt.Errorf("acquire a lock: %s, %w", got, err)
	}
	ctx, h.cancel = context.WithCancel(ctx)
	go h.renew(ctx) // ends with end
	return h, nil
}

func (h *lockHolder) renew(ctx context.Context) {
	defer close(h.done)
	for n := 0; ctx.Err() == nil; n++ {
		s := h.r.servers[n%len(h.r.servers)]
		if a, err := h.r.api.do(ctx, s, "PUT", "/v1/session/renew/"+h.session, nil); err == nil && a.status == http.StatusNotFound {
			h.err = fmt.Errorf("%s does not know the session any more", s.host.Name)
			return
		}
		pause(ctx, time.Second)
	}
}

// end says whether the lock was lost meanwhile.
func (h *lockHolder) end() error {
	h.cancel()
	<-h.done
	if h.err != nil {
		return h.err
	}
	ctx, cancel := context.WithTimeout(context.Background(), wait)
	defer cancel()
	var pairs []struct {
		Session   string
		LockIndex uint64
	}
	if err := h.r.api.json(ctx, h.r.servers[0], "GET", clockLock, nil, &pairs); err != nil {
		return err
	}
	if len(pairs) != 1 || pairs[0].Session != h.session || pairs[0].LockIndex != 1 {
		return fmt.Errorf("the lock reads %+v, and the holder is %s", pairs, h.session)
	}
	return nil
}

//go:build linux

package main

import (
	"context"
	"fmt"
	"slices"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// paced sends requests at a steady rate, whether those before are answered or not, and records how long each took from the
// moment at which it was due, so that one that had to wait for a connection is not told to be quick. It returns how many
// were sent.
func paced(ctx context.Context, e *engine, rate float64, length time.Duration, h *histogram) (int, error) {
	every := time.Duration(float64(time.Second) / rate)
	clock, err := unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC) // epoll's own time-outs are of milliseconds
	if err != nil {
		return 0, fmt.Errorf("timer: %w", err)
	}
	defer unix.Close(clock)
	tick := unix.NsecToTimespec(int64(every))
	start := time.Now()
	if err := unix.TimerfdSettime(clock, 0, &unix.ItimerSpec{Interval: tick, Value: tick}, nil); err != nil {
		return 0, fmt.Errorf("timer: %w", err)
	}
	const ticks = -1 // in place of a connection's index
	if err := syscall.EpollCtl(e.epoll, syscall.EPOLL_CTL_ADD, clock, &syscall.EpollEvent{Events: syscall.EPOLLIN, Fd: ticks}); err != nil {
		return 0, fmt.Errorf("epoll: %w", err)
	}
	defer syscall.EpollCtl(e.epoll, syscall.EPOLL_CTL_DEL, clock, nil)
	var free []int
	for i := range e.conns {
		free = append(free, i)
	}
	due := make([]time.Time, len(e.conns)) // of the request under way
	total := int(rate * length.Seconds())
	sent := 0
	for swept := start; sent < total || e.busy > 0; {
		n, err := syscall.EpollWait(e.epoll, e.events, 100)
		if err != nil && err != syscall.EINTR {
			return sent, fmt.Errorf("epoll: %w", err)
		}
		for _, ev := range e.events[:max(n, 0)] {
			if ev.Fd == ticks {
				syscall.Read(clock, e.buf[:8])
				continue
			}
			i := int(ev.Fd)
			if err := e.handle(i, func(_ *conn, now time.Time) bool {
				h.record(now.Sub(due[i]))
				free = append(free, i)
				return false
			}); err != nil {
				return sent, err
			}
		}
		now := time.Now()
		for sent < total && len(free) > 0 && !now.Before(start.Add(time.Duration(sent+1)*every)) {
			i := free[0] // the one that has rested longest
			free = slices.Delete(free, 0, 1)
			sent++
			due[i] = start.Add(time.Duration(sent) * every)
			if err := e.send(i); err != nil {
				return sent, err
			}
		}
		if now.Sub(swept) > 100*time.Millisecond {
			swept = now
			if err := e.sweep(ctx, now); err != nil {
				return sent, err
			}
		}
	}
	return sent, nil
}

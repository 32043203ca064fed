package agent

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"os/user"
	"strconv"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/curia-mesh/curia/agent/config"
	"github.com/curia-mesh/curia/agent/httpapi"
	"github.com/curia-mesh/curia/agent/logging"
)

// sockets are the ports that clients use, bound before anything runs, so that a taken one ends the start
// with a clear error.
type sockets struct {
	http    []net.Listener
	https   certificates
	dns     []net.Listener
	packets []net.PacketConn
	bound   []config.Listener
	// perClient is how many HTTP connections one address may hold.
	perClient atomic.Int64
}

func listen(cfg *config.Config, shown *tls.Certificate) (*sockets, error) {
	s := &sockets{}
	s.perClient.Store(int64(cfg.Limits.HTTPMaxConnsPerClient))
	for _, l := range cfg.Listeners() {
		if err := s.open(cfg, l, shown); err != nil {
			s.close()
			return nil, err
		}
	}
	return s, nil
}

func (s *sockets) open(cfg *config.Config, l config.Listener, shown *tls.Certificate) error {
	switch l.Name {
	case "http", "https":
		listener, err := listenHTTP(cfg, l)
		if err != nil {
			return socketError(l, err)
		}
		refusal := tooMany
		if l.Name == "https" {
			refusal = "" // it waits for a handshake, which is what the limit spares
		}
		listener = limitPerClient(listener, &s.perClient, refusal)
		if l.Name == "https" {
			if err := s.https.load("https", cfg.TLS.HTTPS, shown); err != nil {
				listener.Close()
				return err
			}
			listener = s.https.listen(listener, cfg.Limits.HTTPSHandshakeTimeout)
		}
		s.http = append(s.http, listener)
	case "dns":
		if l.Network == "udp" {
			conn, err := net.ListenPacket("udp", l.Address)
			if err != nil {
				return socketError(l, err)
			}
			s.packets = append(s.packets, conn)
			break
		}
		listener, err := net.Listen("tcp", l.Address)
		if err != nil {
			return socketError(l, err)
		}
		s.dns = append(s.dns, listener)
	default:
		return nil
	}
	s.bound = append(s.bound, l)
	return nil
}

// listenHTTP also serves over unix sockets, which belong to whom unix_sockets says.
func listenHTTP(cfg *config.Config, l config.Listener) (net.Listener, error) {
	if l.Network != "unix" {
		return net.Listen("tcp", l.Address)
	}
	if info, err := os.Stat(l.Address); err == nil && info.Mode()&os.ModeSocket != 0 {
		if conn, err := net.DialTimeout("unix", l.Address, time.Second); err == nil {
			conn.Close()
			return nil, syscall.EADDRINUSE
		}
		os.Remove(l.Address) // left behind by an agent that was killed
	}
	listener, err := net.Listen("unix", l.Address)
	if err != nil {
		return nil, err
	}
	if err := own(l.Address, cfg.UnixSockets); err != nil {
		listener.Close()
		return nil, err
	}
	return listener, nil
}

// own gives a socket its owner and mode.
func own(path string, to config.UnixSockets) error {
	if to.Mode != "" {
		mode, err := strconv.ParseUint(to.Mode, 8, 32)
		if err != nil {
			return fmt.Errorf("unix_sockets.mode %q: want octal digits such as 0660", to.Mode)
		}
		if err := os.Chmod(path, os.FileMode(mode)); err != nil {
			return err
		}
	}
	uid, gid := -1, -1
	var err error
	if to.User != "" {
		if uid, err = numeric(to.User, func(name string) (string, error) {
			u, err := user.Lookup(name)
			if err != nil {
				return "", err
			}
			return u.Uid, nil
		}); err != nil {
			return fmt.Errorf("unix_sockets.user: %w", err)
		}
	}
	if to.Group != "" {
		if gid, err = numeric(to.Group, func(name string) (string, error) {
			g, err := user.LookupGroup(name)
			if err != nil {
				return "", err
			}
			return g.Gid, nil
		}); err != nil {
			return fmt.Errorf("unix_sockets.group: %w", err)
		}
	}
	return os.Chown(path, uid, gid)
}

func numeric(name string, look func(string) (string, error)) (int, error) {
	if id, err := strconv.Atoi(name); err == nil {
		return id, nil
	}
	id, err := look(name)
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(id)
}

func socketError(l config.Listener, err error) error {
	if errors.Is(err, syscall.EADDRINUSE) {
		way := fmt.Sprintf("set ports.%s (-%s-port) to a free port", l.Name, l.Name)
		if l.Network == "unix" {
			way = fmt.Sprintf("set addresses.%s to another path", l.Name)
		}
		return fmt.Errorf("%s: address %s (%s) is in use by another process: stop it or %s", l.Name, l.Address, l.Network, way)
	}
	return fmt.Errorf("%s: listening on %s (%s): %w", l.Name, l.Address, l.Network, err)
}

func (s *sockets) close() {
	for _, l := range append(s.http, s.dns...) {
		l.Close()
	}
	for _, p := range s.packets {
		p.Close()
	}
}

// httpGrace is how long answers under way may take when the agent ends.
const httpGrace = 2 * time.Second

func (a *Agent) serveHTTP(ctx context.Context) error {
	cfg := a.config.get()
	group, ctx := errgroup.WithContext(ctx)
	handler := a.cores.Handler(a.api.Compressed())
	for _, l := range a.sockets.http {
		group.Go(func() error {
			return httpapi.Serve(ctx, l, handler, cfg.HTTP.MaxHeaderBytes, httpGrace, logging.Named(a.log, "http"))
		})
	}
	group.Go(func() error { <-ctx.Done(); return nil })
	return group.Wait()
}

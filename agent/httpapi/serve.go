package httpapi

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/curia-mesh/curia/rpc/http1"
)

// Limits of a connection to the API.
const (
	headTimeout = 10 * time.Second
	idleTimeout = 2 * time.Minute
	maxHeader   = 64 << 10
	// maxStreams is how many requests one HTTP/2 connection may have at once. Connections are counted for each
	// client, requests are not, and they may all wait; clients open another connection for more.
	maxStreams = 32
)

// Serve serves handler on a listener until ctx ends. What is under way then has grace to finish; blocking
// queries and streams are ended. HTTP/1.1 is package http1's, HTTP/2 that of net/http.
func Serve(ctx context.Context, l net.Listener, handler http.Handler, maxHeaderBytes int, grace time.Duration, log *slog.Logger) error {
	if maxHeaderBytes == 0 {
		maxHeaderBytes = maxHeader
	}
	base, drop := context.WithCancel(context.Background())
	defer drop()
	open, cancel := context.WithCancel(base)
	defer cancel()
	parking := &lot{handler: handler, log: log, open: open}
	base = context.WithValue(base, lotKey{}, parking)
	one := &http1.Server{
		Handler: handler, Base: base, MaxHead: maxHeaderBytes, HeadTime: headTimeout, IdleTime: idleTimeout, Part: bodyPart, PartTime: partTime, Log: log,
	}
	two := &http.Server{
		Handler: timed(handler), ReadHeaderTimeout: headTimeout, IdleTimeout: idleTimeout, MaxHeaderBytes: maxHeaderBytes,
		HTTP2:        &http.HTTP2Config{MaxConcurrentStreams: maxStreams},
		WriteTimeout: partTime, // of what net/http says itself; see paced for answers
		BaseContext:  func(net.Listener) context.Context { return base },
		ErrorLog:     slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	connections := &versions{Listener: l, two: make(chan net.Conn), open: open}
	ended := make(chan struct{})
	go func() { // ends when ctx does, or the listener fails
		defer close(ended)
		select {
		case <-ctx.Done():
		case <-open.Done():
		}
		parking.late = time.Now().Add(grace)
		cancel()
		l.Close()
		late, stop := context.WithTimeout(context.Background(), grace)
		defer stop()
		one.Shutdown(late)
		if two.Shutdown(late) != nil {
			two.Close()
		}
	}()
	go two.Serve(connections.ofTwo()) // ends with its Shutdown
	err := one.Serve(connections)
	if ctx.Err() != nil {
		err = nil
	}
	cancel()
	<-ended
	parking.entered.Wait()
	return err
}

// versions is a listener that gives away the connections that speak HTTP/2, which TLS says.
type versions struct {
	net.Listener
	two  chan net.Conn
	open context.Context
}

// Accept implements net.Listener.
func (v *versions) Accept() (net.Conn, error) {
	for {
		conn, err := v.Listener.Accept()
		if err != nil {
			return nil, err
		}
		t, ok := conn.(*tls.Conn)
		if !ok || t.ConnectionState().NegotiatedProtocol != "h2" {
			return conn, nil
		}
		select {
		case v.two <- conn:
		case <-v.open.Done():
			conn.Close()
		}
	}
}

// ofTwo is the listener of those connections.
func (v *versions) ofTwo() net.Listener { return &versionTwo{v} }

type versionTwo struct{ of *versions }

// Accept implements net.Listener.
func (v *versionTwo) Accept() (net.Conn, error) {
	select {
	case conn := <-v.of.two:
		return conn, nil
	case <-v.of.open.Done():
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (v *versionTwo) Close() error { return nil }

// Addr implements net.Listener.
func (v *versionTwo) Addr() net.Addr { return v.of.Listener.Addr() }

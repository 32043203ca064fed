package command

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os/exec"
	"runtime"
	"time"

	"github.com/curia-mesh/curia/agent/client"
	"github.com/curia-mesh/curia/catalog"
)

const (
	// callbackPath is where the provider sends the browser back to.
	// Source: https://developer.hashicorp.com/consul/docs/secure/acl/auth-method/oidc (AllowedRedirectURIs)
	callbackPath = "/oidc/callback"
	// browserTime is how long somebody may take to log in: then the servers have forgotten that it was begun.
	browserTime = 10 * time.Minute
	// answerTime bounds the wait for the browser to read what came of it.
	answerTime = 5 * time.Second
)

// browserLogin logs in with a browser on this machine: the provider sends it back to listen, which is on loopback, so that
// nobody else is told the code.
func browserLogin(ctx context.Context, c *call, method, listen string, meta map[string]string) (*catalog.Token, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, browserTime, fmt.Errorf("nobody has logged in within %s", browserTime))
	defer cancel()
	port, err := listenLoopback(listen)
	if err != nil {
		return nil, err
	}
	defer port.Close()
	req := &client.OIDCRequest{AuthMethod: method, RedirectURI: "http://" + listen + callbackPath, ClientNonce: newSecret(), Meta: meta}
	address, err := c.api.ACL().OIDCAuthURL(ctx, req, c.q)
	if err != nil {
		return nil, err
	}
	to, err := url.Parse(address)
	if err != nil || to.Query().Get("state") == "" {
		return nil, errors.New("the servers named no address to send the browser to")
	}
	back := &callback{state: to.Query().Get("state"), codes: make(chan string), outcome: make(chan error)}
	server := &http.Server{Handler: back, ReadHeaderTimeout: 10 * time.Second, MaxHeaderBytes: 32 << 10}
	go server.Serve(port) // ends with Close
	defer server.Close()
	c.note("Log in with the browser that opens, or open it at:\n\n    %s\n", to)
	openBrowser(to.String())
	var token *catalog.Token
	select {
	case code := <-back.codes:
		token, err = c.api.ACL().OIDCCallback(ctx, &client.OIDCRequest{AuthMethod: method, ClientNonce: req.ClientNonce, State: back.state, Code: code}, c.q)
		back.outcome <- err
	case err = <-back.outcome:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	late, done := context.WithTimeout(context.WithoutCancel(ctx), answerTime)
	defer done()
	server.Shutdown(late) // which waits until the browser has its answer; without one the login counts too
	return token, err
}

// listenLoopback listens on an address that only this machine reaches.
func listenLoopback(address string) (net.Listener, error) {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, usage("-oidc-callback-listen-addr %q: want host:port", address)
	}
	if ip, err := netip.ParseAddr(host); host != "localhost" && (err != nil || !ip.IsLoopback()) {
		return nil, usage("-oidc-callback-listen-addr %q: want localhost or an address of loopback: others must not see the code", address)
	}
	return net.Listen("tcp", address)
}

// callback takes the browser that comes back from the provider.
type callback struct {
	state   string
	codes   chan string // one, of who shows the state
	outcome chan error  // what came of it; or, from the handler, why there is no code
}

// ServeHTTP implements http.Handler.
func (b *callback) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Type", "text/plain; charset=utf-8")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-store")
	h.Set("Referrer-Policy", "no-referrer")
	q := r.URL.Query()
	switch {
	case r.Method != http.MethodGet || r.URL.Path != callbackPath:
		http.Error(w, "nothing is here", http.StatusNotFound)
	case subtle.ConstantTimeCompare([]byte(q.Get("state")), []byte(b.state)) != 1:
		http.Error(w, "this is of another login: begin anew in the terminal", http.StatusBadRequest)
	case q.Get("error") != "":
		http.Error(w, "the provider has refused the login: the terminal says why", http.StatusForbidden)
		b.tell(r, fmt.Errorf("the provider has refused the login: %.200q %.500q", q.Get("error"), q.Get("error_description")))
	case q.Get("code") == "":
		http.Error(w, "the provider has sent no code", http.StatusBadRequest)
	default:
		b.exchange(w, r, q.Get("code"))
	}
}

func (b *callback) tell(r *http.Request, err error) {
	select {
	case b.outcome <- err:
	case <-r.Context().Done():
	}
}

// exchange hands over the code, and tells the browser what came of it.
func (b *callback) exchange(w http.ResponseWriter, r *http.Request, code string) {
	select {
	case b.codes <- code:
	case <-r.Context().Done():
		return
	}
	select {
	case err := <-b.outcome:
		if err != nil {
			http.Error(w, "the login has failed: the terminal says why", http.StatusForbidden)
			return
		}
		fmt.Fprintln(w, "You are logged in. This window can be closed.")
	case <-r.Context().Done():
	}
}

// openBrowser shows an address, where there is something that can.
func openBrowser(address string) {
	name, args := "xdg-open", []string{address}
	switch runtime.GOOS {
	case "darwin":
		name = "open"
	case "windows":
		name, args = "rundll32", []string{"url.dll,FileProtocolHandler", address}
	}
	if path, err := exec.LookPath(name); err == nil {
		if cmd := exec.Command(path, args...); cmd.Start() == nil {
			go cmd.Wait() // ends with it; who has no browser has the address
		}
	}
}

package command

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"syscall"

	"github.com/curia-mesh/curia/agent/client"
)

// exit is an error with an exit code of its own; without err the command has said what there is to say.
type exit struct {
	code  int
	err   error
	usage bool
}

func (e *exit) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit code %d", e.code)
	}
	return e.err.Error()
}

func (e *exit) Unwrap() error { return e.err }

// usage is an error about the command line itself.
func usage(format string, args ...any) error {
	return &exit{code: 1, err: fmt.Errorf(format, args...), usage: true}
}

// advise says what can be done about err, if that is known.
func advise(err error) string {
	var authority x509.UnknownAuthorityError
	var host x509.HostnameError
	var record tls.RecordHeaderError
	var lookup *net.DNSError
	text := err.Error()
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return "No agent listens there: start one, or name another address with -http-addr or CURIA_HTTP_ADDR"
	case errors.Is(err, os.ErrNotExist) && strings.Contains(text, "unix://"):
		return "There is no such socket: start the agent, or name another address with -http-addr or CURIA_HTTP_ADDR"
	case errors.As(err, &authority):
		return "Name the CA that signed the agent's certificate with -ca-file or CURIA_CACERT"
	case errors.As(err, &host):
		return "Name the server that the certificate is for with -tls-server-name or CURIA_TLS_SERVER_NAME"
	case errors.As(err, &lookup), strings.Contains(text, "invalid port"):
		return "Name the agent's address with -http-addr or CURIA_HTTP_ADDR"
	case errors.Is(err, syscall.ECONNRESET):
		return "What listens there may be no HTTP API: look at the port of the address"
	case errors.As(err, &record), strings.Contains(text, "server gave HTTP response to HTTPS client"):
		return "The address does not speak HTTPS: use http:// or the agent's HTTPS port"
	case strings.Contains(text, "HTTP request to an HTTPS server"), strings.Contains(text, "malformed HTTP response"):
		return "The address does not speak plain HTTP: use https:// or the agent's HTTP port"
	case client.IsStatus(err, http.StatusForbidden):
		return "Give a token that may do this with -token, -token-file or CURIA_HTTP_TOKEN"
	case client.IsStatus(err, http.StatusTooManyRequests):
		return "The agent limits requests: try again later"
	}
	return ""
}

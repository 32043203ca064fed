package check

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"

	"github.com/curia-mesh/curia/catalog"
)

// The protocol of gRPC health checks. Source: https://github.com/grpc/grpc/blob/master/doc/health-checking.md,
// https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md
const (
	grpcPath      = "/grpc.health.v1.Health/Check"
	grpcMaxAnswer = 4 << 10 // bytes; an answer is of 7
)

var grpcStates = []string{"UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN"}

// newGRPC makes a check that asks a gRPC server for its health, or that of the service behind the slash.
func newGRPC(r *Runner) (probe, error) {
	hostport, service, _ := strings.Cut(r.def.GRPC, "/")
	target, err := address("grpc", hostport)
	if err != nil {
		return nil, err
	}
	scheme := "http"
	protocols := new(http.Protocols)
	transport := &http.Transport{
		Protocols: protocols, DisableKeepAlives: true, DisableCompression: true, MaxResponseHeaderBytes: maxHeaderBytes,
		DialContext: r.deps.Dial,
		DialTLSContext: func(ctx context.Context, _, address string) (net.Conn, error) {
			conn, err := r.dialTLS(ctx, address, "h2")
			if err == nil && conn.ConnectionState().NegotiatedProtocol != "h2" {
				conn.Close()
				return nil, errors.New("the target does not speak HTTP/2")
			}
			return conn, err
		},
	}
	if r.def.GRPCUseTLS {
		scheme = "https"
		protocols.SetHTTP2(true)
	} else {
		protocols.SetUnencryptedHTTP2(true)
	}
	r.closing = append(r.closing, transport.CloseIdleConnections)
	asked := (&url.URL{Scheme: scheme, Host: target, Path: grpcPath}).String()
	message := grpcFrame(healthRequest(service))

	return func(ctx context.Context) (catalog.Status, string) {
		state, err := askHealth(ctx, transport, asked, message)
		switch {
		case err != nil:
			return catalog.Critical, fmt.Sprintf("gRPC check %s: %v", r.def.GRPC, err)
		case state != "SERVING":
			return catalog.Critical, fmt.Sprintf("gRPC check %s: failing with status %s", r.def.GRPC, state)
		}
		return catalog.Passing, "gRPC check " + r.def.GRPC + ": success"
	}, nil
}

// askHealth makes the call and returns the state that the server names.
func askHealth(ctx context.Context, transport http.RoundTripper, target string, message []byte) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, target, bytes.NewReader(message))
	if err != nil {
		return "", err
	}
	req.Header = http.Header{"Content-Type": {"application/grpc"}, "Te": {"trailers"}, "User-Agent": {UserAgent}}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return "", fmt.Errorf("HTTP status %s from what should be a gRPC server", resp.Status)
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, grpcMaxAnswer+1))
	if err != nil {
		return "", err
	}
	if len(body) > grpcMaxAnswer {
		return "", fmt.Errorf("the answer is longer than %d bytes", grpcMaxAnswer)
	}
	end := resp.Trailer
	if end.Get("Grpc-Status") == "" {
		end = resp.Header // an answer without a body has its trailers here
	}
	if code := end.Get("Grpc-Status"); code != "0" {
		text, err := url.PathUnescape(end.Get("Grpc-Message"))
		if err != nil {
			text = end.Get("Grpc-Message")
		}
		return "", fmt.Errorf("gRPC status %q: %s", code, text)
	}
	return healthAnswer(body)
}

// healthRequest encodes HealthCheckRequest{service = 1}.
func healthRequest(service string) []byte {
	if service == "" {
		return nil
	}
	message := binary.AppendUvarint([]byte{1<<3 | 2}, uint64(len(service)))
	return append(message, service...)
}

// grpcFrame puts the five bytes before message that tell its length.
func grpcFrame(message []byte) []byte {
	frame := binary.BigEndian.AppendUint32([]byte{0}, uint32(len(message)))
	return append(frame, message...)
}

// healthAnswer reads one frame with HealthCheckResponse{status = 1}; fields it does not know are skipped.
func healthAnswer(body []byte) (string, error) {
	if len(body) < 5 || body[0] != 0 || uint64(binary.BigEndian.Uint32(body[1:])) != uint64(len(body)-5) {
		return "", errors.New("the answer is not one uncompressed gRPC message")
	}
	state := uint64(0)
	for rest := body[5:]; len(rest) > 0; {
		tag, n := binary.Uvarint(rest)
		if n <= 0 {
			return "", errBrokenAnswer
		}
		rest = rest[n:]
		var size uint64 // of the value
		switch tag & 7 {
		case 0: // varint
			value, n := binary.Uvarint(rest)
			if n <= 0 {
				return "", errBrokenAnswer
			}
			if tag>>3 == 1 {
				state = value
			}
			size = uint64(n)
		case 1: // 64 bits
			size = 8
		case 2: // bytes
			length, n := binary.Uvarint(rest)
			if n <= 0 {
				return "", errBrokenAnswer
			}
			rest, size = rest[n:], length
		case 5: // 32 bits
			size = 4
		default:
			return "", errBrokenAnswer
		}
		if size > uint64(len(rest)) {
			return "", errBrokenAnswer
		}
		rest = rest[size:]
	}
	if state >= uint64(len(grpcStates)) {
		return fmt.Sprint(state), nil
	}
	return grpcStates[state], nil
}

var errBrokenAnswer = errors.New("the answer is not a HealthCheckResponse")

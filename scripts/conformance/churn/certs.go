//go:build linux

package main

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"sync"
	"time"
)

// proofs are the certificates by which callers and called proved who they are, and what came over connections with them (P4).
type proofs struct {
	ttl time.Duration // that the CA gives them

	mu      sync.Mutex
	current *tls.Certificate             // web's, as its agent has it
	known   map[string]*x509.Certificate // by the hash of the certificate
	wrong   []string                     // what is wrong with some
	shown   map[string]*shown
}

// shown is what came over connections for which a certificate was shown.
type shown struct {
	n    int
	last time.Time
}

func newProofs(ttl time.Duration) *proofs {
	return &proofs{ttl: ttl, known: map[string]*x509.Certificate{}, shown: map[string]*shown{}}
}

func hashOf(cert *x509.Certificate) string {
	sum := sha256.Sum256(cert.Raw)
	return hex.EncodeToString(sum[:])
}

// learn checks a certificate that is new. It began to live no later than now.
func (p *proofs) learn(cert *x509.Certificate, now time.Time) {
	hash := hashOf(cert)
	if p.known[hash] != nil {
		return
	}
	p.known[hash] = cert
	if len(cert.URIs) != 1 {
		p.wrong = append(p.wrong, fmt.Sprintf("%s has %d URIs", hash, len(cert.URIs)))
	}
	if left := cert.NotAfter.Sub(now); left > p.ttl+time.Second {
		p.wrong = append(p.wrong, fmt.Sprintf("%s lives for %s more", hash, left))
	}
}

// used notes that a request was served over a connection for which a certificate was shown.
func (p *proofs) used(hash string, now time.Time) {
	s := p.shown[hash]
	if s == nil {
		s = &shown{}
		p.shown[hash] = s
	}
	s.n++
	s.last = now
}

var hashField = regexp.MustCompile(`Hash=([0-9a-f]{64})`)

// witness has an application note by which certificates it is called.
func (p *proofs) witness(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		now := time.Now()
		found := hashField.FindStringSubmatch(r.Header.Get("X-Forwarded-Client-Cert"))
		p.mu.Lock()
		if found == nil {
			p.wrong = append(p.wrong, "a request came without a certificate")
		} else {
			p.used(found[1], now)
		}
		p.mu.Unlock()
		h.ServeHTTP(w, r)
	})
}

// follow learns the certificates of web, until ctx ends. The agent may be away.
func (p *proofs) follow(ctx context.Context, m *mesh) {
	for index := uint64(0); ctx.Err() == nil; {
		var leaf struct {
			CertPEM, PrivateKeyPEM string
			ModifyIndex            uint64
		}
		if m.get(ctx, m.client, fmt.Sprintf("/v1/agent/connect/ca/leaf/web?wait=10s&index=%d", index), &leaf) != nil {
			pause(ctx, 50*time.Millisecond)
			continue
		}
		index = leaf.ModifyIndex
		pair, err := tls.X509KeyPair([]byte(leaf.CertPEM), []byte(leaf.PrivateKeyPEM))
		p.mu.Lock()
		if err != nil {
			p.wrong = append(p.wrong, err.Error())
		} else {
			p.current = &pair
			p.learn(pair.Leaf, time.Now())
		}
		p.mu.Unlock()
	}
}

// some fails until web has a certificate.
func (p *proofs) some() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.current == nil {
		return errors.New("it has none")
	}
	return nil
}

// direct is the way of a client that is in the mesh without a sidecar: it calls another's itself, and looks at each answer whether
// what was shown for its connection still holds.
func (p *proofs) direct() http.RoundTripper {
	return looking{&http.Transport{ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{
		InsecureSkipVerify: true, // sidecars verify one another; here it is only looked at
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			p.mu.Lock()
			defer p.mu.Unlock()
			return p.current, nil
		},
	}}, p}
}

// plainly is the same over HTTP/1.1.
func (p *proofs) plainly() http.RoundTripper {
	l := p.direct().(looking)
	l.ForceAttemptHTTP2 = false
	return l
}

// looking notes what the called one showed.
type looking struct {
	*http.Transport
	*proofs
}

// RoundTrip implements http.RoundTripper.
func (l looking) RoundTrip(r *http.Request) (*http.Response, error) {
	w, err := l.Transport.RoundTrip(r)
	if err == nil && w.TLS != nil {
		now := time.Now()
		l.mu.Lock()
		defer l.mu.Unlock()
		l.learn(w.TLS.PeerCertificates[0], now)
		l.used(hashOf(w.TLS.PeerCertificates[0]), now)
	}
	return w, err
}

// report says what was seen.
func (p *proofs) report(r *results) {
	p.mu.Lock()
	defer p.mu.Unlock()
	total, late, unknown, lately := 0, 0, 0, ""
	for hash, s := range p.shown {
		total += s.n
		switch cert := p.known[hash]; {
		case cert == nil:
			unknown++
		case s.last.After(cert.NotAfter):
			late++
			lately = fmt.Sprintf(", one %s after it", short(s.last.Sub(cert.NotAfter)))
		}
	}
	why := ""
	if len(p.wrong) > 0 {
		why = ": " + p.wrong[0]
	}
	r.check(len(p.wrong) == 0 && len(p.known) > 0, fmt.Sprint("P4 leaf certificates have one URI and end within ", p.ttl), "all", "%d of %d were seen in use%s", len(p.shown), len(p.known), why)
	r.check(late == 0 && unknown == 0 && total > 0, "P4 certificates, of callers and called, that requests came with after their end", "0", "%d%s, of %d requests; %d unknown", late, lately, total, unknown)
}

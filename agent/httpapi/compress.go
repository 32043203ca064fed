package httpapi

import (
	"compress/gzip"
	"net/http"
	"strings"
	"sync"
)

// minCompressed is the size from which compressing an answer pays.
const minCompressed = 1400

var gzips = sync.Pool{New: func() any { w, _ := gzip.NewWriterLevel(nil, gzip.BestSpeed); return w }}

// compressed serves a handler with its longer answers compressed for clients that take gzip.
func compressed(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		accept := r.Header.Get("Accept-Encoding")
		if accept == "" || !takesGzip(accept) {
			next.ServeHTTP(w, r)
			return
		}
		w.Header().Add("Vary", "Accept-Encoding")
		g := &gzipWriter{ResponseWriter: w}
		next.ServeHTTP(g, r)
		g.close()
	})
}

func takesGzip(accept string) bool {
	for part := range strings.SplitSeq(accept, ",") {
		name, q, _ := strings.Cut(strings.TrimSpace(part), ";")
		if (name == "gzip" || name == "*") && strings.ReplaceAll(q, " ", "") != "q=0" {
			return true
		}
	}
	return false
}

// gzipWriter decides with the first write whether the answer is compressed: handlers write short ones
// whole, and streams flush.
type gzipWriter struct {
	http.ResponseWriter
	status int
	gzip   *gzip.Writer
	begun  bool
}

func (g *gzipWriter) WriteHeader(status int) {
	if g.status == 0 {
		g.status = status
	}
}

func (g *gzipWriter) Write(b []byte) (int, error) {
	if !g.begun {
		g.begin(len(b) >= minCompressed)
	}
	if g.gzip != nil {
		return g.gzip.Write(b)
	}
	return g.ResponseWriter.Write(b)
}

func (g *gzipWriter) begin(compress bool) {
	g.begun = true
	h := g.Header()
	if compress && h.Get("Content-Encoding") == "" && h.Get("Content-Type") != "" {
		h.Set("Content-Encoding", "gzip")
		h.Del("Content-Length")
		g.gzip = gzips.Get().(*gzip.Writer)
		g.gzip.Reset(g.ResponseWriter)
	}
	if g.status != 0 {
		g.ResponseWriter.WriteHeader(g.status)
	}
}

// Flush implements http.Flusher: what is streamed is not compressed.
func (g *gzipWriter) Flush() {
	if !g.begun {
		g.begin(false)
	}
	if g.gzip != nil {
		g.gzip.Flush()
	}
	if f, ok := g.ResponseWriter.(http.Flusher); ok {
		f.Flush()
	}
}

// Unwrap lets http.ResponseController reach the connection.
func (g *gzipWriter) Unwrap() http.ResponseWriter { return g.ResponseWriter }

func (g *gzipWriter) close() {
	if !g.begun {
		g.begin(false)
	}
	if g.gzip != nil {
		g.gzip.Close()
		gzips.Put(g.gzip)
	}
}

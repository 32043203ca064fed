package watch

import (
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/curia-mesh/curia/catalog"
)

// Policy says how old an answer from memory may be. The zero value takes one that is kept up to date, and
// while the servers cannot be reached any that the cache still has.
// Source: https://developer.hashicorp.com/consul/api-docs/features/caching
type Policy struct {
	// MaxAge, when above 0, bounds the age of an answer from memory; an older one is asked for anew.
	MaxAge time.Duration
	// Revalidate asks the servers in any case.
	Revalidate bool
	// StaleIfError bounds the age of an answer that is served because asking anew failed. With neither
	// MaxAge nor Revalidate it means nothing.
	StaleIfError time.Duration
	// View tells apart readers who may see different things, beside their tokens: what a token may do changes.
	View string
}

// strict policies take an old answer after a failure only as far as StaleIfError goes.
func (p Policy) strict() bool { return p.Revalidate || p.MaxAge > 0 }

// ParsePolicy reads the lines of a request's Cache-Control header. Directives are parted by commas or
// blanks: the documented examples have blanks. Unknown ones mean nothing; a bad number has code invalid.
// Source: RFC 9111 section 5.2.1, RFC 5861 section 4.
func ParsePolicy(lines ...string) (Policy, error) {
	var p Policy
	for _, line := range lines {
		for directive := range strings.FieldsFuncSeq(line, func(r rune) bool { return r == ',' || r == ' ' || r == '\t' }) {
			name, value, _ := strings.Cut(directive, "=")
			var err error
			switch strings.ToLower(name) {
			case "must-revalidate", "no-cache":
				p.Revalidate = true
			case "max-age":
				p.MaxAge, err = seconds(name, value)
				p.Revalidate = p.Revalidate || p.MaxAge == 0
			case "stale-if-error":
				p.StaleIfError, err = seconds(name, value)
			}
			if err != nil {
				return Policy{}, err
			}
		}
	}
	return p, nil
}

func seconds(name, value string) (time.Duration, error) {
	n, err := strconv.ParseUint(strings.Trim(value, `"`), 10, 64)
	switch {
	case err == nil && n <= math.MaxInt64/uint64(time.Second):
		return time.Duration(n) * time.Second, nil
	case err == nil || strings.Contains(err.Error(), strconv.ErrRange.Error()):
		return math.MaxInt64, nil // RFC 9111 section 1.2.2: what is too large is forever
	}
	return 0, catalog.Errorf(catalog.Invalid, "header Cache-Control: invalid %s %.40q: want a number of seconds", name, value)
}

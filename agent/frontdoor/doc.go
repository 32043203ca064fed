// Package frontdoor meets agents as the world does: it holds tests only.
package frontdoor

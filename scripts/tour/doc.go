// Package tour replays the pages of the documentation: it holds tests only.
package tour

// Package fleet meets client agents and their servers as the world does: it holds tests only.
package fleet

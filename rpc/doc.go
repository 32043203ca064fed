// Package rpc carries typed requests, replies and streams between agents: msgpack frames over one
// mutually authenticated TCP port.
package rpc

// Package httpapi is the HTTP API: one route table, one decoder, one mapper of errors.
//
// A handler is a free function that gets a call and returns an error; what calls have in common
// (methods, parameters, consistency, indexes, tokens, formatting, compression, limits) is done around it.
package httpapi

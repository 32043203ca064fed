// Package demo runs datacenters of real agents on this machine, with services and traffic, and shows what becomes of the
// traffic when parts of it fail.
package demo

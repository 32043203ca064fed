// Package connect is identity in the mesh: the SPIFFE names of services and agents, the requests for
// certificates and the certificates that carry them, and how each side of a connection checks the other.
package connect

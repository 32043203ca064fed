// Package sidecar runs the proxy of a node: it learns what the sidecars that are registered here have to know, hands it
// over as one snapshot after the other, and carries each out with connect/proxy.
//
// There are two halves, with a Snapshot between them that can be written down. Manager is the agent's: it follows the
// catalog for each sidecar, and only what the sidecar declares. Runner is the proxy's: in the agent, in a process of its
// own, or on its own beside a foreign agent. What a Runner has it keeps, and goes on with while nobody tells it anything.
package sidecar

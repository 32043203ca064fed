// Package local keeps what is registered on this node and brings the catalog in line with it.
//
// The agent is the authority on its node. A change is put into memory at once, then written to disk and
// sent to the catalog side by side; whoever made it waits for both. What many clients change while a
// write or a call is under way shares the next one, so the cost of a registration does not depend on how
// much is registered. From time to time the whole is compared with the catalog and differences are mended.
//
// On disk the registrations are one journal of JSON lines instead of one file each: a record costs one
// write and a share of one fdatasync, a file of its own several times that.
//
// Source: https://developer.hashicorp.com/consul/docs/concept/consistency (anti-entropy)
package local

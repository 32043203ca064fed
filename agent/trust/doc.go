// Package trust is what this agent shows to others and whom it believes: certificates, keys and the certificates of
// authorities, read from files, and replaced while the agent runs.
package trust

// Package client is the typed Go client of an agent's HTTP API, /v1.
//
// Make a Client from a Config, usually FromEnv's, and call its groups of methods: KV, Catalog, Agent and so
// on. Every call takes a context, is bounded in time and in bytes, and fails with an *Error when the agent
// answers with anything but success.
//
// Source: https://developer.hashicorp.com/consul/api-docs
package client

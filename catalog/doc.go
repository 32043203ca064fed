// Package catalog holds the nouns of the product and their rules: what a node, service, check, key or
// session is, when it is valid, and when two of them are equal.
package catalog

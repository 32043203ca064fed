// Package enroll gets an agent's own certificate from the servers, and with it settings, keeps them, and renews the
// certificate before it ends.
package enroll

// Package check runs one health check and reports its results.
//
// A [Runner] is one check: it probes (or, for ttl and alias, listens), counts results against the
// thresholds of its definition and tells a [Reporter]. A [Set] owns the runners of one agent.
//
// Where Consul and this package differ:
//   - An http check follows a redirect only to the scheme, host and port it asked, never elsewhere
//     (CVE-2022-29153); the answer of any other redirect is the result, so the check is critical.
//   - An http check does not go through a proxy named in the environment.
//   - A script that hangs is killed with all of its process group; one that cannot be killed (a dead
//     disk) is reported critical instead of keeping its last state.
//   - os_service asks systemd on Linux.
//   - The first run of a check is within a second, the second one anywhere within the interval.
package check

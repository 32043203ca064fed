// Package logging writes the agent's log lines: to the terminal, a rotated file, syslog and live monitors.
//
// Everything in the process logs through log/slog. An [Output] is the slog.Handler behind those loggers; it writes
// lines in the look that Consul users know:
//
//	2026-11-21T03:35:30.123Z [INFO]  agent.server: cluster leadership acquired: dc=dc1 node=one
//
// or, with Config.JSON, one object a line with the keys @level, @message, @module and @timestamp. One record is one
// line: control characters in messages and values are escaped, so that input from outside can forge neither a line
// nor a terminal sequence. [Named] gives a subsystem its name, [HCLog] and [Standard] carry the lines of libraries
// that log otherwise, and [Secret] holds what must never be printed.
package logging

// Package watch keeps views: one materialised result of one query each, shared by all its readers on this
// agent. The handlers of the configuration's watches are such readers.
//
// On a server agent the servers' own answers know whether they are stale, and they are shared already: a
// view of those is only where the answer is found again. Answers that came over a network cannot know. What
// is asked for again, or waited for, is then kept up to date by one goroutine with one blocking query, and
// readers get an immutable value from memory. While the servers cannot be reached the last value is served,
// with its age and the reason.
package watch

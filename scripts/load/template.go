//go:build linux

package main

import "bytes"

// template is a request that is built once and sent many times with other numbers in it: each run of four '#'
// or more is the place of a number of as many digits, so the length of the request never changes.
type template struct {
	text  []byte
	marks []mark
	seq   int
}

// mark is the place of one number and what goes there, by the number of requests sent before.
type mark struct {
	from, to int
	number   func(seq int) int
}

// newTemplate takes one function per run of '#', in their order.
func newTemplate(text string, numbers ...func(seq int) int) *template {
	t := &template{text: []byte(text)}
	at := 0
	for _, number := range numbers {
		i := bytes.Index(t.text[at:], []byte("####"))
		if i < 0 {
			break
		}
		from := at + i
		for at = from; at < len(t.text) && t.text[at] == '#'; at++ {
		}
		t.marks = append(t.marks, mark{from, at, number})
	}
	return t
}

// fill writes the next numbers into the text and returns it; it holds until the next call.
func (t *template) fill() []byte {
	for _, m := range t.marks {
		n := m.number(t.seq)
		for i := m.to - 1; i >= m.from; i-- {
			t.text[i] = byte('0' + n%10)
			n /= 10
		}
	}
	t.seq++
	return t.text
}

// among counts through the numbers below n in steps of the connections there are, so that no two
// connections ask for the same at the same time.
func among(n, connection, connections int) func(seq int) int {
	return func(seq int) int { return (seq*connections + connection) % n }
}

// changing gives another port for each request, so that each registration is a change.
func changing(seq int) int { return 10_000 + seq%50_000 }

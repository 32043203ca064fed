package decode

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
)

// errSyntax stands for JSON that is malformed; encoding/json finds the words for it.
var errSyntax = errors.New("invalid JSON")

// walker goes through a document once, beside the plan of its target. What has to change is written to
// out; as long as nothing has, out stays nil.
type walker struct {
	*options
	in       []byte
	pos      int
	out      []byte
	copied   int // in[:copied] is in out
	depth    int
	any      plan     // of what has no shape, see others
	keys     [][]byte // of the objects around, the outermost one's first
	path     string   // of the fields' own names; kept only for seen
	diagnose bool     // decode every single value, to find the one that does not fit
}

// others is the plan of an object or list of which nothing is known.
func (w *walker) others() *plan {
	w.any.elem = &w.any
	return &w.any
}

func (w *walker) document(p *plan) error {
	var room [2 * fewNames][]byte
	w.keys = room[:0]
	if err := w.value(p); err != nil {
		return err
	}
	if w.space(); w.pos < len(w.in) {
		return errSyntax
	}
	return nil
}

func (w *walker) result() []byte {
	if w.out == nil {
		return w.in
	}
	return append(w.out, w.in[w.copied:]...)
}

// replace writes text for in[from:to]; calls come in the order of the document.
func (w *walker) replace(from, to int, text string) {
	if w.out == nil {
		w.out = make([]byte, 0, len(w.in)+64)
	}
	w.out = append(append(w.out, w.in[w.copied:from]...), text...)
	w.copied = to
}

func (w *walker) space() {
	for w.pos < len(w.in) {
		switch w.in[w.pos] {
		case ' ', '\t', '\n', '\r':
			w.pos++
		default:
			return
		}
	}
}

// next returns the next byte that is not space, 0 at the end.
func (w *walker) next() byte {
	if w.space(); w.pos < len(w.in) {
		return w.in[w.pos]
	}
	return 0
}

func (w *walker) value(p *plan) error {
	c := w.next()
	if w.file && p.kind == kindList && c != '[' && c != 'n' {
		return w.single(p)
	}
	start := w.pos
	if w.weak && w.convert(p, c) {
		return nil
	}
	var err error
	switch {
	case c == 'n':
		return w.literal("null")
	case p.kind == kindAny || p.kind == kindOwn:
		err = w.anything(c)
	case p.kind == kindStruct && c == '{', p.kind == kindMap && c == '{':
		return w.object(p)
	case p.kind == kindList && c == '[':
		return w.list(p)
	case (p.kind == kindString || p.kind == kindBytes) && c == '"':
		_, err = w.text()
	case p.kind == kindBool && c == 't':
		err = w.literal("true")
	case p.kind == kindBool && c == 'f':
		err = w.literal("false")
	case p.kind == kindInt && number(c):
		err = w.integer()
	case p.kind == kindFloat && number(c):
		w.number()
	case p.kind == kindSpan || p.kind == kindDuration:
		err = w.duration(p, c)
	default:
		return w.mismatch(p, c)
	}
	if err == nil && w.diagnose {
		err = w.fits(p, start)
	}
	return err
}

// enter steps over the bracket that opens an object or list.
func (w *walker) enter() error {
	if w.depth++; w.depth > MaxDepth {
		return &Error{Msg: fmt.Sprintf("nested more than %d levels deep", MaxDepth), offset: w.pos}
	}
	w.pos++
	return nil
}

// anything walks over a value of any type.
func (w *walker) anything(c byte) error {
	switch {
	case c == '{':
		return w.object(w.others())
	case c == '[':
		return w.list(w.others())
	case c == '"':
		_, err := w.text()
		return err
	case c == 't':
		return w.literal("true")
	case c == 'f':
		return w.literal("false")
	case number(c):
		w.number()
		return nil
	}
	return errSyntax
}

// key walks over the next key of an object and its colon. more is false at the end of the object.
func (w *walker) key(first bool) (key []byte, start, end int, more bool, err error) {
	c := w.next()
	if c == '}' {
		w.pos++
		w.depth--
		return nil, 0, 0, false, nil
	}
	if !first {
		if c != ',' {
			return nil, 0, 0, false, errSyntax
		}
		w.pos++
		c = w.next()
	}
	if c != '"' {
		return nil, 0, 0, false, errSyntax
	}
	start = w.pos
	if key, err = w.text(); err != nil {
		return nil, 0, 0, false, err
	}
	end = w.pos
	if w.next() != ':' {
		return nil, 0, 0, false, errSyntax
	}
	w.pos++
	return key, start, end, true, nil
}

// object walks over an object that becomes a struct or map.
func (w *walker) object(p *plan) error {
	if err := w.enter(); err != nil {
		return err
	}
	said := names{w: w, from: len(w.keys)}
	defer said.forget()
	for first := true; ; first = false {
		key, start, end, more, err := w.key(first)
		if err != nil || !more {
			return err
		}
		if said.again(key) {
			return under(&Error{Msg: "the key is given twice in one object", offset: start}, key)
		}
		switch {
		case p.kind == kindStruct:
			err = w.field(p, key, start, end)
		case w.file && p.elem.kind == kindStruct:
			err = w.member(p.elem, string(key))
		default:
			err = w.value(p.elem)
		}
		if err != nil {
			return under(err, key)
		}
	}
}

// field walks over the value of the field that key, in[start:end], names.
func (w *walker) field(p *plan, key []byte, start, end int) error {
	f := p.find(key)
	if f == nil {
		switch {
		case w.file && p.label != "" && w.next() == '{':
			return w.labelled(p, key, start, end)
		case w.strict && !tenancy(key):
			return &Error{Msg: "unknown field" + p.suggest(string(key), w.snake(key)), offset: start}
		}
		return w.value(w.others().elem)
	}
	// encoding/json finds a name regardless of case by itself.
	if f.alias || string(key) != f.name && !bytes.EqualFold(key, []byte(f.name)) {
		w.replace(start, end, strconv.Quote(f.name))
	}
	if w.seen == nil {
		return w.member(f.plan, f.name)
	}
	before := w.path
	if w.path = f.name; before != "" {
		w.path = before + "." + f.name
	}
	if w.next() != 'n' {
		seen := Field{Path: w.path, Line: w.line(start)}
		if f.alias {
			seen.Alias = string(key)
		}
		w.seen(seen)
	}
	err := w.member(f.plan, f.name)
	w.path = before
	return err
}

// snake reports whether names are shown to the writer of key as files have them.
func (w *walker) snake(key []byte) bool {
	capital := len(key) > 0 && key[0] >= 'A' && key[0] <= 'Z'
	return w.file && !(w.weak && capital)
}

// tenancy reports whether key names a namespace or partition. There is one tenancy only, and clients
// that were made for several name the default one.
func tenancy(key []byte) bool {
	return bytes.EqualFold(key, []byte("namespace")) || bytes.EqualFold(key, []byte("partition"))
}

// member walks over the value of a member. In a file a list of objects may stand for one object: the
// member is written once for each of them, and encoding/json merges them.
func (w *walker) member(p *plan, name string) error {
	if !w.file || p.kind != kindStruct && p.kind != kindMap || w.next() != '[' {
		return w.value(p)
	}
	w.replace(w.pos, w.pos+1, "")
	w.pos++
	quoted, _ := json.Marshal(name)
	for first := true; ; first = false {
		c := w.next()
		if c == ']' {
			empty := ""
			if first {
				empty = "null"
			}
			w.replace(w.pos, w.pos+1, empty)
			w.pos++
			return nil
		}
		if !first {
			if c != ',' {
				return errSyntax
			}
			w.replace(w.pos, w.pos+1, ","+string(quoted)+":")
			w.pos++
		}
		if err := w.value(p); err != nil {
			return err
		}
	}
}

// labelled walks over {"web": {…}}, which stands for {"Name": "web", …}.
func (w *walker) labelled(p *plan, key []byte, start, end int) error {
	w.replace(start, start, strconv.Quote(p.label)+":")
	brace := w.pos
	w.pos++
	comma := ","
	if w.next() == '}' {
		comma = ""
	}
	w.replace(end, brace+1, comma)
	w.pos = brace
	if err := w.object(p.body); err != nil {
		return err
	}
	w.replace(w.pos-1, w.pos, "")
	if w.next() != '}' {
		return &Error{Msg: "unknown field" + p.suggest(string(key), w.snake(key)), offset: start}
	}
	return nil
}

func (w *walker) list(p *plan) error {
	if err := w.enter(); err != nil {
		return err
	}
	path := w.path
	for i := 0; ; i++ {
		c := w.next()
		if c == ']' {
			w.pos++
			w.depth--
			w.path = path
			return nil
		}
		if i > 0 {
			if c != ',' {
				return errSyntax
			}
			w.pos++
			w.next()
		}
		if err := w.entry(p, path, i); err != nil {
			return err
		}
	}
}

// single walks over a value that stands for a list of one.
func (w *walker) single(p *plan) error {
	path := w.path
	w.replace(w.pos, w.pos, "[")
	err := w.entry(p, path, 0)
	w.replace(w.pos, w.pos, "]")
	w.path = path
	return err
}

func (w *walker) entry(p *plan, path string, i int) error {
	if w.seen != nil && p.kind != kindAny {
		w.path = fmt.Sprintf("%s[%d]", path, i)
		w.seen(Field{Path: w.path, Line: w.line(w.pos)})
	}
	err := w.value(p.elem)
	if err == nil {
		return nil
	}
	return prefix(err, fmt.Sprintf("[%d]", i))
}

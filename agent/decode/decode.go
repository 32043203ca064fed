package decode

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"

	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/catalog/hcl"
)

// MaxDepth is how deep objects and lists may be nested.
const MaxDepth = hcl.MaxDepth

// Error says what is wrong, and where.
type Error struct {
	Path string // as it was written, such as Checks[0].Interval; "" is the whole document
	Line int    // of the input, from 1; 0 when it is not known
	Msg  string

	offset int
}

func (e *Error) Error() string {
	if e.Path == "" {
		return e.Msg
	}
	return e.Path + ": " + e.Msg
}

// Option changes how a document is read.
type Option func(*options)

type options struct {
	strict bool
	file   bool
	weak   bool // scalars of another type are converted, and durations need no unit
	seen   func(Field)
	line   func(offset int) int
}

// Field is a field that a document sets, see Seen.
type Field struct {
	Path  string // by the names of the target type, such as ports.http or services[0].Name
	Alias string // the name that was written when it is another than the field's own, else ""
	Line  int    // of the input, from 1; 0 when it is not known
}

// Strict makes an unknown field an error that names the nearest valid one. The fields namespace and
// partition are known everywhere.
func Strict() Option { return func(o *options) { o.strict = true } }

// File reads the document as people write files. One object or value may stand where a list is wanted, a
// list of objects where one object is wanted (they are merged), a definition may stand under its name
// (service "web" {}), and a duration must have a unit.
func File() Option { return func(o *options) { o.file = true } }

// Seen calls fn for every field and list entry that the document sets to anything but null, in the
// order of the document, whether or not the document turns out to be valid.
func Seen(fn func(Field)) Option { return func(o *options) { o.seen = fn } }

// JSON decodes data into what into points to. Errors have the code catalog.Invalid, hold an *Error and
// never leave half of a document that is malformed behind.
func JSON(data []byte, into any, opts ...Option) error {
	o := options{}
	for _, opt := range opts {
		opt(&o)
	}
	if o.line == nil && (o.seen != nil || o.file) {
		o.line = lineIndex(data)
	}
	return run(data, into, &o)
}

// Map decodes m, which comes from a file, as Option File describes.
func Map(m map[string]any, into any, opts ...Option) error {
	data, err := json.Marshal(m)
	if err != nil {
		return catalog.Errorf(catalog.Invalid, "%w", &Error{Msg: err.Error()})
	}
	o := options{file: true, line: func(int) int { return 0 }}
	for _, opt := range opts {
		opt(&o)
	}
	return run(data, into, &o)
}

func run(data []byte, into any, o *options) error {
	target := reflect.TypeOf(into)
	if target == nil || target.Kind() != reflect.Pointer {
		return fmt.Errorf("decode into %T: want a pointer", into)
	}
	p := planOf(target.Elem())
	w := walker{in: data, options: o}
	if err := w.document(p); err != nil {
		return o.fail(data, err)
	}
	err := json.Unmarshal(w.result(), into)
	if err == nil {
		return nil
	}
	if e := syntaxError(data); e != nil {
		return o.fail(data, e)
	}
	// A value does not fit its field, a number too large for instance: look again, for the field's path.
	w = walker{in: data, options: &options{file: o.file, weak: o.weak}, diagnose: true}
	if e := w.document(p); e != nil {
		return o.fail(data, e)
	}
	return o.fail(data, &Error{Msg: err.Error()})
}

// fail gives the error its line and code.
func (o *options) fail(data []byte, err error) error {
	var e *Error
	if !errors.As(err, &e) {
		e = &Error{Msg: err.Error()}
	}
	if errors.Is(err, errSyntax) {
		if found := syntaxError(data); found != nil {
			e = found
		}
	}
	if e.Line == 0 && o.line != nil {
		e.Line = o.line(e.offset)
	}
	return catalog.Errorf(catalog.Invalid, "%w", e)
}

// syntaxError returns what encoding/json finds wrong with the form of data, nil if nothing.
func syntaxError(data []byte) *Error {
	var raw json.RawMessage
	err := json.Unmarshal(data, &raw)
	if err == nil {
		return nil
	}
	e := &Error{Msg: "invalid JSON: " + err.Error()}
	var syntax *json.SyntaxError
	if errors.As(err, &syntax) && len(data) > 0 {
		e.offset = int(syntax.Offset) - 1
		line, column := position(data, e.offset)
		e.Msg = fmt.Sprintf("invalid JSON at line %d, column %d: %s", line, column, err)
	}
	return e
}

package decode

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"

	"github.com/hashicorp/hcl/hcl/ast"
	"github.com/hashicorp/hcl/hcl/token"

	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/catalog/hcl"
)

// MaxHCL is how many bytes a document in HCL may have.
const MaxHCL = 4 << 20

// maxLabels is how many names may stand before a block: each is a level of depth.
const maxLabels = 8

// HCL decodes data, written in version 1 of HCL, as Option File describes. A key that is written several
// times makes a list of its blocks and lists; of other values the last one counts.
// Source: https://github.com/hashicorp/hcl/tree/v1.0.0
func HCL(data []byte, into any, opts ...Option) error {
	e, err := emit(data)
	if err != nil {
		return catalog.Errorf(catalog.Invalid, "%w", err)
	}
	o := options{file: true, line: e.line}
	for _, opt := range opts {
		opt(&o)
	}
	return run(e.out, into, &o)
}

// HCLToJSON writes data, HCL of version 1, as JSON for those who pass it on.
func HCLToJSON(data []byte) ([]byte, error) {
	e, err := emit(data)
	if err != nil {
		return nil, catalog.Errorf(catalog.Invalid, "%w", err)
	}
	return e.out, nil
}

// emitter writes the tree of a document in HCL as JSON.
type emitter struct {
	out   []byte
	marks []mark
}

// mark says which line of the HCL the JSON from offset on comes from.
type mark struct{ offset, line int }

func (e *emitter) line(offset int) int {
	i, found := slices.BinarySearchFunc(e.marks, offset, func(m mark, offset int) int { return m.offset - offset })
	if found {
		return e.marks[i].line
	}
	if i == 0 {
		return 0
	}
	return e.marks[i-1].line
}

// emit writes data as JSON.
func emit(data []byte) (*emitter, error) {
	if len(data) > MaxHCL {
		return nil, &Error{Msg: fmt.Sprintf("has %d bytes, at most %d are allowed", len(data), MaxHCL)}
	}
	e := &emitter{out: make([]byte, 0, len(data)+len(data)/4)}
	err := hcl.Parse(data, e.object)
	if at := new(hcl.Error); errors.As(err, &at) {
		return nil, &Error{Line: at.Line, Msg: at.Msg}
	}
	return e, err
}

func (e *emitter) mark(pos token.Pos) {
	e.marks = append(e.marks, mark{len(e.out), pos.Line})
}

func (e *emitter) text(s string) {
	quoted, _ := json.Marshal(s) // a string always marshals
	e.out = append(e.out, quoted...)
}

// object writes items as the members of one object, those of the same key together.
func (e *emitter) object(items []*ast.ObjectItem) error {
	var order []string
	groups := map[string][]*ast.ObjectItem{}
	for _, item := range items {
		if len(item.Keys) == 0 || len(item.Keys) > maxLabels {
			return &Error{Line: item.Pos().Line, Msg: fmt.Sprintf("invalid HCL: a block has %d names, want 1 to %d", len(item.Keys), maxLabels)}
		}
		key, _ := item.Keys[0].Token.Value().(string)
		if groups[key] == nil {
			order = append(order, key)
		}
		groups[key] = append(groups[key], item)
	}
	e.out = append(e.out, '{')
	for i, key := range order {
		if i > 0 {
			e.out = append(e.out, ',')
		}
		e.mark(groups[key][0].Keys[0].Pos())
		e.text(key)
		e.out = append(e.out, ':')
		if err := e.group(groups[key]); err != nil {
			return err
		}
	}
	e.out = append(e.out, '}')
	return nil
}

// group writes the values of one key.
func (e *emitter) group(items []*ast.ObjectItem) error {
	last := items[len(items)-1]
	if len(items) == 1 || slices.ContainsFunc(items, func(item *ast.ObjectItem) bool {
		_, scalar := item.Val.(*ast.LiteralType)
		return scalar
	}) {
		return e.item(last, 1)
	}
	e.out = append(e.out, '[')
	start := len(e.out)
	for _, item := range items {
		values := []ast.Node{nil}
		if list, ok := item.Val.(*ast.ListType); ok && len(item.Keys) == 1 {
			values = list.List
		}
		for _, value := range values {
			if len(e.out) > start {
				e.out = append(e.out, ',')
			}
			var err error
			if value == nil {
				err = e.item(item, 1)
			} else {
				err = e.value(value)
			}
			if err != nil {
				return err
			}
		}
	}
	e.out = append(e.out, ']')
	return nil
}

// item writes the value of item below its keys from the given one on: a "b" {} is a { b {} }.
func (e *emitter) item(item *ast.ObjectItem, from int) error {
	if from == len(item.Keys) {
		return e.value(item.Val)
	}
	key, _ := item.Keys[from].Token.Value().(string)
	e.mark(item.Keys[from].Pos())
	e.out = append(e.out, '{')
	e.text(key)
	e.out = append(e.out, ':')
	if err := e.item(item, from+1); err != nil {
		return err
	}
	e.out = append(e.out, '}')
	return nil
}

func (e *emitter) value(node ast.Node) error {
	e.mark(node.Pos())
	switch n := node.(type) {
	case *ast.ObjectType:
		return e.object(n.List.Items)
	case *ast.ListType:
		e.out = append(e.out, '[')
		for i, entry := range n.List {
			if i > 0 {
				e.out = append(e.out, ',')
			}
			if err := e.value(entry); err != nil {
				return err
			}
		}
		e.out = append(e.out, ']')
		return nil
	case *ast.LiteralType:
		return e.scalar(n.Token)
	}
	return &Error{Line: node.Pos().Line, Msg: "invalid HCL: want a value"}
}

func (e *emitter) scalar(t token.Token) error {
	switch v := t.Value().(type) {
	case string:
		e.text(v)
	case bool:
		e.out = strconv.AppendBool(e.out, v)
	case int64:
		e.out = strconv.AppendInt(e.out, v, 10)
	case float64:
		if math.IsInf(v, 0) || math.IsNaN(v) {
			return &Error{Line: t.Pos.Line, Msg: "number " + shorten(t.Text) + " is too large"}
		}
		e.out = strconv.AppendFloat(e.out, v, 'g', -1, 64)
	}
	return nil
}

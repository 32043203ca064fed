package acl

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/hashicorp/hcl/hcl/ast"

	"github.com/curia-mesh/curia/catalog/hcl"
)

// maxNesting is how deep rules are read: a resource, a name, a policy, and one more to say what is wrong.
const maxNesting = 4

// readHCL hands the keys of data, written in HCL, to p.
func readHCL(data []byte, p *parser) error {
	return hcl.Parse(data, func(items []*ast.ObjectItem) error {
		all, err := fromHCL(items, maxNesting)
		if err != nil {
			return err
		}
		return p.all(all)
	})
}

func (p *parser) all(members []member) error {
	for i := range members {
		if err := p.rule(&members[i]); err != nil {
			return err
		}
	}
	return nil
}

func fromHCL(items []*ast.ObjectItem, depth int) ([]member, error) {
	var all []member
	for _, item := range items {
		if len(item.Keys) == 0 {
			return nil, fmt.Errorf("line %d: a block without a name", item.Pos().Line)
		}
		found, err := fromItem(item, 0, depth)
		if err != nil {
			return nil, err
		}
		all = append(all, found...)
	}
	return all, nil
}

// fromItem reads what an item has below its keys from the given one on: a "b" {} is a { b {} }.
func fromItem(item *ast.ObjectItem, from, depth int) ([]member, error) {
	key, _ := item.Keys[from].Token.Value().(string)
	m := member{key: key, line: item.Keys[from].Pos().Line}
	if depth--; depth < 0 {
		return nil, m.errorf("%s: nested too deep: want a resource, a name and a policy", quote(key))
	}
	if from+1 < len(item.Keys) {
		var err error
		m.object, err = fromItem(item, from+1, depth)
		return []member{m}, err
	}
	values := []ast.Node{item.Val}
	if list, ok := item.Val.(*ast.ListType); ok {
		values = list.List
	}
	var all []member
	for _, value := range values {
		one := m
		switch v := value.(type) {
		case *ast.ObjectType:
			var err error
			if one.object, err = fromHCL(v.List.Items, depth); err != nil {
				return nil, err
			}
		case *ast.LiteralType:
			one.kind = isOther
			if text, ok := v.Token.Value().(string); ok {
				one.kind, one.text = isText, text
			}
		default:
			one.kind = isOther
		}
		all = append(all, one)
	}
	return all, nil
}

// readJSON hands the keys of data, written in JSON, to p.
func readJSON(data []byte, p *parser) error {
	r := jsonReader{data: data, d: json.NewDecoder(bytes.NewReader(data)), line: 1}
	r.d.UseNumber()
	if _, err := r.d.Token(); err != nil { // it begins with a brace
		return r.syntax(err)
	}
	all, err := r.object(maxNesting)
	if err != nil {
		return err
	}
	if _, err := r.d.Token(); !errors.Is(err, io.EOF) {
		return fmt.Errorf("line %d: something stands behind the rules", r.here())
	}
	return p.all(all)
}

// jsonReader reads JSON token by token, because a key that stands twice counts twice.
type jsonReader struct {
	data   []byte
	d      *json.Decoder
	offset int64 // up to which lines are counted
	line   int
}

func (r *jsonReader) here() int {
	if now := min(r.d.InputOffset(), int64(len(r.data))); now > r.offset {
		r.line += bytes.Count(r.data[r.offset:now], []byte("\n"))
		r.offset = now
	}
	return r.line
}

func (r *jsonReader) syntax(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("line %d: invalid JSON: it ends too early", r.here())
	}
	return fmt.Errorf("line %d: invalid JSON: %w", r.here(), err)
}

// object reads the members of an object whose brace is read.
func (r *jsonReader) object(depth int) ([]member, error) {
	var all []member
	for {
		t, err := r.d.Token()
		if err != nil {
			return nil, r.syntax(err)
		}
		if t == json.Delim('}') {
			return all, nil
		}
		key, _ := t.(string)
		m := member{key: key, line: r.here()}
		if depth == 0 {
			return nil, m.errorf("%s: nested too deep: want a resource, a name and a policy", quote(key))
		}
		if t, err = r.d.Token(); err != nil {
			return nil, r.syntax(err)
		}
		if t != json.Delim('[') {
			if err := r.value(&m, t, depth-1); err != nil {
				return nil, err
			}
			all = append(all, m)
			continue
		}
		for {
			if t, err = r.d.Token(); err != nil {
				return nil, r.syntax(err)
			}
			if t == json.Delim(']') {
				break
			}
			one := m
			if err := r.value(&one, t, depth-1); err != nil {
				return nil, err
			}
			all = append(all, one)
		}
	}
}

// value reads the value that begins with a token.
func (r *jsonReader) value(m *member, t json.Token, depth int) (err error) {
	switch t := t.(type) {
	case string:
		m.kind, m.text = isText, t
	case json.Delim:
		if t != '{' {
			return m.errorf("%s: a list in a list", quote(m.key))
		}
		m.object, err = r.object(depth)
	default:
		m.kind = isOther
	}
	return err
}

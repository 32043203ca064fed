package config

import (
	"errors"
	"fmt"
	"maps"
	"reflect"
	"strings"
	"text/template/parse"

	"github.com/hashicorp/go-sockaddr"
	"github.com/hashicorp/go-sockaddr/template"
)

// A template of addresses is run here rather than by text/template, which finds methods by their names and so keeps the
// linker from leaving out any exported method of the whole program. What it may hold: text, pipelines of go-sockaddr's
// functions, variables, fields, if, with and range.
// Source: https://pkg.go.dev/github.com/hashicorp/go-sockaddr/template
type execution struct {
	out   strings.Builder
	vars  []variable
	funcs map[string]any
}

type variable struct {
	name  string
	value reflect.Value
}

// helpers are the functions of text/template that make sense of addresses.
var helpers = map[string]any{
	"print": fmt.Sprint, "printf": fmt.Sprintf, "println": fmt.Sprintln,
	"eq": func(a, b any) bool { return reflect.DeepEqual(a, b) }, "ne": func(a, b any) bool { return !reflect.DeepEqual(a, b) },
	"not": func(a any) bool { return !truth(reflect.ValueOf(a)) },
	"len": func(a any) (int, error) {
		switch v := reflect.ValueOf(a); v.Kind() {
		case reflect.Slice, reflect.Array, reflect.Map, reflect.String:
			return v.Len(), nil
		}
		return 0, fmt.Errorf("len of a %T", a)
	},
	"index": func(a any, i int) (any, error) {
		v := reflect.ValueOf(a)
		if v.Kind() != reflect.Slice || i < 0 || i >= v.Len() {
			return nil, fmt.Errorf("a %T has no element %d", a, i)
		}
		return v.Index(i).Interface(), nil
	},
}

// sockaddrTemplate is what a template says of the host's addresses.
func sockaddrTemplate(text string) (string, error) {
	addrs, err := sockaddr.GetAllInterfaces()
	if err != nil {
		return "", fmt.Errorf("the host's addresses cannot be read: %w", err)
	}
	x := execution{funcs: maps.Clone(helpers)}
	for _, more := range []map[string]any{template.SourceFuncs, template.SortFuncs, template.FilterFuncs, template.HelperFuncs} {
		maps.Copy(x.funcs, more)
	}
	trees, err := parse.Parse("line", text, "", "", x.funcs)
	if err != nil {
		return "", errors.New(strings.TrimPrefix(err.Error(), "template: "))
	}
	dot := reflect.ValueOf(addrs)
	x.vars = []variable{{"$", dot}}
	err = x.list(trees["line"].Root, dot)
	return x.out.String(), err
}

func (x *execution) list(l *parse.ListNode, dot reflect.Value) error {
	if l == nil {
		return nil
	}
	for _, n := range l.Nodes {
		if err := x.node(n, dot); err != nil {
			return err
		}
	}
	return nil
}

func (x *execution) node(n parse.Node, dot reflect.Value) error {
	defer func(kept int) {
		if _, action := n.(*parse.ActionNode); !action { // variables live until the end of what they stand in
			x.vars = x.vars[:kept]
		}
	}(len(x.vars))
	switch n := n.(type) {
	case *parse.TextNode:
		x.out.Write(n.Text)
		return nil
	case *parse.CommentNode:
		return nil
	case *parse.ActionNode:
		v, err := x.pipe(n.Pipe, dot)
		if err == nil && len(n.Pipe.Decl) == 0 && v.IsValid() {
			fmt.Fprint(&x.out, v.Interface())
		}
		return err
	case *parse.IfNode:
		return x.branch(&n.BranchNode, dot, func(reflect.Value) error { return x.list(n.List, dot) })
	case *parse.WithNode:
		return x.branch(&n.BranchNode, dot, func(v reflect.Value) error { return x.list(n.List, v) })
	case *parse.RangeNode:
		return x.branch(&n.BranchNode, dot, func(v reflect.Value) error { return x.each(n, v) })
	}
	return fmt.Errorf("%s: not known in a template of addresses", n)
}

// branch runs then when a pipeline's value is true, and what stands behind else when it is not.
func (x *execution) branch(n *parse.BranchNode, dot reflect.Value, then func(reflect.Value) error) error {
	v, err := x.pipe(n.Pipe, dot)
	if err != nil {
		return err
	}
	if !truth(v) {
		return x.list(n.ElseList, dot)
	}
	return then(v)
}

func (x *execution) each(n *parse.RangeNode, v reflect.Value) error {
	if v.Kind() != reflect.Slice {
		return fmt.Errorf("%s: range over a %s", n.Pipe, v.Type())
	}
	kept := len(x.vars)
	for i := range v.Len() {
		names := n.Pipe.Decl
		if len(names) > 0 {
			x.vars = append(x.vars, variable{names[len(names)-1].Ident[0], v.Index(i)})
		}
		if len(names) > 1 {
			x.vars = append(x.vars, variable{names[0].Ident[0], reflect.ValueOf(i)})
		}
		if err := x.list(n.List, v.Index(i)); err != nil {
			return err
		}
		x.vars = x.vars[:kept]
	}
	return nil
}

func (x *execution) pipe(p *parse.PipeNode, dot reflect.Value) (v reflect.Value, err error) {
	for i, c := range p.Cmds {
		if v, err = x.command(c, dot, v, i > 0); err != nil {
			return v, err
		}
		if v.IsValid() && v.Kind() == reflect.Interface {
			v = v.Elem()
		}
	}
	for _, d := range p.Decl {
		x.vars = append(x.vars, variable{d.Ident[0], v})
	}
	return v, nil
}

// command is the value of a pipeline's part; piped is the value of the part before it.
func (x *execution) command(c *parse.CommandNode, dot, piped reflect.Value, follows bool) (reflect.Value, error) {
	name, ok := c.Args[0].(*parse.IdentifierNode)
	if !ok {
		if len(c.Args) > 1 || follows {
			return reflect.Value{}, fmt.Errorf("%s is no function", c.Args[0])
		}
		return x.operand(c.Args[0], dot)
	}
	f, ok := x.funcs[name.Ident]
	if !ok {
		return reflect.Value{}, fmt.Errorf("function %q is not known", name.Ident)
	}
	var args []reflect.Value
	for _, a := range c.Args[1:] {
		v, err := x.operand(a, dot)
		if err != nil {
			return v, err
		}
		args = append(args, v)
	}
	if follows {
		args = append(args, piped)
	}
	v, err := call(reflect.ValueOf(f), args)
	if err != nil {
		err = fmt.Errorf("%s: %w", name.Ident, err)
	}
	return v, err
}

func (x *execution) operand(n parse.Node, dot reflect.Value) (reflect.Value, error) {
	switch n := n.(type) {
	case *parse.DotNode:
		return dot, nil
	case *parse.StringNode:
		return reflect.ValueOf(n.Text), nil
	case *parse.BoolNode:
		return reflect.ValueOf(n.True), nil
	case *parse.NumberNode:
		switch {
		case n.IsInt:
			return reflect.ValueOf(int(n.Int64)), nil
		case n.IsFloat:
			return reflect.ValueOf(n.Float64), nil
		}
	case *parse.PipeNode:
		return x.pipe(n, dot)
	case *parse.IdentifierNode:
		return x.command(&parse.CommandNode{Args: []parse.Node{n}}, dot, reflect.Value{}, false)
	case *parse.FieldNode:
		return fields(dot, n.Ident)
	case *parse.ChainNode:
		v, err := x.operand(n.Node, dot)
		if err != nil {
			return v, err
		}
		return fields(v, n.Field)
	case *parse.VariableNode:
		for i := len(x.vars) - 1; i >= 0; i-- {
			if x.vars[i].name == n.Ident[0] {
				return fields(x.vars[i].value, n.Ident[1:])
			}
		}
	}
	return reflect.Value{}, fmt.Errorf("%s: not known in a template of addresses", n)
}

// fields follows the names of fields from a value.
func fields(v reflect.Value, names []string) (reflect.Value, error) {
	for _, name := range names {
		for v.IsValid() && (v.Kind() == reflect.Interface || v.Kind() == reflect.Pointer) {
			v = v.Elem()
		}
		if v.Kind() != reflect.Struct || !v.FieldByName(name).IsValid() {
			return v, fmt.Errorf("there is no field %s", name)
		}
		v = v.FieldByName(name)
	}
	return v, nil
}

// call calls a function with arguments of the right number and types.
func call(f reflect.Value, args []reflect.Value) (reflect.Value, error) {
	t := f.Type()
	if n := t.NumIn(); len(args) != n && (!t.IsVariadic() || len(args) < n-1) {
		return reflect.Value{}, fmt.Errorf("has %d arguments, wants %d", len(args), n)
	}
	for i, a := range args {
		want := t.In(min(i, t.NumIn()-1))
		if t.IsVariadic() && i >= t.NumIn()-1 {
			want = want.Elem()
		}
		switch {
		case !a.IsValid():
			return a, errors.New("has no value to work on")
		case a.Type().AssignableTo(want):
		case a.Kind() == reflect.Int && want.Kind() >= reflect.Int && want.Kind() <= reflect.Float64:
			args[i] = a.Convert(want)
		default:
			return a, fmt.Errorf("argument %d is a %s, wants a %s", i+1, a.Type(), want)
		}
	}
	said := f.Call(args)
	if len(said) == 2 && !said[1].IsNil() {
		return said[0], said[1].Interface().(error)
	}
	return said[0], nil
}

// truth reports whether a value is not the zero one, nor empty.
func truth(v reflect.Value) bool {
	switch {
	case !v.IsValid():
		return false
	case v.Kind() == reflect.Slice || v.Kind() == reflect.Map:
		return v.Len() > 0
	}
	return !v.IsZero()
}

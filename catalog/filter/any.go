package filter

import (
	"fmt"
	"reflect"
	"strconv"
	"strings"

	"github.com/hashicorp/go-bexpr/grammar"
)

// spread rewrites an expression so that a selector through a list of objects means any of them, as
// clients expect: Checks.Status == critical becomes any Checks as e1 { e1.Status == critical }. The
// library alone takes only a number there. It returns the expression as it was when no selector does.
func spread(expression string, element reflect.Type) (string, error) {
	ast, err := grammar.Parse("", []byte(expression), grammar.MaxExpressions(maxSteps))
	if err != nil {
		return "", err
	}
	p := &printer{element: element}
	text := p.expression(ast.(grammar.Expression))
	if p.spread == 0 {
		return expression, nil
	}
	return text, nil
}

// printer writes expressions in the library's notation.
type printer struct {
	element reflect.Type
	spread  int  // selectors rewritten so far
	opaque  bool // inside a collection expression of the client's own, whose names are not ours to resolve
}

// expression writes e with no parentheses but those it needs, and those that collections do, for each one in another makes parsing take
// three times as long.
func (p *printer) expression(e grammar.Expression) string {
	switch e := e.(type) {
	case *grammar.UnaryExpression:
		if _, compound := e.Operand.(*grammar.BinaryExpression); compound {
			return "not (" + p.expression(e.Operand) + ")"
		}
		return "not " + p.expression(e.Operand)
	case *grammar.BinaryExpression:
		if e.Operator == grammar.BinaryOpOr {
			return p.expression(e.Left) + " or " + p.expression(e.Right)
		}
		return p.conjunct(e.Left) + " and " + p.conjunct(e.Right)
	case *grammar.CollectionExpression:
		return p.collection(e)
	case *grammar.MatchExpression:
		return p.match(e)
	}
	return ""
}

// conjunct is an operand of "and", which binds more tightly than "or".
func (p *printer) conjunct(e grammar.Expression) string {
	if b, ok := e.(*grammar.BinaryExpression); ok && b.Operator == grammar.BinaryOpOr {
		return "(" + p.expression(e) + ")"
	}
	return p.expression(e)
}

func (p *printer) collection(e *grammar.CollectionExpression) string {
	names := e.NameBinding.Default
	switch e.NameBinding.Mode {
	case grammar.CollectionBindIndex:
		names = e.NameBinding.Index + ", _"
	case grammar.CollectionBindValue:
		names = "_, " + e.NameBinding.Value
	case grammar.CollectionBindIndexAndValue:
		names = e.NameBinding.Index + ", " + e.NameBinding.Value
	}
	was := p.opaque
	p.opaque = true
	inner := p.expression(e.Inner)
	p.opaque = was
	return fmt.Sprintf("(%s %s as %s { %s })", strings.ToLower(string(e.Op)), selector(e.Selector.Path), names, inner)
}

func (p *printer) match(e *grammar.MatchExpression) string {
	path := e.Selector.Path
	at := -1
	if !p.opaque {
		at = listAt(p.element, path)
	}
	if at < 0 {
		return operation(path, e)
	}
	p.spread++
	name := "e" + strconv.Itoa(p.spread)
	rest := append([]string{name}, path[at:]...)
	return fmt.Sprintf("(any %s as %s { %s })", selector(path[:at]), name, operation(rest, e))
}

// listAt returns how many parts of path lead to a list of objects that more parts follow, -1 when none do.
func listAt(t reflect.Type, path []string) int {
	for i, part := range path {
		for t.Kind() == reflect.Pointer {
			t = t.Elem()
		}
		switch t.Kind() {
		case reflect.Struct:
			f, ok := t.FieldByName(part)
			if !ok {
				return -1
			}
			t = f.Type
		case reflect.Map:
			t = t.Elem()
		case reflect.Slice:
			inner := t.Elem()
			for inner.Kind() == reflect.Pointer {
				inner = inner.Elem()
			}
			if _, err := strconv.Atoi(part); inner.Kind() == reflect.Struct && err != nil {
				return i
			}
			t = t.Elem()
		default:
			return -1
		}
	}
	return -1
}

// operation writes a selector with its operator and value.
func operation(path []string, e *grammar.MatchExpression) string {
	s := selector(path)
	value := ""
	if e.Value != nil {
		value = literal(e.Value.Raw)
	}
	switch e.Operator {
	case grammar.MatchEqual:
		return s + " == " + value
	case grammar.MatchNotEqual:
		return s + " != " + value
	case grammar.MatchIn:
		return value + " in " + s
	case grammar.MatchNotIn:
		return value + " not in " + s
	case grammar.MatchIsEmpty:
		return s + " is empty"
	case grammar.MatchIsNotEmpty:
		return s + " is not empty"
	case grammar.MatchMatches:
		return s + " matches " + value
	case grammar.MatchNotMatches:
		return s + " not matches " + value
	case grammar.MatchIsNil:
		return s + " is nil"
	case grammar.MatchIsNotNil:
		return s + " is not nil"
	case grammar.MatchContains:
		return s + " contains " + value
	}
	return s + " not contains " + value
}

// literal writes a string. One that was read has no backquote and quotation mark at once.
func literal(s string) string {
	if strings.ContainsAny(s, "\"\\") {
		return "`" + s + "`"
	}
	return `"` + s + `"`
}

func selector(path []string) string {
	text := path[0]
	for _, part := range path[1:] {
		text += "[" + literal(part) + "]"
	}
	return text
}

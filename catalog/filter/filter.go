// Package filter selects the elements of lists by expressions that clients send.
package filter

import (
	"reflect"
	"regexp"
	"sync"

	bexpr "github.com/hashicorp/go-bexpr"
	"github.com/hashicorp/go-bexpr/grammar"

	"github.com/curia-mesh/curia/catalog"
)

// Keep decides whether an element of a list stays in it.
type Keep func(element any) (bool, error)

// Accepts reports whether the element stays; a nil Keep accepts all. An error has code invalid.
func (k Keep) Accepts(element any) (bool, error) {
	if k == nil {
		return true, nil
	}
	ok, err := k(element)
	if err != nil {
		return false, catalog.Errorf(catalog.Invalid, "filter: %w", err)
	}
	return ok, nil
}

// Cache remembers compiled expressions: clients repeat theirs. The zero value is empty.
type Cache struct {
	mu       sync.Mutex
	compiled map[string]*program
}

const (
	maxFilters    = 512
	maxExpression = 8192 // bytes
	// maxSteps bounds the parser, whose work grows threefold with each nested parenthesis, to some 50 ms:
	// enough for 600 comparisons in a row, or five parentheses in one another.
	maxSteps = 400_000
)

// Compile returns the expression as a function, nil for the empty one. An error has code invalid.
func (f *Cache) Compile(expression string) (Keep, error) {
	if expression == "" {
		return nil, nil
	}
	f.mu.Lock()
	p := f.compiled[expression]
	f.mu.Unlock()
	if p != nil {
		return p.keep, nil
	}
	p = &program{expression: expression}
	if err := p.check(); err != nil { // not under the lock: it may take long
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.compiled == nil || len(f.compiled) >= maxFilters {
		f.compiled = map[string]*program{}
	}
	f.compiled[expression] = p
	return p.keep, nil
}

// program is an expression, compiled for each type of element that it is asked about.
type program struct {
	expression string
	byType     sync.Map // reflect.Type to *evaluator
}

// evaluator is an expression for elements of one type.
type evaluator struct {
	*bexpr.Evaluator
	shape shape
}

func (p *program) check() error {
	if len(p.expression) > maxExpression {
		return catalog.Errorf(catalog.Invalid, "filter has %d bytes: at most %d are allowed", len(p.expression), maxExpression)
	}
	ast, err := grammar.Parse("", []byte(p.expression), grammar.MaxExpressions(maxSteps))
	if err == nil {
		err = checkPatterns(ast.(grammar.Expression))
	}
	if err != nil {
		return catalog.Errorf(catalog.Invalid, "Failed to create boolean expression evaluator: filter %q: %w", p.expression, err)
	}
	return nil
}

// checkPatterns compiles the regular expressions in an expression. The library would when it meets the first element:
// a filter that is stored would be found wrong by those who read by it, and by each of them.
func checkPatterns(e grammar.Expression) error {
	switch e := e.(type) {
	case *grammar.UnaryExpression:
		return checkPatterns(e.Operand)
	case *grammar.BinaryExpression:
		if err := checkPatterns(e.Left); err != nil {
			return err
		}
		return checkPatterns(e.Right)
	case *grammar.CollectionExpression:
		return checkPatterns(e.Inner)
	case *grammar.MatchExpression:
		if e.Operator == grammar.MatchMatches || e.Operator == grammar.MatchNotMatches {
			_, err := regexp.Compile(e.Value.Raw)
			return err
		}
	}
	return nil
}

func (p *program) keep(element any) (bool, error) {
	t := reflect.TypeOf(element)
	if e, ok := p.byType.Load(t); ok {
		return e.(*evaluator).evaluate(element)
	}
	shape := shapeOf(t)
	seen := t
	if shape.typ != nil {
		seen = shape.typ
	}
	text, err := spread(p.expression, seen)
	if err != nil {
		return false, err
	}
	compiled, err := bexpr.CreateEvaluator(text, bexpr.WithMaxExpressions(maxSteps), bexpr.WithHookFn(present))
	if err != nil {
		return false, err
	}
	e := &evaluator{compiled, shape}
	p.byType.Store(t, e)
	return e.evaluate(element)
}

func (e *evaluator) evaluate(element any) (bool, error) { return e.Evaluate(e.shape.show(element)) }

// Compile returns an expression as a function, nil for the empty one, for those who ask seldom.
func Compile(expression string) (Keep, error) { return new(Cache).Compile(expression) }

// List returns the elements of a list that keep accepts.
func List[T any](rep *[]T, keep Keep) (*[]T, error) {
	kept := []T{}
	for _, element := range *rep {
		ok, err := keep.Accepts(element)
		if err != nil {
			return nil, err
		}
		if ok {
			kept = append(kept, element)
		}
	}
	return &kept, nil
}

// Package filter selects the elements of lists by expressions that clients send.
package filter

import (
	"sync"

	bexpr "github.com/hashicorp/go-bexpr"

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
	compiled map[string]*bexpr.Evaluator
}

const (
	maxFilters    = 512
	maxExpression = 8192
)

// Compile returns the expression as a function, nil for the empty one. An error has code invalid.
func (f *Cache) Compile(expression string) (Keep, error) {
	if expression == "" {
		return nil, nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	e := f.compiled[expression]
	if e == nil {
		var err error
		if e, err = newEvaluator(expression); err != nil {
			return nil, err
		}
		if f.compiled == nil || len(f.compiled) >= maxFilters {
			f.compiled = map[string]*bexpr.Evaluator{}
		}
		f.compiled[expression] = e
	}
	return e.Evaluate, nil
}

func newEvaluator(expression string) (*bexpr.Evaluator, error) {
	if len(expression) > maxExpression {
		return nil, catalog.Errorf(catalog.Invalid, "filter has %d bytes: at most %d are allowed", len(expression), maxExpression)
	}
	e, err := bexpr.CreateEvaluator(expression)
	if err != nil {
		return nil, catalog.Errorf(catalog.Invalid, "Failed to create boolean expression evaluator: filter %q: %w", expression, err)
	}
	return e, nil
}

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

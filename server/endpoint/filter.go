package endpoint

import (
	"sync"

	bexpr "github.com/hashicorp/go-bexpr"

	"github.com/curia-mesh/curia/catalog"
)

// Keep decides whether an element of a list stays in it.
type Keep func(element any) (bool, error)

// filters remembers compiled expressions: clients repeat theirs.
type filters struct {
	mu       sync.Mutex
	compiled map[string]*bexpr.Evaluator
}

const (
	maxFilters    = 512
	maxExpression = 8192
)

// compile returns the expression as a function, nil for the empty one.
func (f *filters) compile(expression string) (Keep, error) {
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

// CompileFilter returns a filter expression as a function, nil for the empty one.
func CompileFilter(expression string) (Keep, error) { return new(filters).compile(expression) }

// FilterList filters replies that are lists.
func FilterList[T any](rep *[]T, keep Keep) (*[]T, error) {
	kept := []T{}
	for _, element := range *rep {
		ok, err := keep(element)
		if err != nil {
			return nil, catalog.Errorf(catalog.Invalid, "filter: %w", err)
		}
		if ok {
			kept = append(kept, element)
		}
	}
	return &kept, nil
}

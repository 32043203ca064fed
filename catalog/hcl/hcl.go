// Package hcl parses version 1 of HCL, the language of Consul's files and rules, without being hurt by what
// it reads.
package hcl

import (
	"errors"
	"fmt"
	"strings"

	"github.com/hashicorp/hcl/hcl/ast"
	"github.com/hashicorp/hcl/hcl/parser"
	"github.com/hashicorp/hcl/hcl/scanner"
	"github.com/hashicorp/hcl/hcl/token"
)

// MaxDepth is how deep objects and lists may be nested.
const MaxDepth = 100

// Error says what is wrong, and where. It holds no text of the document, which may be secret.
type Error struct {
	Line int // from 1; 0 when it is not known
	Msg  string
}

func (e *Error) Error() string { return e.Msg }

// Parse parses data and has use look at its keys and blocks. The parser and its tokens panic on some input,
// which becomes an error; it descends without a limit, so the depth is checked before. An error is an *Error, or
// what use returned.
// Source: https://github.com/hashicorp/hcl/tree/v1.0.0
func Parse(data []byte, use func([]*ast.ObjectItem) error) (err error) {
	defer func() {
		if recover() != nil {
			err = &Error{Msg: "invalid HCL: a string, number or heredoc is malformed"}
		}
	}()
	if err := shallow(data); err != nil {
		return err
	}
	file, err := parser.Parse(data)
	if err != nil {
		return explain(err)
	}
	list, ok := file.Node.(*ast.ObjectList)
	if !ok {
		return &Error{Msg: "invalid HCL: want keys and blocks"}
	}
	return use(list.Items)
}

func explain(err error) error {
	var at *parser.PosError
	if !errors.As(err, &at) {
		return &Error{Msg: "invalid HCL"}
	}
	what := at.Err.Error() // some messages hold text of the document
	switch {
	case strings.Contains(what, "Unknown token"):
		what = "want a value; text needs quotes around it"
	case strings.Contains(what, "key '"):
		what = "want = or { behind a key"
	}
	return &Error{Line: at.Pos.Line, Msg: fmt.Sprintf("invalid HCL at line %d, column %d: %s", at.Pos.Line, at.Pos.Column, what)}
}

// shallow checks that data is not nested too deep.
func shallow(data []byte) error {
	s := scanner.New(data)
	s.Error = func(token.Pos, string) {} // the parser reports it
	for depth := 0; ; {
		switch t := s.Scan(); t.Type {
		case token.LBRACE, token.LBRACK:
			if depth++; depth > MaxDepth {
				return &Error{Line: t.Pos.Line, Msg: fmt.Sprintf("nested more than %d levels deep", MaxDepth)}
			}
		case token.RBRACE, token.RBRACK:
			depth--
		case token.EOF:
			return nil
		}
	}
}

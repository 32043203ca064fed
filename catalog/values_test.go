package catalog_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"reflect"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/curia-mesh/curia/catalog"
)

// set gives a field any value but the one it has.
func set(v reflect.Value) {
	switch v.Kind() {
	case reflect.String:
		v.SetString(v.String() + "x")
	case reflect.Bool:
		v.SetBool(!v.Bool())
	case reflect.Int, reflect.Int64:
		v.SetInt(v.Int() + 1)
	case reflect.Uint64:
		v.SetUint(v.Uint() + 1)
	case reflect.Slice:
		next := reflect.MakeSlice(v.Type(), 1, 1)
		set(next.Index(0))
		v.Set(next)
	case reflect.Map:
		next, value := reflect.MakeMap(v.Type()), reflect.New(v.Type().Elem()).Elem()
		set(value)
		next.SetMapIndex(reflect.ValueOf("k"), value)
		v.Set(next)
	case reflect.Pointer:
		next := reflect.New(v.Type().Elem())
		if !v.IsNil() {
			next.Elem().Set(v.Elem())
		}
		set(next.Elem())
		v.Set(next)
	case reflect.Struct:
		set(v.Field(0))
	default:
		panic(v.Type().String())
	}
}

// TestSameSeesEveryField changes one field at a time: a field that Same forgets is a change that never
// reaches who waits for it.
func TestSameSeesEveryField(t *testing.T) {
	aside := []string{"CreateIndex", "ModifyIndex"}
	f := func(made any, same func(o any) bool) {
		t.Helper()
		base := reflect.ValueOf(made).Elem()
		for i := range base.NumField() {
			name := base.Type().Field(i).Name
			next := reflect.New(base.Type())
			next.Elem().Set(base)
			if !same(next.Interface()) {
				t.Errorf("%s: a copy is not the same", base.Type())
			}
			set(next.Elem().Field(i))
			if got, want := same(next.Interface()), slices.Contains(aside, name); got != want {
				t.Errorf("%s that differ in %s are the same: %v, want %v", base.Type(), name, got, want)
			}
		}
	}
	node := &catalog.Node{Locality: &catalog.Locality{Region: "r"}}
	f(node, func(o any) bool { return node.Same(o.(*catalog.Node)) })
	service := &catalog.Service{Service: "web"}
	service.Normalize()
	f(service, func(o any) bool { return service.Same(o.(*catalog.Service)) })
	check := &catalog.Check{CheckID: "c"}
	check.Normalize()
	f(check, func(o any) bool { return check.Same(o.(*catalog.Check)) })
	definition := &catalog.CheckDefinition{H2PingUseTLS: new(bool)}
	f(definition, func(o any) bool { return definition.Same(o.(*catalog.CheckDefinition)) })
}

// TestFlattenLosesNothing has an instance in which everything is said.
func TestFlattenLosesNothing(t *testing.T) {
	node, service := &catalog.Node{}, &catalog.Service{}
	for _, v := range []reflect.Value{reflect.ValueOf(node).Elem(), reflect.ValueOf(service).Elem()} {
		for i := range v.NumField() {
			set(v.Field(i))
		}
	}
	flat := reflect.ValueOf((&catalog.Instance{Node: node, Service: service}).Flatten()).Elem()
	for i := range flat.NumField() {
		if flat.Field(i).IsZero() {
			t.Errorf("%s is left out", flat.Type().Field(i).Name)
		}
	}
}

// TestNormalize: doing it again changes nothing, and what a definition points to stays as it was.
func TestNormalize(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		name := rapid.SampledFrom([]string{"", "a"})
		s := catalog.Service{ID: name.Draw(t, "id"), Service: name.Draw(t, "name")}
		if rapid.Bool().Draw(t, "has weights") {
			s.Weights = &catalog.Weights{Passing: rapid.IntRange(0, 2).Draw(t, "passing"), Warning: rapid.IntRange(0, 2).Draw(t, "warning")}
		}
		if rapid.Bool().Draw(t, "has proxy") {
			s.Proxy = &catalog.Proxy{Mode: name.Draw(t, "mode")}
		}
		if rapid.Bool().Draw(t, "has connect") {
			s.Connect = &catalog.Connect{Native: rapid.Bool().Draw(t, "native")}
		}
		before, _ := json.Marshal(s)
		once := s
		once.Normalize()
		twice := once
		twice.Normalize()
		if after, _ := json.Marshal(s); string(after) != string(before) || !once.Same(&twice) {
			t.Fatalf("%s became %s; again: %+v", before, after, twice)
		}
		if once.Weights == nil || once.Proxy == nil || once.Connect == nil || once.Tags == nil || once.ID == "" && once.Service != "" {
			t.Fatalf("%+v is not filled", once)
		}
		c := catalog.Check{CheckID: name.Draw(t, "check"), Name: name.Draw(t, "its name"), Definition: rapid.SampledFrom([]*catalog.CheckDefinition{nil, {}, {TCP: "a:1"}}).Draw(t, "definition")}
		c.Normalize()
		again := c
		again.Normalize()
		if !again.Same(&c) || c.Definition == nil || c.Status != catalog.Critical || c.CheckID == "" && c.Name != "" || (c.Type == "tcp") != (c.Definition.TCP != "") {
			t.Fatalf("%+v, again %+v", c, again)
		}
	})
}

func TestErrorCodes(t *testing.T) {
	f := func(want catalog.Code, text string, err error) {
		t.Helper()
		if catalog.CodeOf(err) != want || fmt.Sprint(err) != text {
			t.Errorf("%v has code %s, want %q with %s", err, catalog.CodeOf(err), text, want)
		}
	}
	missing := catalog.Errorf(catalog.NotFound, "reading x: %w", fs.ErrNotExist)
	f(catalog.Internal, "<nil>", nil)
	f(catalog.Internal, "plain", errors.New("plain"))
	f(catalog.NotFound, "reading x: file does not exist", missing)
	f(catalog.NotFound, "while: reading x: file does not exist", fmt.Errorf("while: %w", missing))
	f(catalog.Denied, "no: reading x: file does not exist", catalog.Errorf(catalog.Denied, "no: %w", missing))
	f(catalog.NotFound, "a\nreading x: file does not exist", errors.Join(errors.New("a"), missing))
	if !errors.Is(missing, fs.ErrNotExist) {
		t.Error("the cause is lost")
	}
	two := catalog.Errorf(catalog.Limited, "%w and %w", fs.ErrNotExist, fs.ErrExist)
	if !errors.Is(two, fs.ErrNotExist) || !errors.Is(two, fs.ErrExist) {
		t.Error("one of two causes is lost")
	}
}

func TestDurations(t *testing.T) {
	f := func(text string, want time.Duration) {
		t.Helper()
		var d catalog.Duration
		if err := json.Unmarshal([]byte(text), &d); err != nil || time.Duration(d) != want {
			t.Errorf("%s is %v, %v; want %v", text, d, err, want)
		}
	}
	f(`"10s"`, 10*time.Second)
	f(`"1h2m3.5s"`, time.Hour+2*time.Minute+3500*time.Millisecond)
	f(`"-1s"`, -time.Second)
	f(`"15"`, 15)
	f(`15`, 15)
	f(`1e9`, time.Second)
	f(`""`, 0)
	f(`null`, 0)
	f(`-9223372036854775808`, math.MinInt64)
	for _, bad := range []string{`"10"s`, `"ten"`, `"10 s"`, `true`, `{}`, `[1]`, `1e300`, `-1e300`, `9223372036854775808`, `"9223372036854775808"`} {
		var d catalog.Duration
		if err := json.Unmarshal([]byte(bad), &d); err == nil {
			t.Errorf("%s is %v", bad, d)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		d := catalog.Duration(rapid.Int64().Draw(t, "nanoseconds"))
		var back catalog.Duration
		if text, err := json.Marshal(d); err != nil || json.Unmarshal(text, &back) != nil || back != d {
			t.Fatalf("%v became %s and %v", d, text, back)
		}
	})
}

// TestDistances: the estimate is symmetric, never negative, and no crafted coordinate is near for being far.
func TestDistances(t *testing.T) {
	number := rapid.OneOf(rapid.Float64Range(0, 0.2), rapid.Float64())
	rapid.Check(t, func(t *rapid.T) {
		draw := func() *catalog.Coordinate {
			c := &catalog.Coordinate{Error: 1, Adjustment: number.Draw(t, "adjustment"), Height: number.Draw(t, "height")}
			for range catalog.CoordinateDimensions {
				c.Vec = append(c.Vec, number.Draw(t, "vec"))
			}
			return c
		}
		a, b := draw(), draw()
		if d := a.Distance(b); d != b.Distance(a) || d < 0 {
			t.Fatalf("%v one way, %v back", d, b.Distance(a))
		}
	})
	far, near := &catalog.Coordinate{Vec: make([]float64, 8)}, &catalog.Coordinate{Vec: make([]float64, 8)}
	f := func(x float64, want time.Duration) {
		t.Helper()
		far.Vec[3] = x
		if got := near.Distance(far); got != want {
			t.Errorf("%g seconds away: %v, want %v", x, got, want)
		}
	}
	f(0, 0)
	f(0.25, 250*time.Millisecond)
	f(-0.25, 250*time.Millisecond)
	f(1e15, math.MaxInt64)
	f(1e300, math.MaxInt64)
	if near.Distance(nil) != math.MaxInt64 || near.Distance(&catalog.Coordinate{}) != math.MaxInt64 {
		t.Error("what has no place is near")
	}
	valid := func(want bool, edit func(c *catalog.Coordinate)) {
		t.Helper()
		c := &catalog.Coordinate{Vec: make([]float64, 8)}
		edit(c)
		if err := c.Validate(); (err == nil) != want {
			t.Errorf("%+v: %v", c, err)
		}
	}
	valid(true, func(*catalog.Coordinate) {})
	valid(false, func(c *catalog.Coordinate) { c.Vec = c.Vec[1:] })
	valid(false, func(c *catalog.Coordinate) { c.Vec[7] = math.NaN() })
	valid(false, func(c *catalog.Coordinate) { c.Height = math.Inf(1) })
	valid(false, func(c *catalog.Coordinate) { c.Error = math.Inf(-1) })
	valid(false, func(c *catalog.Coordinate) { c.Adjustment = math.NaN() })
}

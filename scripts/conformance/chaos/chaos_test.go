//go:build linux

package main

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// The planted bugs still fit the product, and each has a scenario that could find it.
func TestPlantedFit(t *testing.T) {
	root, err := filepath.Abs("../../..")
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range plants {
		if _, err := p.overlay(root, t.TempDir()); err != nil {
			t.Error(err)
		}
		if p.tests == "" && !slices.ContainsFunc(scenarios, func(s scenario) bool { return s.name == p.scenario }) {
			t.Errorf("planted bug %q has no scenario %q", p.name, p.scenario)
		}
	}
	missing := planted{name: "x", edits: []edit{{"go.mod", "no such text", ""}}}
	if _, err := missing.overlay(root, t.TempDir()); err == nil || !strings.Contains(err.Error(), "plant it anew") {
		t.Error(err)
	}
}

func TestGap(t *testing.T) {
	start := time.Now()
	var p probe
	for _, ms := range []int{-500, -20, 20, 40, 1040, 1060, 1500} {
		p.acked = append(p.acked, ack{at: start.Add(time.Duration(ms) * time.Millisecond)})
	}
	if gap := p.gap(start); gap != time.Second {
		t.Errorf("a gap of %s", gap)
	}
	if gap := p.gap(start.Add(1500 * time.Millisecond)); gap != 0 {
		t.Errorf("a gap of %s after the end", gap)
	}
}

// What must hold fails a run, what is a figure does not.
func TestVerdicts(t *testing.T) {
	var rows []row
	r := &run{rows: &rows, name: "x"}
	r.figure(false, "a time", "≤ 1s", "%s", time.Minute)
	r.gaps("times", []time.Duration{time.Hour}, time.Second, 0)
	r.check(true, "a promise", "yes", "yes")
	if r.failed || rows[0].met != "**no**" || rows[1].met != "**no**" || rows[2].met != "yes" {
		t.Errorf("%+v", rows)
	}
	r.check(false, "a promise", "yes", "no")
	if !r.failed || !rows[3].failed {
		t.Errorf("%+v", rows)
	}
}

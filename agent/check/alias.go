package check

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/curia-mesh/curia/catalog"
)

// AliasTarget names what an alias check follows: an instance of a service, or a node when ServiceID is "".
type AliasTarget struct {
	Node      string // "" is this node
	ServiceID string
	Token     string // the check's own token, "" for the agent's
}

// AliasState is how the target of an alias check is.
type AliasState struct {
	Found   bool             // whether the service, or the node, is registered
	Checks  []*catalog.Check // its checks; others of the same node do no harm
	Changed <-chan struct{}  // closed when the state may have changed, not before and seldom in vain
}

// Aliased knows the states of what alias checks follow.
type Aliased interface {
	// AliasState returns the present state of target. For a target on another node it may wait for the
	// first news, until ctx ends; ctx lives as long as the check, so the source may keep watching for it
	// until then. After an error it is asked again, with growing pauses.
	AliasState(ctx context.Context, target AliasTarget) (AliasState, error)
}

// The pauses between questions that failed.
const (
	aliasRetryMin = time.Second
	aliasRetryMax = time.Minute
)

// follow reports the state of an alias check whenever it changes.
func (r *Runner) follow(ctx context.Context) {
	target := AliasTarget{Node: r.def.AliasNode, ServiceID: r.def.AliasService, Token: r.def.Token}
	var lastStatus catalog.Status
	var lastOutput string
	retry := aliasRetryMin
	for ctx.Err() == nil {
		state, err := r.deps.Aliased.AliasState(ctx, target)
		status, output := r.alias(state)
		if err != nil {
			status, output = catalog.Critical, fmt.Sprintf("Alias of %s: %v", r.aliasName(), err)
		}
		if ctx.Err() != nil {
			return
		}
		if status != lastStatus || output != lastOutput {
			r.report(status, output)
			lastStatus, lastOutput = status, output
		}
		if err == nil {
			retry = aliasRetryMin
			select {
			case <-ctx.Done():
			case <-state.Changed:
			}
			continue
		}
		select {
		case <-ctx.Done():
		case <-time.After(retry/2 + rand.N(retry)):
			retry = min(2*retry, aliasRetryMax)
		}
	}
}

// alias is the worst state among the target's checks. An alias never counts itself.
func (r *Runner) alias(state AliasState) (catalog.Status, string) {
	if !state.Found {
		return catalog.Critical, r.aliasName() + " is not registered"
	}
	var worst *catalog.Check
	count := 0
	for _, c := range state.Checks {
		itself := c.CheckID == r.def.CheckID && (r.def.AliasNode == "" || r.def.AliasNode == r.deps.Node)
		if c.ServiceID != r.def.AliasService || itself {
			continue
		}
		count++
		if worst == nil || badness(c.Status) > badness(worst.Status) || badness(c.Status) == badness(worst.Status) && c.CheckID < worst.CheckID {
			worst = c
		}
	}
	switch {
	case worst == nil:
		return catalog.Passing, r.aliasName() + " has no checks"
	case worst.Status == catalog.Passing:
		return catalog.Passing, fmt.Sprintf("All %d checks of %s are passing", count, r.aliasName())
	}
	output := fmt.Sprintf("Check %q of %s is %s", worst.CheckID, r.aliasName(), worst.Status)
	if worst.Type != "alias" && worst.Output != "" { // aliases that follow each other would repeat themselves
		output += ": " + worst.Output
	}
	return worst.Status, output
}

func (r *Runner) aliasName() string {
	var parts []string
	if r.def.AliasService != "" {
		parts = append(parts, fmt.Sprintf("service %q", r.def.AliasService))
	}
	if r.def.AliasNode != "" {
		parts = append(parts, fmt.Sprintf("node %q", r.def.AliasNode))
	}
	return strings.Join(parts, " on ")
}

// badness orders states; one it does not know is as bad as can be.
func badness(s catalog.Status) int {
	if i := slices.Index([]catalog.Status{catalog.Passing, catalog.Warning}, s); i >= 0 {
		return i
	}
	return 2
}

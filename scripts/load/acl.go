//go:build linux

package main

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/curia-mesh/curia/scripts/report"
)

// withACL is the name of a Curia that checks tokens.
const withACL = "Curia-ACL"

const (
	bossToken  = "00000000-0000-4000-8000-0000000000b0"
	benchToken = "00000000-0000-4000-8000-0000000000be"
)

// checking is the configuration of an agent that checks tokens; requests have the management token at first.
func checking() map[string]any {
	return map[string]any{"acl": map[string]any{"enabled": true, "default_policy": "deny", "tokens": map[string]any{
		"initial_management": bossToken, "agent": bossToken, "default": bossToken,
	}}}
}

// confine gives the requests that follow a token which may do what the rows do, by rules as an application has them.
func confine(ctx context.Context, a *agent) error {
	rules := ""
	for i := range 20 {
		rules += fmt.Sprintf("key_prefix \"other/%d/\" { policy = \"deny\" }\nservice \"other-%d\" { policy = \"write\" }\n", i, i)
	}
	for _, r := range []string{"key", "service", "node", "session", "agent"} {
		rules += fmt.Sprintf("%s_prefix \"\" { policy = \"write\" }\n", r)
	}
	policy, err := json.Marshal(map[string]string{"Name": "bench", "Rules": rules})
	if err != nil {
		return err
	}
	for _, write := range []struct{ path, body string }{
		{"/v1/acl/policy", string(policy)},
		{"/v1/acl/token", fmt.Sprintf(`{"SecretID":%q,"Policies":[{"Name":"bench"}]}`, benchToken)},
		{"/v1/agent/token/default", fmt.Sprintf(`{"Token":%q}`, benchToken)},
	} {
		if err := a.put(ctx, write.path, write.body); err != nil {
			return fmt.Errorf("%s: %w", write.path, err)
		}
	}
	return nil
}

// costOfACL is a row of what checking tokens costs.
func costOfACL(q request, got map[string]figure) []string {
	plain, checked := got["Curia"], got[withACL]
	return []string{q.key(), plain.String(), checked.String(), times(over(checked, plain)), times(float64(checked.cpu) / float64(plain.cpu))}
}

func showACL(r report.Report, rows [][]string) {
	r.Heading("What checking tokens costs")
	r.Table([]string{"request", "without ACLs", "with a token of 45 rules", "× rate", "× CPU"}, rows)
}

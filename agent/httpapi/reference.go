package httpapi

import (
	"fmt"
	"io"
	"slices"
	"strings"
)

// Reference writes the page website/docs/reference/http.md, in Markdown, from the route table.
func Reference(w io.Writer) error {
	var b strings.Builder
	b.WriteString(`# HTTP API: the routes

This page is made from the table of routes. What parameters and bodies mean is as in
[Consul's API](https://developer.hashicorp.com/consul/api-docs); where an answer differs on purpose, the
page [Differences](../differences.md) says so.

Every route takes ` + "`dc`, `token` (better: the header `X-Consul-Token`), `pretty`" + `; those that read also take
` + "`index`, `wait`, `stale`, `consistent`, `max_stale`, `filter`" + `.

| path | methods | what it does | ACL |
|---|---|---|---|
`)
	routes := Routes()
	slices.SortFunc(routes, func(a, b Route) int { return strings.Compare(a.Path, b.Path) })
	for _, r := range routes {
		var methods []string
		for _, m := range r.Methods {
			methods = append(methods, m.Name)
		}
		path := strings.NewReplacer("...}", "", "{", ":", "}", "").Replace(r.Path)
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", path, strings.Join(methods, ", "), r.Doc, r.ACL)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

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

The last column is what the token must be allowed, and a test holds it to what is enforced. Rights joined by a comma are
all needed; between those joined by "or" decides what is asked for: the kind of config entry, the operation of the
transaction, whose check it is. Lists leave out what the token may not see, and say so in the header
` + "`X-Consul-Results-Filtered-By-ACLs`" + `. [ACL rules](../acl-rules.md) says how rules are written.

| path | methods | what it does | ACL |
|---|---|---|---|
`)
	routes := Routes()
	slices.SortFunc(routes, func(a, b Route) int { return strings.Compare(a.Path, b.Path) })
	for _, r := range routes {
		var methods, rights []string
		of := map[Rights][]string{}
		for _, m := range r.Methods {
			methods = append(methods, m.Name)
			need := r.Rights(m.Name)
			if of[need] == nil {
				rights = append(rights, string(need))
			}
			of[need] = append(of[need], m.Name)
		}
		acl := rights[0]
		if len(rights) > 1 {
			for i, need := range rights {
				rights[i] = strings.Join(of[Rights(need)], ", ") + ": " + need
			}
			acl = strings.Join(rights, "; ")
		}
		acl = strings.ReplaceAll(acl, " | ", " or ")
		path := strings.NewReplacer("...}", "", "{", ":", "}", "").Replace(r.Path)
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", path, strings.Join(methods, ", "), r.Doc, acl)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

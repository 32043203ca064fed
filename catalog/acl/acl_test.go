package acl_test

import (
	"strings"
	"testing"

	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/catalog/acl"
)

// only allows what is in it, by resource, access and name.
type only string

func (o only) Allows(n acl.Need) bool {
	return strings.Contains(" "+string(o)+" ", " "+string(n.Resource)+":"+string(n.Access)+":"+n.Name+" ")
}

func (o only) View() string { return string(o) }

func TestEnforce(t *testing.T) {
	read := func(name string) acl.Need { return acl.Need{Resource: acl.Key, Name: name, Access: acl.Read} }
	write := acl.Need{Resource: acl.Key, Name: "a", Access: acl.Write}
	f := func(az acl.Authorizer, denied string, needs ...acl.Need) {
		t.Helper()
		err := acl.Enforce(az, needs)
		switch {
		case denied == "" && err != nil:
			t.Errorf("%v: %v", needs, err)
		case denied != "" && (catalog.CodeOf(err) != catalog.Denied || !strings.Contains(err.Error(), denied)):
			t.Errorf("%v: %v, want one that says %s", needs, err, denied)
		}
	}
	f(acl.AllowAll(), "", read("a"), write, acl.Need{Resource: acl.Operator, Access: acl.Write})
	f(only(""), "")
	f(only("key:read:a"), "", read("a"))
	f(only("key:read:a"), `key:read on "b"`, read("a"), read("b"), write)
	f(only("key:read:a key:read:b"), `key:write on "a"`, read("b"), write, read("c"))
	f(only("key:write:a"), `key:read on "a"`, read("a")) // no way of access implies another here
}

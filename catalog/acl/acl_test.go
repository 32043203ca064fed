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
	f(only("key:read:a"), `'key:read' on "b"`, read("a"), read("b"), write)
	f(only("key:read:a key:read:b"), `'key:write' on "a"`, read("b"), write, read("c"))
	f(only("key:write:a"), `'key:read' on "a"`, read("a")) // no way of access implies another here
}

// TestRefuse: clients and people look for these words.
func TestRefuse(t *testing.T) {
	rules, err := acl.Parse(`key_prefix "" { policy = "read" } operator = "read"`)
	if err != nil {
		t.Fatal(err)
	}
	az := acl.Compile(acl.Deny, rules)
	f := func(az acl.Authorizer, need acl.Need, want string) {
		t.Helper()
		if got := acl.Enforce(az, []acl.Need{need}).Error(); got != want {
			t.Errorf("got %s\nwant %s", got, want)
		}
	}
	write := acl.Need{Resource: acl.Key, Name: "foo", Access: acl.Write}
	f(acl.As("1234", az), write, `Permission denied: token with AccessorID '1234' lacks permission 'key:write' on "foo"; the rule key_prefix "" with policy read decides`)
	f(acl.As("1234", az), acl.Need{Resource: acl.Key, Name: "foo", Access: acl.WritePrefix}, `Permission denied: token with AccessorID '1234' lacks permission 'key:write' on "foo"; the rule key_prefix "" with policy read decides`)
	f(acl.As(acl.AnonymousID, az), acl.Need{Resource: acl.ACL, Access: acl.Read}, `Permission denied: anonymous token lacks permission 'acl:read'. The anonymous token is used implicitly when a request does not specify a token.`)
	f(acl.As(acl.AnonymousID, az), acl.Need{Resource: acl.Node, Name: "n", Access: acl.Read}, `Permission denied: anonymous token lacks permission 'node:read' on "n". The anonymous token is used implicitly when a request does not specify a token; the default policy, deny, decides`)
	f(az, acl.Need{Resource: acl.Operator, Access: acl.Write}, `Permission denied: token lacks permission 'operator:write'; the rule operator = "read" decides`)
	f(only(""), write, `Permission denied: token lacks permission 'key:write' on "foo"`)
	either := write
	either.Or = &acl.Need{Resource: acl.Operator, Access: acl.Read}
	if err := acl.Enforce(az, []acl.Need{either}); err != nil {
		t.Error(err)
	}
}

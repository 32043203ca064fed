package fleet_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/curia-mesh/curia/agent/testkit"
)

// TestKeysOfAnotherDatacenter: an entry that is written in the primary has the secondary copy keys, as soon as its replication
// token may read them, and until then it is said what that lacks; after the source was away they come again.
func TestKeysOfAnotherDatacenter(t *testing.T) {
	one, two := guardedFederation(t, true)
	two.Log.Wait(t, "the copy is as its source is: kind=acl-tokens")
	const rights = `acl = \"write\" operator = \"write\"`
	id := makeACL(t, one, "/v1/acl/policy", `{"Name":"copier","Rules":"`+rights+`"}`, "ID")
	copier := makeACL(t, one, "/v1/acl/token", `{"Policies":[{"Name":"copier"}]}`, "SecretID")
	two.Do(t, "PUT", "/v1/agent/token/replication", `{"Token":"`+copier+`"}`, "X-Consul-Token", boss).Want(t, http.StatusOK)
	write := func(p *testkit.Process, key, value string) {
		t.Helper()
		p.Do(t, "PUT", "/v1/kv/"+key, value, "X-Consul-Token", boss).Want(t, http.StatusOK)
	}
	write(one, "config/a", "from dc1")
	write(one, "other", "from dc1")
	write(two, "config/mine", "from dc2")
	entry := `{"Kind":"kv-replication","Name":"settings","Source":"dc1","Prefixes":["config/"]}`
	two.Do(t, "PUT", "/v1/config", entry, "X-Consul-Token", boss).Want(t, http.StatusOK) // it is for the primary, which has it passed on
	if r := two.Do(t, "PUT", "/v1/config", strings.NewReplacer("settings", "others", "dc1", "dc2").Replace(entry), "X-Consul-Token", boss); r.Status != http.StatusInternalServerError || !strings.Contains(r.Body, "kv-replication/settings") {
		t.Errorf("%d %s", r.Status, r.Body)
	}

	two.Log.Wait(t, "datacenter dc1 does not let its keys be copied")
	status := func() string {
		t.Helper()
		out, code := two.Run(t, "kv", "replication", "-token="+boss)
		if code != 0 {
			t.Error(out)
		}
		return out
	}
	if out := status(); !strings.Contains(out, "settings") || !strings.Contains(out, `lacks permission 'key:read' on "config/"`) || !strings.Contains(out, "acl.tokens.replication") {
		t.Error(out)
	}
	two.Do(t, "GET", "/v1/operator/kv-replication", "").Want(t, http.StatusForbidden)
	makeACL(t, one, "/v1/acl/policy/"+id, `{"Name":"copier","Rules":"`+rights+` key_prefix \"config/\" { policy = \"read\" }"}`, "ID")
	waitFor(t, two, "/v1/kv/config/a?raw", boss, contains("from dc1"))
	two.Log.Wait(t, "the copy is as its source is: entry=settings")
	if out := status(); strings.Contains(out, "lacks") || !strings.Contains(out, "settings  dc1     config/   1     0") {
		t.Error(out)
	}
	two.Do(t, "GET", "/v1/kv/other", "", "X-Consul-Token", boss).Want(t, http.StatusNotFound)
	two.Do(t, "GET", "/v1/kv/config/mine", "", "X-Consul-Token", boss).Want(t, http.StatusOK)
	if out, _ := one.Run(t, "kv", "replication", "-token="+boss); !strings.Contains(out, "dc1 copies no keys from other datacenters") {
		t.Error(out)
	}
	if out, _ := two.Run(t, "info", "-token="+boss); !strings.Contains(out, "kv_replication = 1 copies of other datacenters' keys, 0 not as there") {
		t.Error(out)
	}

	one.Kill(t)
	two.Log.Wait(t, "the copy is not as its source is; it is tried again: entry=settings")
	two.Do(t, "GET", "/v1/kv/config/a", "", "X-Consul-Token", boss).Want(t, http.StatusOK)
	one = one.Node.Spawn(t)
	write(one, "config/a", "news")
	waitFor(t, two, "/v1/kv/config/a?raw", boss, contains("news"))
}

package fleet_test

import (
	"crypto/x509"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/curia-mesh/curia/agent/testkit"
	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/connect"
)

// federation runs a primary datacenter, dc1, and a secondary one, dc2.
func federation(t *testing.T, s testkit.Settings) (one, two *testkit.Process) {
	t.Helper()
	s = merged(testkit.Settings{"primary_datacenter": "dc1"}, s)
	return datacenters(t, s)
}

// ruled waits until a server signs by the primary's root.
func ruled(t *testing.T, p *testkit.Process) {
	t.Helper()
	p.Log.Wait(t, "an intermediate of the primary datacenter signs the mesh's certificates")
}

func roots(t *testing.T, p *testkit.Process) *catalog.Roots {
	t.Helper()
	found := &catalog.Roots{}
	p.Get(t, "/v1/agent/connect/ca/roots").Want(t, http.StatusOK).JSON(t, found)
	return found
}

// leaf is the certificate of a service, with those that lead from it to a root.
func leaf(t *testing.T, p *testkit.Process, service string) []*x509.Certificate {
	t.Helper()
	var issued catalog.IssuedCert
	p.Get(t, "/v1/agent/connect/ca/leaf/"+service).Want(t, http.StatusOK).JSON(t, &issued)
	chain, err := connect.ParseCertificates(issued.CertPEM)
	if err != nil {
		t.Fatal(err)
	}
	return chain
}

// believes verifies a certificate as a peer at the process does, and returns whose it is.
func believes(t *testing.T, p *testkit.Process, chain []*x509.Certificate) (connect.ID, error) {
	t.Helper()
	known := roots(t, p)
	var texts []string
	for _, r := range known.Roots {
		texts = append(texts, r.RootCert)
	}
	trust, err := connect.NewTrust(known.TrustDomain, texts...)
	if err != nil {
		t.Fatal(err)
	}
	return trust.Verify(chain, x509.ExtKeyUsageClientAuth)
}

// TestOneTrustDomain: certificates of a secondary datacenter are good in the primary one and the other way round, also
// after the primary has another root, and while it is away.
func TestOneTrustDomain(t *testing.T) {
	one, two := federation(t, nil)
	ruled(t, two)
	both := func() {
		t.Helper()
		for _, from := range []*testkit.Process{one, two} {
			chain := leaf(t, from, "web")
			for _, at := range []*testkit.Process{one, two} {
				id, err := believes(t, at, chain)
				if dc := map[*testkit.Process]string{one: "dc1", two: "dc2"}[from]; err != nil || id.Datacenter != dc || id.Name != "web" {
					t.Errorf("from %s: %v %v", dc, id, err)
				}
			}
		}
	}
	both()
	before := roots(t, two)
	if mine := roots(t, one); mine.TrustDomain != before.TrustDomain || mine.ActiveRootID != before.ActiveRootID {
		t.Errorf("the primary has %s %s, the secondary %s %s", mine.TrustDomain, mine.ActiveRootID, before.TrustDomain, before.ActiveRootID)
	}
	if r := two.Do(t, "PUT", "/v1/connect/ca/configuration", `{"Provider":"consul","Config":{"PrivateKey":"x","RootCert":"y"}}`); r.Status == http.StatusOK || !strings.Contains(r.Body, "primary datacenter dc1") {
		t.Errorf("%d %s", r.Status, r.Body)
	}

	one.Put(t, "/v1/connect/ca/configuration", `{"Provider":"consul","Config":{"PrivateKeyType":"ec","PrivateKeyBits":384}}`).Want(t, http.StatusOK)
	ruled(t, two)
	if after := roots(t, two); after.ActiveRootID == before.ActiveRootID || after.ActiveRootID != roots(t, one).ActiveRootID || len(after.Roots) != 2 {
		t.Errorf("the secondary has %+v", after)
	}
	both()

	one.Kill(t)
	if id, err := believes(t, two, leaf(t, two, "later")); err != nil || id.Datacenter != "dc2" {
		t.Errorf("while the primary is away: %v %v", id, err)
	}
}

// TestSecondaryOfSecondary: a datacenter whose primary is none is told by whom, and which side must change.
func TestSecondaryOfSecondary(t *testing.T) {
	one, two := federation(t, nil)
	ruled(t, two)
	three := testkit.New(t, testkit.Settings{
		"node_name": "c1", "datacenter": "dc3", "primary_datacenter": "dc2", "retry_join_wan": []string{fmt.Sprintf("127.0.0.1:%d", one.SerfWAN)},
	}).Spawn(t)
	three.Log.Wait(t, "datacenter dc2 is no primary")
	if !strings.Contains(three.Log.String(), "set primary_datacenter to that on the servers of dc3") {
		t.Error(three.Log.Tail())
	}
	if text, err := json.Marshal(roots(t, three)); err != nil || strings.Contains(string(text), "BEGIN") {
		t.Errorf("%s %v", text, err)
	}
}

// TestPrimaryNowhere: a secondary datacenter that joins itself, and whose primary is nowhere, says which settings lead nowhere, and is
// healed when the primary comes.
func TestPrimaryNowhere(t *testing.T) {
	place := testkit.New(t, testkit.Settings{"node_name": "b1", "datacenter": "dc2", "primary_datacenter": "dc9", "retry_interval_wan": "1s"})
	own := []string{fmt.Sprintf("127.0.0.1:%d", place.SerfWAN)}
	place.Configure(t, testkit.Settings{"retry_join_wan": own})
	two := place.Spawn(t)
	told(t, two.Log, "it is the primary_datacenter of dc2: set that right on its servers, or their retry_join_wan")
	told(t, two.Log, "retry_join_wan leads to servers of dc2 alone, this datacenter, and primary_datacenter is dc9: name servers of that in retry_join_wan here")
	testkit.New(t, testkit.Settings{"node_name": "z1", "datacenter": "dc9", "retry_join_wan": own}).Spawn(t)
	ruled(t, two)
}

// TestPrimariesOfEachOther: two datacenters that each have the other for the primary both say so, and one setting heals both.
func TestPrimariesOfEachOther(t *testing.T) {
	first := testkit.New(t, testkit.Settings{"node_name": "a1", "datacenter": "dc1", "primary_datacenter": "dc2"})
	one := first.Spawn(t)
	two := testkit.New(t, testkit.Settings{
		"node_name": "b1", "datacenter": "dc2", "primary_datacenter": "dc1", "retry_join_wan": []string{fmt.Sprintf("127.0.0.1:%d", first.SerfWAN)},
	}).Spawn(t)
	for _, p := range []*testkit.Process{one, two} {
		told(t, p.Log, "each have the other as primary_datacenter, so neither is primary: set it to the same one of the two on the servers of both")
	}
	one.Kill(t)
	first.Configure(t, testkit.Settings{"primary_datacenter": "dc1"})
	first.Spawn(t)
	ruled(t, two)
}

// waitFor asks until an answer is as it should be. Each question waits for a change after the one before, so nothing here
// is a matter of time.
func waitFor(t *testing.T, p *testkit.Process, path string, token string, good func(testkit.Reply) bool) testkit.Reply {
	t.Helper()
	sep := "?"
	if strings.Contains(path, "?") {
		sep = "&"
	}
	index := uint64(0)
	for range 100 {
		r := p.Do(t, "GET", fmt.Sprintf("%s%sindex=%d&wait=1m", path, sep, index), "", "X-Consul-Token", token)
		if good(r) {
			return r
		}
		index = max(r.Index(), 1)
	}
	t.Fatalf("%s never was as it should be", path)
	return testkit.Reply{}
}

func contains(text string) func(testkit.Reply) bool {
	return func(r testkit.Reply) bool { return strings.Contains(r.Body, text) }
}

func lacks(text string) func(testkit.Reply) bool {
	return func(r testkit.Reply) bool { return !strings.Contains(r.Body, text) }
}

// TestConfigEntriesAreCopied: what is written of config entries and intentions in any datacenter is written in the primary
// and copied to the others, where it stays while the primary is away.
func TestConfigEntriesAreCopied(t *testing.T) {
	one, two := federation(t, nil)
	one.Put(t, "/v1/config", `{"Kind":"service-defaults","Name":"web","Protocol":"http"}`).Want(t, http.StatusOK)
	waitFor(t, two, "/v1/config/service-defaults", "", contains(`"web"`))
	two.Put(t, "/v1/config", `{"Kind":"service-resolver","Name":"web","ConnectTimeout":"3s"}`).Want(t, http.StatusOK)
	if r := one.Get(t, "/v1/config/service-resolver/web"); r.Status != http.StatusOK {
		t.Errorf("it was not written in the primary: %d %s", r.Status, r.Body)
	}
	two.Put(t, "/v1/connect/intentions/exact?source=web&destination=db", `{"Action":"deny"}`).Want(t, http.StatusOK)
	waitFor(t, two, "/v1/connect/intentions", "", contains(`"db"`))
	waitFor(t, two, "/v1/config/service-resolver", "", contains(`"web"`))
	one.Do(t, "DELETE", "/v1/config/service-resolver/web", "").Want(t, http.StatusOK)
	waitFor(t, two, "/v1/config/service-resolver", "", lacks(`"web"`))
	one.Kill(t)
	if r := two.Get(t, "/v1/config/service-defaults/web"); r.Status != http.StatusOK {
		t.Errorf("while the primary is away: %d %s", r.Status, r.Body)
	}
	if r := two.Do(t, "PUT", "/v1/config", `{"Kind":"service-defaults","Name":"db"}`); r.Status != http.StatusInternalServerError || !strings.Contains(r.Body, `No path to datacenter "dc1"`) {
		t.Errorf("a write while the primary is away: %d %s", r.Status, r.Body)
	}
	one.Node.Spawn(t)
	two.Log.Wait(t, "a datacenter can be reached again")
	two.Put(t, "/v1/config", `{"Kind":"service-defaults","Name":"db","Protocol":"http"}`).Want(t, http.StatusOK)
	waitFor(t, two, "/v1/config/service-defaults", "", contains(`"db"`))
}

// guardedFederation runs two datacenters that check tokens. The primary's management token is boss, and the secondary asks
// with it.
func guardedFederation(t *testing.T, copied bool) (one, two *testkit.Process) {
	t.Helper()
	first := testkit.New(t, testkit.Settings{
		"node_name": "a1", "datacenter": "dc1", "acl": testkit.Settings{
			"enabled": true, "default_policy": "deny", "tokens": testkit.Settings{"initial_management": boss, "agent": boss},
		},
	})
	second := testkit.New(t, testkit.Settings{
		"node_name": "b1", "datacenter": "dc2", "primary_datacenter": "dc1", "retry_join_wan": []string{fmt.Sprintf("127.0.0.1:%d", first.SerfWAN)},
		"acl": testkit.Settings{
			"enabled": true, "default_policy": "deny", "enable_token_replication": copied, "token_ttl": "1s", "policy_ttl": "1s", "role_ttl": "1s",
			"tokens": testkit.Settings{"replication": boss, "agent": boss},
		},
	})
	one, two = first.Spawn(t), second.Spawn(t)
	knows(t, one, "dc2")
	knows(t, two, "dc1")
	return one, two
}

// make writes something of the ACL system and returns one field of the answer.
func makeACL(t *testing.T, p *testkit.Process, path, body, field string) string {
	t.Helper()
	made := map[string]any{}
	p.Do(t, "PUT", path, body, "X-Consul-Token", boss).Want(t, http.StatusOK).JSON(t, &made)
	text, _ := made[field].(string)
	return text
}

// TestTokensAreCopied: ACLs are written in the primary, whoever is asked, and copied; local tokens stay where they are.
func TestTokensAreCopied(t *testing.T) {
	one, two := guardedFederation(t, true)
	two.Log.Wait(t, "the copy is as its source is: kind=acl-tokens")
	makeACL(t, two, "/v1/acl/policy", `{"Name":"keys","Rules":"key_prefix \"\" { policy = \"write\" }"}`, "ID")
	makeACL(t, two, "/v1/acl/role", `{"Name":"writer","Policies":[{"Name":"keys"}]}`, "ID")
	global := makeACL(t, two, "/v1/acl/token", `{"Description":"everywhere","Roles":[{"Name":"writer"}]}`, "SecretID")
	waitFor(t, two, "/v1/acl/tokens", boss, contains("everywhere"))
	local := makeACL(t, two, "/v1/acl/token", `{"Description":"here","Local":true,"Policies":[{"Name":"keys"}]}`, "SecretID")
	for _, secret := range []string{global, local} {
		two.Do(t, "PUT", "/v1/kv/k", "v", "X-Consul-Token", secret).Want(t, http.StatusOK)
	}
	one.Do(t, "PUT", "/v1/kv/k", "v", "X-Consul-Token", global).Want(t, http.StatusOK)
	one.Do(t, "PUT", "/v1/kv/k", "v", "X-Consul-Token", local).Want(t, http.StatusForbidden)
	if r := one.Do(t, "GET", "/v1/acl/tokens", "", "X-Consul-Token", boss); strings.Contains(r.Body, `"here"`) {
		t.Errorf("a local token was copied: %s", r.Body)
	}
	var status struct {
		Enabled, Running                                           bool
		SourceDatacenter, ReplicationType                          string
		ReplicatedIndex, ReplicatedRoleIndex, ReplicatedTokenIndex uint64
		LastSuccess                                                time.Time
	}
	two.Do(t, "GET", "/v1/acl/replication", "").Want(t, http.StatusOK).JSON(t, &status)
	if !status.Enabled || !status.Running || status.SourceDatacenter != "dc1" || status.ReplicationType != "tokens" || status.ReplicatedIndex == 0 || status.ReplicatedTokenIndex == 0 || status.LastSuccess.IsZero() {
		t.Errorf("%+v", status)
	}

	one.Kill(t)
	for _, secret := range []string{global, local} {
		two.Do(t, "PUT", "/v1/kv/k", "w", "X-Consul-Token", secret).Want(t, http.StatusOK)
	}
	two.Do(t, "PUT", "/v1/kv/k", "w", "X-Consul-Token", "99999999-9999-9999-9999-999999999999").Want(t, http.StatusForbidden)
}

// TestTokensElsewhere: without a copy a secondary asks the primary what tokens stand for, and remembers it while that is away.
func TestTokensElsewhere(t *testing.T) {
	one, two := guardedFederation(t, false)
	client := two.Join(t, "c1", testkit.Settings{
		"datacenter": "dc2", "primary_datacenter": "dc1", "acl": testkit.Settings{"enabled": true, "default_policy": "deny", "tokens": testkit.Settings{"agent": boss}},
	}).Spawn(t)
	makeACL(t, two, "/v1/acl/policy", `{"Name":"keys","Datacenters":["dc2"],"Rules":"key_prefix \"\" { policy = \"write\" }"}`, "ID")
	global := makeACL(t, two, "/v1/acl/token", `{"Description":"everywhere","Policies":[{"Name":"keys"}]}`, "SecretID")
	for _, p := range []*testkit.Process{two, client} {
		p.Do(t, "PUT", "/v1/kv/k", "v", "X-Consul-Token", global).Want(t, http.StatusOK)
		if r := p.Do(t, "GET", "/v1/acl/token/self", "", "X-Consul-Token", global); !strings.Contains(r.Body, "everywhere") {
			t.Errorf("%d %s", r.Status, r.Body)
		}
	}
	one.Do(t, "PUT", "/v1/kv/k", "v", "X-Consul-Token", global).Want(t, http.StatusForbidden) // the policy is for dc2
	two.Do(t, "PUT", "/v1/kv/k", "v").Want(t, http.StatusForbidden)
	one.Kill(t)
	two.Do(t, "PUT", "/v1/kv/k", "w", "X-Consul-Token", global).Want(t, http.StatusOK)
	two.Do(t, "PUT", "/v1/kv/k", "w").Want(t, http.StatusForbidden)
}

// TestPromote: a secondary becomes the primary without losing anything, the datacenters follow it, and the mesh goes on.
func TestPromote(t *testing.T) {
	one, two := federation(t, nil)
	ruled(t, two)
	three := testkit.New(t, testkit.Settings{
		"node_name": "c1", "datacenter": "dc3", "primary_datacenter": "dc1", "retry_join_wan": []string{fmt.Sprintf("127.0.0.1:%d", one.SerfWAN)},
	}).Spawn(t)
	ruled(t, three)
	one.Put(t, "/v1/config", `{"Kind":"service-defaults","Name":"web","Protocol":"http"}`).Want(t, http.StatusOK)
	waitFor(t, two, "/v1/config/service-defaults", "", contains(`"web"`))
	old := map[*testkit.Process][]*x509.Certificate{one: leaf(t, one, "web"), two: leaf(t, two, "web"), three: leaf(t, three, "web")}

	if r := one.Do(t, "PUT", "/v1/operator/federation/promote", ""); r.Status == http.StatusOK || !strings.Contains(r.Body, "is the primary already") {
		t.Errorf("%d %s", r.Status, r.Body)
	}
	if out, code := two.Run(t, "operator", "federation", "promote"); code != 0 || !strings.Contains(out, "dc2 is the primary datacenter now") {
		t.Fatal(out)
	}
	ruled(t, one) // it signs with an intermediate of dc2
	three.Log.Wait(t, "another datacenter is the primary now: primary=dc2")
	ruled(t, three)
	for from, before := range old {
		for _, chain := range [][]*x509.Certificate{before, leaf(t, from, "web")} {
			for _, at := range []*testkit.Process{one, two, three} {
				if _, err := believes(t, at, chain); err != nil {
					t.Errorf("from %s at %s: %v", from.Addr(), at.Addr(), err)
				}
			}
		}
	}
	one.Put(t, "/v1/config", `{"Kind":"service-defaults","Name":"db","Protocol":"http"}`).Want(t, http.StatusOK)
	if r := two.Get(t, "/v1/config/service-defaults/db"); r.Status != http.StatusOK {
		t.Errorf("it was not written in the new primary: %s", r.Body)
	}
	for _, p := range []*testkit.Process{one, three} {
		waitFor(t, p, "/v1/config/service-defaults", "", contains(`"db"`))
		waitFor(t, p, "/v1/config/service-defaults", "", contains(`"web"`))
		if out, code := p.Run(t, "operator", "federation", "status"); code != 0 || !strings.Contains(out, "copies from the primary datacenter dc2") || !strings.Contains(out, "set primary_datacenter to it, which is dc1 here") {
			t.Error(out)
		}
	}
	two.Kill(t)
	two = two.Node.Spawn(t) // it remembers
	if out, _ := two.Run(t, "operator", "federation", "status"); !strings.Contains(out, "dc2 is the primary datacenter") {
		t.Error(out)
	}
}

// TestJoinThatWouldDelete: a datacenter that had data of its own names it before it copies, and loses it when that is accepted.
func TestJoinThatWouldDelete(t *testing.T) {
	one := testkit.New(t, testkit.Settings{"node_name": "a1", "datacenter": "dc1"}).Spawn(t)
	place := testkit.New(t, testkit.Settings{"node_name": "b1", "datacenter": "dc2", "connect": testkit.Settings{"test_ca_leaf_root_change_spread": "1ms"}})
	two := place.Spawn(t)
	two.Put(t, "/v1/config", `{"Kind":"service-defaults","Name":"old","Protocol":"http"}`).Want(t, http.StatusOK)
	leaf(t, two, "web")
	two.Stop(t)
	place.Configure(t, testkit.Settings{"primary_datacenter": "dc1", "retry_join_wan": []string{fmt.Sprintf("127.0.0.1:%d", one.SerfWAN)}})
	two = place.Spawn(t)
	two.Log.Wait(t, "config-entries service-defaults/old")
	if out, _ := two.Run(t, "operator", "federation", "status"); !strings.Contains(out, "service-defaults/old") || !strings.Contains(out, "certificates of the trust domain") {
		t.Error(out)
	}
	two.Get(t, "/v1/config/service-defaults/old").Want(t, http.StatusOK)
	if _, err := believes(t, two, leaf(t, two, "web")); err != nil {
		t.Error("its mesh does not go on:", err)
	}
	if out, code := two.Run(t, "operator", "federation", "accept"); code != 0 || !strings.Contains(out, "deleted: config-entries service-defaults/old") {
		t.Error(out)
	}
	ruled(t, two)
	waitFor(t, two, "/v1/config/service-defaults", "", lacks("old"))
	waitFor(t, two, "/v1/agent/connect/ca/leaf/web", "", func(r testkit.Reply) bool {
		var issued catalog.IssuedCert
		r.Want(t, http.StatusOK).JSON(t, &issued)
		chain, err := connect.ParseCertificates(issued.CertPEM)
		if err == nil {
			_, err = believes(t, one, chain)
		}
		return err == nil
	})
}

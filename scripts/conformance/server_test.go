package conformance

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"
)

func TestStatus(t *testing.T) {
	t.Parallel()
	a := start(t, nil)
	rpc := fmt.Sprintf("%s:%d", a.host, a.port["server"])
	leader, err := a.Status().Leader()
	must(t, err)
	peers, err := a.Status().Peers()
	must(t, err)
	equal(t, "leader and peers", []any{leader, peers}, []any{rpc, []string{rpc}})
	leader, err = a.Status().LeaderWithQueryOptions(&api.QueryOptions{Datacenter: "dc1"})
	must(t, err)
	equal(t, "leader of dc1", leader, rpc)
	_, err = a.Status().PeersWithQueryOptions(&api.QueryOptions{Datacenter: "nowhere"})
	refused(t, "peers of another datacenter", err, 500)
	if !strings.Contains(fmt.Sprint(err), "No path to datacenter") {
		t.Errorf("the error does not say that there is no path: %v", err)
	}
}

// A snapshot brings back keys, catalog and sessions; one that is damaged changes nothing.
func TestSnapshot(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{"dev", "persistent"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			a := prepare(t, nil)
			a.dev = kind == "dev"
			a.start()
			fleet(t, a)
			_, err := a.KV().Put(&api.KVPair{Key: "kept", Value: []byte("1"), Flags: 5}, nil)
			must(t, err)
			holder := session(t, a)
			got, _, err := a.KV().Acquire(&api.KVPair{Key: "lock", Session: holder}, nil)
			must(t, err)
			equal(t, "acquired", got, true)
			stream, meta, err := a.Snapshot().Save(nil)
			must(t, err)
			saved, err := io.ReadAll(stream)
			stream.Close()
			must(t, err)
			if meta.LastIndex == 0 || !meta.KnownLeader {
				t.Errorf("meta of the snapshot: %s", asJSON(meta))
			}
			equal(t, "files of the archive", filesOf(t, saved), []string{"SHA256SUMS", "meta.json", "state.bin"})

			_, err = a.KV().Put(&api.KVPair{Key: "kept", Value: []byte("2")}, nil)
			must(t, err)
			_, err = a.KV().Put(&api.KVPair{Key: "added"}, nil)
			must(t, err)
			_, err = a.Catalog().Deregister(&api.CatalogDeregistration{Node: "n2"}, nil)
			must(t, err)
			_, meta, err = a.KV().Get("kept", nil)
			must(t, err)
			woken := make(chan *api.KVPair, 1)
			go func() { // ends when the snapshot replaces the key
				p, _, _ := a.KV().Get("kept", &api.QueryOptions{WaitIndex: meta.LastIndex, WaitTime: patience})
				woken <- p
			}()
			must(t, a.Snapshot().Restore(nil, bytes.NewReader(saved)))
			if p := <-woken; p == nil || string(p.Value) != "1" || p.Flags != 5 {
				t.Errorf("who waited for the key got %s", asJSON(p))
			}
			restored(t, a, holder)

			for what, bad := range map[string][]byte{"rubbish": []byte("rubbish"), "half of it": saved[:len(saved)/2], "nothing": nil, "a flipped bit": flipped(saved)} {
				if err := a.Snapshot().Restore(nil, bytes.NewReader(bad)); err == nil {
					t.Errorf("%s was restored", what)
				}
			}
			restored(t, a, holder)
			if kind == "persistent" {
				a.stop()
				a.start()
				restored(t, a, holder)
			}
		})
	}
}

// restored checks what the snapshot holds.
func restored(t *testing.T, a *agent, holder string) {
	t.Helper()
	keys, _, err := a.KV().Keys("", "", nil)
	must(t, err)
	equal(t, "keys", keys, []string{"kept", "lock"})
	p, _, err := a.KV().Get("lock", nil)
	must(t, err)
	equal(t, "holder of the lock", p.Session, holder)
	s, _, err := a.Session().Info(holder, nil)
	must(t, err)
	if s == nil {
		t.Error("the session is gone")
	}
	web, _, err := a.Health().Service("web", "", false, nil)
	must(t, err)
	equal(t, "instances", names(web, func(e *api.ServiceEntry) string { return e.Service.ID }), []string{"web-1", "web-2", "web-3"})
}

func filesOf(t *testing.T, archive []byte) []string {
	t.Helper()
	unzipped, err := gzip.NewReader(bytes.NewReader(archive))
	must(t, err)
	var files []string
	for r := tar.NewReader(unzipped); ; {
		h, err := r.Next()
		if err == io.EOF {
			slices.Sort(files)
			return files
		}
		must(t, err)
		files = append(files, h.Name)
	}
}

func flipped(archive []byte) []byte {
	bad := bytes.Clone(archive)
	bad[len(bad)/2] ^= 1
	return bad
}

// Raft, autopilot and usage, as an operator sees them.
func TestOperator(t *testing.T) {
	t.Parallel()
	a := start(t, nil)
	fleet(t, a)
	op := a.Operator()
	self, err := a.Agent().Self()
	must(t, err)
	id := self["Config"]["NodeID"].(string)
	raft, err := op.RaftGetConfiguration(nil)
	must(t, err)
	if len(raft.Servers) != 1 || raft.Servers[0].ID != id || raft.Servers[0].Node != a.name || !raft.Servers[0].Leader || !raft.Servers[0].Voter || raft.Servers[0].ProtocolVersion != "3" {
		t.Errorf("raft: %s", asJSON(raft))
	}
	refused(t, "removal of an unknown id", op.RaftRemovePeerByID(uuid1, nil), 500)
	refused(t, "removal of an unknown address", op.RaftRemovePeerByAddress("127.0.0.1:1", nil), 500)
	a.status(400, "DELETE", "/v1/operator/raft/peer", "")
	a.status(400, "DELETE", "/v1/operator/raft/peer?id=x&address=y", "")
	if _, err := op.RaftLeaderTransfer("", nil); err == nil {
		t.Error("a lone server handed the leadership to nobody")
	}

	config, err := op.AutopilotGetConfiguration(nil)
	must(t, err)
	equal(t, "autopilot's defaults", []any{config.CleanupDeadServers, config.LastContactThreshold.Duration(), config.MaxTrailingLogs, config.ServerStabilizationTime.Duration()},
		[]any{true, 200 * time.Millisecond, 250, 10 * time.Second})
	config.MaxTrailingLogs = 100
	must(t, op.AutopilotSetConfiguration(config, nil))
	done, err := op.AutopilotCASConfiguration(config, nil)
	must(t, err)
	equal(t, "cas at a stale index", done, false)
	config, err = op.AutopilotGetConfiguration(nil)
	must(t, err)
	equal(t, "changed", config.MaxTrailingLogs, 100)
	config.CleanupDeadServers = false
	done, err = op.AutopilotCASConfiguration(config, nil)
	must(t, err)
	equal(t, "cas at its index", done, true)
	health, err := op.AutopilotServerHealth(nil)
	must(t, err)
	if !health.Healthy || len(health.Servers) != 1 || health.Servers[0].ID != id || health.Servers[0].SerfStatus != "alive" || !health.Servers[0].Voter || health.Servers[0].StableSince.IsZero() {
		t.Errorf("autopilot's health: %s", asJSON(health))
	}
	state, err := op.AutopilotState(nil)
	must(t, err)
	if state.Leader != id || !slices.Equal(state.Voters, []string{id}) || state.Servers[id].Status != api.AutopilotServerLeader || state.Servers[id].NodeType != api.AutopilotTypeVoter {
		t.Errorf("autopilot's state: %s", asJSON(state))
	}

	usage, meta, err := op.Usage(&api.QueryOptions{Global: true})
	must(t, err)
	u := usage.Usage["dc1"]
	equal(t, "usage", []any{u.Nodes, u.Services, u.ServiceInstances, u.BillableServiceInstances, meta.LastIndex > 0}, []any{3, 3, 5, 4, true})
	_, err = op.KeyringList(nil)
	refused(t, "keys of a pool without encryption", err, 500)
}

// The keys of an encrypted pool: add, use, list, remove.
func TestKeyring(t *testing.T) {
	t.Parallel()
	const old, next = "pUqJrVyVRj5jsiYEkM/tFQYfWyJIv4s3XkvDwy7Cu5s=", "eD2LVXUBnV8RzgXvUBcWZkVTWIQFVfZKfSgcQoF2Mg8="
	a := start(t, settings{"encrypt": old})
	op := a.Operator()
	must(t, op.KeyringInstall(next, nil))
	refused(t, "removal of the primary key", op.KeyringRemove(old, nil), 500)
	must(t, op.KeyringUse(next, nil))
	must(t, op.KeyringRemove(old, nil))
	rings, err := op.KeyringList(nil)
	must(t, err)
	if len(rings) == 0 {
		t.Fatal("no keyrings")
	}
	for _, ring := range rings {
		equal(t, "keys", []any{ring.Keys, ring.PrimaryKeys, ring.NumNodes}, []any{map[string]int{next: 1}, map[string]int{next: 1}, 1})
	}
	if strings.Contains(a.log.text(), next) || strings.Contains(a.log.text(), old) {
		t.Error("the log shows a key")
	}
}

// Without ACLs the endpoints of ACLs say so, and any token does.
func TestACLDisabled(t *testing.T) {
	t.Parallel()
	a := start(t, nil)
	_, _, err := a.ACL().Bootstrap()
	refused(t, "bootstrap", err, 401)
	_, _, err = a.ACL().TokenList(nil)
	refused(t, "list of tokens", err, 401)
	_, _, err = a.ACL().TokenReadSelf(&api.QueryOptions{Token: uuid1})
	refused(t, "own token", err, 401)
	_, _, err = a.ACL().PolicyCreate(&api.ACLPolicy{Name: "x"}, nil)
	refused(t, "new policy", err, 401)
	_, _, err = a.ACL().Login(&api.ACLLoginParams{AuthMethod: "x"}, nil)
	refused(t, "login", err, 401)
	_, _, err = a.ACL().Replication(nil)
	refused(t, "replication", err, 401)
	_, err = a.KV().Put(&api.KVPair{Key: "k"}, &api.WriteOptions{Token: uuid1})
	must(t, err)
	p, meta, err := a.KV().Get("k", &api.QueryOptions{Token: uuid1})
	must(t, err)
	if p == nil || meta.ResultsFilteredByACLs || meta.DefaultACLPolicy != "allow" {
		t.Errorf("with a token: %s %s", asJSON(p), asJSON(meta))
	}
}

package server

import (
	"bufio"
	"fmt"
	"io"

	"github.com/curia-mesh/curia/catalog/state"
	"github.com/curia-mesh/curia/server/api"
	"github.com/curia-mesh/curia/server/endpoint"
)

// verbs are those of every server.
func verbs() []endpoint.Verb {
	s := &Server{host: &host{}, store: state.New()} // nobody calls it
	s.peers = newMeeting(s)
	s.operator.Server, s.registry = s, endpoint.New(s.host, s.store)
	s.register()
	return s.registry.Verbs()
}

// Reference writes the page of all verbs, with which peers may call each.
func Reference(w io.Writer) error {
	out := bufio.NewWriter(w)
	out.WriteString(`# RPC

What agents ask servers over the [one port](../internals/transport.md), and who may. The name, the kind and the peer
of each verb stand beside its request and reply in ` + "`server/api`" + `; one that does not say who may call it does not
register. What it needs of the token is another matter, and stands beside its answer.

| peer | is |
|---|---|
| ` + "`anyone`" + ` | anybody who reaches the port, without a certificate too: it is how one gets the first |
| ` + "`agent`" + ` | whoever shows a certificate of the CA, where ` + "`verify_incoming`" + ` demands it; else anybody |
| ` + "`agent with certificate`" + ` | whoever shows a certificate of the CA, whatever is demanded |
| ` + "`server`" + ` | a server of this datacenter by its certificate, where ` + "`verify_incoming`" + ` and ` + "`verify_server_hostname`" + ` are set; else as agent |

A peer is judged before anything of its request is decoded. Raft's own connections are as ` + "`server`" + `.

| verb | kind | peer |
|---|---|---|
`)
	for _, v := range verbs() {
		fmt.Fprintf(out, "| `%s` | %s | %s |\n", v.Name, v.Kind, v.From)
	}
	fmt.Fprintf(out, "| `%s` | stream | %s |\n", api.PeerCarry, api.PeerCarryFrom)
	for _, name := range []string{api.SnapshotRestore, api.SnapshotSave} {
		fmt.Fprintf(out, "| `%s` | stream | %s |\n", name, api.SnapshotFrom)
	}
	return out.Flush()
}

package replica

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/catalog/state"
	"github.com/curia-mesh/curia/connect"
	"github.com/curia-mesh/curia/rpc"
	"github.com/curia-mesh/curia/server/api"
)

// Loss is what a datacenter has of its own and would lose when it begins to copy from a primary one.
type Loss struct {
	Primary string
	// Ruler is what is stored once it is accepted.
	Ruler catalog.Ruler
	// Drop is what the primary lacks, and Over what it has in another form, as kind and key.
	Drop, Over []string
	// Anew says that the primary is another cluster than was copied from; empty when it is not.
	Anew string
	// Trust says which trust domain gives way to which; empty when none does.
	Trust string
}

// lossShown bounds how many of each are named.
const lossShown = 20

// Summary says how much would be lost, and names nothing of it.
func (l *Loss) Summary() string {
	return fmt.Sprintf("nothing is copied from the primary datacenter %s yet, because what is here would be lost: %d rows deleted, %d replaced; curia operator federation status names them",
		l.Primary, len(l.Drop), len(l.Over))
}

// Error implements error: it names the difference, and what to do.
func (l *Loss) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "nothing is copied from the primary datacenter %s yet, because what is here would be lost", l.Primary)
	list := func(what string, keys []string) {
		if len(keys) == 0 {
			return
		}
		fmt.Fprintf(&b, "; %s: %s", what, named(keys))
	}
	list("deleted, as the primary lacks it", l.Drop)
	list("replaced, as the primary has it in another form", l.Over)
	for _, more := range []string{l.Trust, l.Anew} {
		if more != "" {
			b.WriteString("; " + more)
		}
	}
	fmt.Fprintf(&b, ". Write to %s what is to stay, or give it up here with: curia operator federation accept", l.Primary)
	return b.String()
}

// named lists keys, as many as can be read.
func named(keys []string) string {
	text := strings.Join(keys[:min(len(keys), lossShown)], ", ")
	if more := len(keys) - lossShown; more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return text
}

// Refusal returns why nothing is copied yet, nil when all is.
func (r *Replica) Refusal() *Loss {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.loss
}

// joinRetry is the pause after which a primary that could not be asked, or may not be copied from, is looked at again.
const joinRetry = 10 * time.Second

// join blocks until this datacenter copies from its primary: until nothing of its own would be lost, or that is accepted.
// It returns false when ctx ends before.
func (r *Replica) join(ctx context.Context) bool {
	defer r.refuse(nil)
	told := ""
	for ctx.Err() == nil && r.cfg.follows() {
		loss, err := r.look(ctx)
		r.learn(ctx, err)
		switch {
		case err == nil && loss == nil:
			return true
		case err == nil:
			r.refuse(loss)
			err = loss
		}
		for _, l := range r.loops {
			l.mu.Lock()
			l.miss(err)
			l.mu.Unlock()
		}
		if ctx.Err() == nil && told != err.Error() {
			told = err.Error()
			r.cfg.Log.Warn("nothing is copied from the primary datacenter yet; it is tried again", "primary", r.cfg.Primary(), "err", err)
		}
		pause := time.NewTimer(joinRetry)
		if loss == nil {
			pause.Reset(time.Second)
		}
		select {
		case <-pause.C:
		case <-r.accepted:
		case <-ctx.Done():
		}
		pause.Stop()
	}
	return false
}

// learn asks a primary that says it is none who is, and believes that if it has taken over from there.
func (r *Replica) learn(ctx context.Context, err error) {
	if err == nil || catalog.CodeOf(err) != catalog.Conflict {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	was := r.cfg.Primary()
	told, _, err := api.PrimacyRead.Call(ctx, r.cfg.Abroad, r.cfg.Ask(), &api.Nothing{})
	if err != nil || !told.Primacy.Succeeds(was) {
		return
	}
	done, _, err := api.PrimacyApply.Call(ctx, r.caller, rpc.Header{}, told.Primacy)
	if err == nil && *done {
		r.cfg.Log.Info("another datacenter is the primary now", "primary", told.Primacy.Datacenter, "was", was)
	}
}

// Ready returns an error unless this datacenter may copy from its primary, which it asks: one with code conflict when
// something would be lost by that.
func (r *Replica) Ready(ctx context.Context) error {
	loss, err := r.look(ctx)
	if err == nil && loss != nil {
		return catalog.Errorf(catalog.Conflict, "%w", loss)
	}
	return err
}

// Sync makes all copies as the primary is, once.
func (r *Replica) Sync(ctx context.Context) error {
	for _, kind := range r.cfg.Kinds() {
		theirs, _, err := r.theirs(ctx, kind, 0, 0)
		if err != nil {
			return err
		}
		refused, err := r.match(ctx, kind, theirs.Keys, func() {})
		if err != nil {
			return err
		}
		if len(refused) > 0 {
			return notStored(refused)
		}
	}
	return nil
}

func (r *Replica) refuse(l *Loss) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.loss = l
}

// look compares what is here with the primary. Where nothing would be lost, or nothing can be that was not copied, this
// datacenter copies from it.
func (r *Replica) look(ctx context.Context) (*Loss, error) {
	primary, tx := r.cfg.Primary(), r.store.Read()
	loss := &Loss{Primary: primary, Ruler: catalog.Ruler{Datacenter: primary}}
	ruler, config, primacy := state.Ruler(tx, nil), state.CA(tx, nil), state.Primacy(tx, nil)
	r.epoch.Store(epochOf(primacy))
	for _, kind := range r.cfg.Kinds() {
		theirs, _, err := r.theirs(ctx, kind, 0, 0)
		if err != nil {
			return nil, err
		}
		loss.Ruler.ClusterID = theirs.ClusterID
		if kind == catalog.ReplicaFederations {
			continue // every datacenter tells its own anew
		}
		here, _ := state.ReplicaKeys(tx, nil, kind)
		c := diff(kind, here, theirs.Keys)
		for _, key := range c.drop {
			loss.Drop = append(loss.Drop, fmt.Sprintf("%s %s", kind, key))
		}
		for _, key := range c.over {
			loss.Over = append(loss.Over, fmt.Sprintf("%s %s", kind, key))
		}
	}
	if id := loss.Ruler.ClusterID; config != nil && state.CAKeys(tx, nil) != nil && id != "" && config.ClusterID != id {
		loss.Trust = fmt.Sprintf("certificates of the trust domain %s, which gives way to %s", connect.TrustDomain(config.ClusterID), connect.TrustDomain(id))
	}
	copies := rules(ruler, primary, loss.Ruler.ClusterID)
	if !copies && ruler != nil && ruler.Datacenter == primary {
		loss.Anew = fmt.Sprintf("%s is another cluster than was copied from: its mesh is %s, and was %s; was it made anew, restore its snapshot there", primary, loss.Ruler.ClusterID, ruler.ClusterID)
	}
	if !copies && primacy != nil && primacy.Datacenter == primary {
		was := r.cfg.Datacenter // which was the primary itself
		if ruler != nil {
			was = ruler.Datacenter
		}
		if primacy.Succeeds(was) && loss.Trust == "" { // what is copied from now has everything that was copied before
			return nil, r.rule(ctx, loss.Ruler)
		}
	}
	if !copies && len(loss.Drop)+len(loss.Over) > 0 || !copies && loss.Trust != "" {
		return loss, nil
	}
	if copies && (ruler.ClusterID != "" || loss.Ruler.ClusterID == "") {
		return nil, nil
	}
	return nil, r.rule(ctx, loss.Ruler)
}

// rule remembers which primary is copied from.
func (r *Replica) rule(ctx context.Context, by catalog.Ruler) error {
	return r.write(ctx, &api.ReplicaWrite{Kind: catalog.ReplicaFederations, From: &by}, new([]string))
}

// Accept lets the primary's data take the place of what is here, whatever is lost. It returns what that is.
func (r *Replica) Accept(ctx context.Context) (*Loss, error) {
	if !r.cfg.follows() {
		return nil, catalog.Errorf(catalog.Invalid, "datacenter %s copies from no other one: there is nothing to accept; set primary_datacenter on its servers first", r.cfg.Datacenter)
	}
	loss, err := r.look(ctx)
	if err != nil || loss == nil {
		return &Loss{Primary: r.cfg.Primary()}, err
	}
	if err := r.rule(ctx, loss.Ruler); err != nil {
		return nil, err
	}
	r.cfg.Log.Warn("what the primary datacenter has takes the place of what was here: the operator has accepted it", "primary", loss.Primary, "dropped", len(loss.Drop), "replaced", len(loss.Over))
	select {
	case r.accepted <- struct{}{}:
	default:
	}
	return loss, nil
}

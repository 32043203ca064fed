package server

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/catalog/acl"
	"github.com/curia-mesh/curia/catalog/state"
)

// book is a store whose tokens are asked about.
type book struct {
	*testing.T
	store *state.Store
	index uint64
	*authorizers
}

func newBook(t *testing.T) *book {
	store := state.New()
	return &book{T: t, store: store, index: 1, authorizers: newAuthorizers(store, "dc1", acl.Deny)}
}

func (b *book) write(f func(tx *state.Txn) error) {
	b.Helper()
	b.index++
	tx := b.store.Write(b.index)
	if err := f(tx); err != nil {
		b.Fatal(err)
	}
	tx.Commit()
}

func (b *book) policy(id, rules string) {
	b.Helper()
	b.write(func(tx *state.Txn) error {
		_, err := state.PutPolicy(tx, &catalog.Policy{ID: id, Name: id, Rules: rules})
		return err
	})
}

func (b *book) token(t *catalog.Token) {
	b.Helper()
	b.write(func(tx *state.Txn) error {
		_, err := state.PutToken(tx, t)
		return err
	})
}

// reads asks, twice, whether a secret may read a key.
func (b *book) reads(secret, key string, want bool) {
	b.Helper()
	for range 2 {
		az, err := b.authorize(secret)
		if err != nil {
			b.Fatal(err)
		}
		if got := az.Allows(acl.Need{Resource: acl.Key, Name: key, Access: acl.Read}); got != want {
			b.Errorf("%s reads %s: %v, want %v", secret, key, got, want)
		}
	}
}

func (b *book) unknown(secret string) {
	b.Helper()
	for range 2 {
		if _, err := b.authorize(secret); catalog.CodeOf(err) != catalog.Denied {
			b.Errorf("%s is known: %v", secret, err)
		}
	}
}

// TestAuthorizersFollow: what is remembered of a secret counts until its token, a policy or a role of it changes.
func TestAuthorizersFollow(t *testing.T) {
	b := newBook(t)
	b.reads("", "a", false)
	b.unknown("s")
	b.policy("p", `key "a" { policy = "read" }`)
	b.write(func(tx *state.Txn) error {
		_, err := state.PutRole(tx, &catalog.Role{ID: "r", Name: "r"})
		return err
	})
	b.token(&catalog.Token{AccessorID: "x", SecretID: "s", Policies: []catalog.Link{{ID: "p"}}, Roles: []catalog.Link{{ID: "r"}}})
	b.reads("s", "a", true)
	b.policy("p", `key "b" { policy = "read" }`)
	b.reads("s", "a", false)
	b.reads("s", "b", true)
	b.policy("q", `key "a" { policy = "read" }`)
	b.write(func(tx *state.Txn) error {
		_, err := state.PutRole(tx, &catalog.Role{ID: "r", Name: "r", Policies: []catalog.Link{{ID: "q"}}})
		return err
	})
	b.reads("s", "a", true)
	b.write(func(tx *state.Txn) error { state.DeletePolicy(tx, "q"); return nil })
	b.reads("s", "a", false)
	was, _ := b.authorize("s")
	b.token(&catalog.Token{AccessorID: "y", SecretID: "other"})
	if now, _ := b.authorize("s"); now != was {
		t.Error("a token of others changed what is remembered")
	}
	b.token(&catalog.Token{AccessorID: catalog.AnonymousAccessor, SecretID: catalog.AnonymousSecret, Policies: []catalog.Link{{ID: "p"}}})
	b.reads("", "b", true)
	b.write(func(tx *state.Txn) error { state.DeleteToken(tx, "x"); return nil })
	b.unknown("s")
	l := b.store.Load()
	l.Finish()
	b.unknown("other")
	b.reads("", "b", false)
}

// TestAuthorizersExpire: an expired token is refused at the moment at which it ends.
func TestAuthorizersExpire(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBook(t)
		end := time.Now().Add(time.Hour)
		b.token(&catalog.Token{AccessorID: "x", SecretID: "s", ExpirationTime: &end})
		b.reads("s", "a", false)
		time.Sleep(time.Hour - time.Nanosecond)
		b.reads("s", "a", false)
		time.Sleep(time.Nanosecond)
		b.unknown("s")
	})
}

// TestAuthorizersCost: what is remembered is found without an allocation, and many secrets are all remembered.
func TestAuthorizersCost(t *testing.T) {
	b := newBook(t)
	const many = 2000
	b.write(func(tx *state.Txn) error {
		var errs []error
		for i := range many {
			_, err := state.PutToken(tx, &catalog.Token{AccessorID: fmt.Sprint(i), SecretID: catalog.SecretID(fmt.Sprint("s", i))})
			errs = append(errs, err)
		}
		return errors.Join(errs...)
	})
	for range 3 {
		for i := range many {
			b.reads(fmt.Sprint("s", i), "a", false)
		}
	}
	if n := len(*b.known.Load()); n != many {
		t.Errorf("%d secrets are remembered, want %d", n, many)
	}
	if n := testing.AllocsPerRun(100, func() { b.authorize("s7") }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// TestAuthorizersTogether: whoever asks after a change sees it, however many others ask at the time.
func TestAuthorizersTogether(t *testing.T) {
	b := newBook(t)
	b.policy("p", "")
	for i := range 20 {
		b.token(&catalog.Token{AccessorID: fmt.Sprint(i), SecretID: catalog.SecretID(fmt.Sprint("s", i)), Policies: []catalog.Link{{ID: "p"}}})
	}
	var others sync.WaitGroup
	ended := make(chan struct{})
	for g := range 4 {
		others.Go(func() {
			for i := g; ; i++ {
				select {
				case <-ended:
					return
				default:
					b.authorize(fmt.Sprint("s", i%25)) // some are none
				}
			}
		})
	}
	for i := range 200 {
		b.policy("p", fmt.Sprintf(`key "%d" { policy = "read" }`, i))
		b.reads(fmt.Sprint("s", i%20), fmt.Sprint(i), true)
		b.reads(fmt.Sprint("s", i%20), fmt.Sprint(i-1), false)
	}
	close(ended)
	others.Wait()
}

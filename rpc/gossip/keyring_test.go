package gossip

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func testKey(b byte) Key { return Key{raw: strings.Repeat(string(rune(b)), 32)} }

func TestKeyRotation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		file := func(name string) string { return filepath.Join(dir, name, "local.keyring") }
		k1, k2 := testKey('1'), testKey('2')
		encrypted := func(c *Config) { c.Keys, c.KeyringFile = []Key{k1}, file(c.Name) }
		f, a, b := pair(t, encrypted)
		cc := f.config(t, "c", atC)
		encrypted(&cc)
		c := mustOpen(t, cc)
		mustJoin(t, c, a)
		await(t, b, Joined, "c")

		ctx := t.Context()
		step := func(what string, got KeyringAnswers, err error, keys, primary map[Key]int) {
			t.Helper()
			want := KeyringAnswers{Nodes: 3, Answered: 3, Messages: map[string]string{}, Keys: map[string]int{}, Primary: map[string]int{}}
			for k, n := range keys {
				want.Keys[k.Base64()] = n
			}
			for k, n := range primary {
				want.Primary[k.Base64()] = n
			}
			if !reflect.DeepEqual(got, want) || err != nil {
				t.Errorf("%s: %+v %v, want %+v", what, got, err, want)
			}
		}
		got, err := a.InstallKey(ctx, k2, 0)
		step("install", got, err, map[Key]int{k1: 3, k2: 3}, map[Key]int{k1: 3})
		if _, err := a.RemoveKey(ctx, k1, 0); err == nil {
			t.Error("the primary key is removed")
		}
		got, err = b.UseKey(ctx, k2, 1)
		step("use", got, err, map[Key]int{k1: 3, k2: 3}, map[Key]int{k2: 3})
		got, err = c.RemoveKey(ctx, k1, 0)
		step("remove", got, err, map[Key]int{k2: 3}, map[Key]int{k2: 3})
		got, err = c.ListKeys(ctx, 0)
		step("list", got, err, map[Key]int{k2: 3}, map[Key]int{k2: 3})
		for _, name := range []string{"a", "b", "c"} {
			if keys, err := LoadKeyring(file(name)); err != nil || !reflect.DeepEqual(keys, []Key{k2}) {
				t.Errorf("file of %s: %v", name, err)
			}
			if fi, err := os.Stat(file(name)); err != nil || fi.Mode().Perm() != 0o600 {
				t.Errorf("file of %s: %v %v", name, fi.Mode(), err)
			}
		}
		if _, err := a.UseKey(ctx, k1, 0); err == nil {
			t.Error("a key that is not there is used")
		}
		if _, err := a.ListKeys(ctx, MaxRelayFactor+1); err == nil {
			t.Error("relay factor over the limit")
		}

		// An answer that is lost on the straight way comes over others.
		f.lose(atB, atA)
		if _, err := a.ListKeys(ctx, 0); err == nil {
			t.Error("a lost answer came")
		}
		came := 0
		for range 20 { // serf picks the others by chance and gives up on finding one in 3 of 100 times
			if got, err := a.ListKeys(ctx, 2); err == nil && got.Answered == 3 {
				came++
			}
		}
		if came < 10 {
			t.Errorf("%d of 20 answers came by relay", came)
		}

		// A node that does not answer is named, whatever the others say.
		f.lose("", "")
		f.unplug(atC)
		got, err = a.ListKeys(ctx, 0)
		if err == nil || got.Answered != 2 || got.Messages["c"] == "" || !strings.Contains(err.Error(), "c: no answer") {
			t.Errorf("with a silent node: %+v %v", got, err)
		}

		// A restart takes the keys of the file, not the one rotated out that the configuration still has.
		closeAll(t, a, b, c)
		cfg := f.config(t, "a", atA)
		encrypted(&cfg)
		a = mustOpen(t, cfg)
		if keys := a.Keys(); !reflect.DeepEqual(keys, []Key{k2}) {
			t.Errorf("keys after restart: %d", len(keys))
		}
		closeAll(t, a)
	})
}

func TestMissedRotation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fabric{}
		ca, cb := f.config(t, "a", atA), f.config(t, "b", atB)
		ca.Keys, cb.Keys = []Key{testKey('2')}, []Key{testKey('1')}
		a, b := mustOpen(t, ca), mustOpen(t, cb)
		if _, err := b.Join(t.Context(), []string{atA}); err == nil {
			t.Error("joined with another key")
		}
		if len(a.Members()) != 1 || a.Stats()["undecryptable"] != "1" {
			t.Errorf("members %v, undecryptable %s", a.Members(), a.Stats()["undecryptable"])
		}
		for _, bad := range [][]Key{nil, {{}}, {testKey('3'), {raw: "short"}}} {
			if err := b.ReplaceKeys(bad); err == nil || !reflect.DeepEqual(b.Keys(), cb.Keys) {
				t.Errorf("replaced by %d keys: %v", len(bad), err)
			}
		}
		if err := b.ReplaceKeys(append(a.Keys(), a.Keys()...)); err != nil || !reflect.DeepEqual(b.Keys(), a.Keys()) {
			t.Fatal(err)
		}
		mustJoin(t, b, a)
		await(t, a, Joined, "b")
		closeAll(t, a, b)
	})
}

func TestPlaintextIsRefused(t *testing.T) {
	for _, accept := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			f := &fabric{}
			ca, cb := f.config(t, "a", atA), f.config(t, "b", atB)
			ca.Keys, ca.AcceptPlaintext, ca.SendPlaintext = []Key{testKey('1')}, accept, accept
			a, b := mustOpen(t, ca), mustOpen(t, cb)
			_, err := b.Join(t.Context(), []string{atA})
			time.Sleep(time.Minute)
			if (err == nil) != accept || len(a.Members()) != map[bool]int{false: 1, true: 2}[accept] {
				t.Errorf("accept %t: %v, members %v", accept, err, a.Members())
			}
			if !a.EncryptionEnabled() || b.EncryptionEnabled() {
				t.Error("encryption is reported wrongly")
			}
			if _, err := b.ListKeys(t.Context(), 0); err != errNoEncryption {
				t.Error(err)
			}
			// A stranger who is let in by the migration learns no key and leaves none behind.
			if accept {
				for _, order := range []string{`{"Op":"list"}`, `{"Op":"install","Key":"MjIyMjIyMjIyMjIyMjIyMg=="}`} {
					q, err := b.serf.Query(keyringQuery, []byte(order), b.serf.DefaultQueryParams())
					if err != nil {
						t.Fatal(err)
					}
					r := <-q.ResponseCh()
					if r.From != "a" || !strings.Contains(string(r.Payload), "in the clear") {
						t.Errorf("%s: %s", r.From, r.Payload)
					}
				}
				if len(a.Keys()) != 1 {
					t.Error("a stranger's key is installed")
				}
				if _, err := a.ListKeys(t.Context(), 0); err != errMigrating {
					t.Error(err)
				}
				if r, _ := b.serf.KeyManager().ListKeys(); r.NumErr != 2 || len(r.Keys) != 0 {
					t.Errorf("serf tells %+v", r)
				}
			}
			closeAll(t, a, b)
		})
	}
}

func TestKeyringWaitsNoLongerThanItsCaller(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, a, b := pair(t, func(c *Config) { c.Keys = []Key{testKey('1')} })
		f.unplug(atB)
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		if _, err := a.ListKeys(ctx, 0); err != context.DeadlineExceeded {
			t.Error(err)
		}
		closeAll(t, a, b)
	})
}

func TestFullDiskKeepsTheOldKeys(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "ring")
	r, err := newRing(path, []Key{testKey('1')})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(path, 0o700); err != nil { // a folder cannot be replaced by a file
		t.Fatal(err)
	}
	if _, err := r.apply(keyInstall, testKey('2')); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("%v", err)
	}
	if keys := r.list(); len(keys) != 1 {
		t.Errorf("%d keys are in use, 1 is on disk", len(keys))
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "*.tmp")); len(left) != 0 {
		t.Error("left behind", left)
	}
}

func TestAnswersFitIntoAPacket(t *testing.T) {
	r, err := newRing("", []Key{testKey('a')})
	if err != nil {
		t.Fatal(err)
	}
	var answer []byte
	for i := range maxKeys + 1 {
		answer, _ = json.Marshal(keyRequest{Op: keyInstall, Key: testKey('a' + byte(i)).bytes()})
		answer = r.answer(answer)
	}
	full := r.answer([]byte(`{"Op":"list"}`))
	if !strings.Contains(string(answer), "full") || len(full)+MaxNameBytes+128 > queryBytes {
		t.Errorf("%s; a list of %d bytes", answer, len(full))
	}
}

func TestLoadKeyring(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ring")
	good := testKey('1').Base64()
	bad := func(text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := LoadKeyring(path)
		if err == nil || !strings.Contains(err.Error(), path) || strings.Contains(err.Error(), good[:8]) {
			t.Errorf("%.60q: %v", text, err)
		}
	}
	bad(``)
	bad(`[]`)
	bad(`{"keys": ["` + good + `"]}`)
	bad(`["` + good + `", "c2hvcnQ="]`)
	bad(`["` + good + `!"]`)
	bad(`["` + good)
	bad(`[` + strings.Repeat(`"`+good+`",`, maxKeys) + `"` + good + `"]`)
	bad(strings.Repeat(" ", maxKeyringBytes) + `["` + good + `"]`)
}

func TestKeysDoNotShow(t *testing.T) {
	k, err := ParseKey("MTExMTExMTExMTExMTExMTExMTExMTExMTExMTExMTE=")
	if err != nil || k != testKey('1') {
		t.Fatal(k.Base64(), err)
	}
	text := fmt.Sprintf("%v %+v %s %q %x %#v %v", k, k, k, k, k, k, Config{Keys: []Key{k}})
	if strings.Contains(text, "1111") || strings.Contains(text, "3131") || strings.Contains(text, "MTEx") {
		t.Error(text)
	}
	fresh, err := ParseKey(NewKey().Base64())
	if err != nil || fresh == NewKey() || len(fresh.bytes()) != 32 {
		t.Error("keygen", err)
	}
	if b, err := json.Marshal(k); err == nil {
		t.Errorf("marshals as %s", b)
	}
}

func FuzzKeyringAnswer(f *testing.F) {
	f.Add([]byte(`{"Op":"list"}`))
	f.Add([]byte(`{"Op":"install","Key":"MjIyMjIyMjIyMjIyMjIyMg=="}`))
	f.Add([]byte(`{"Op":"use","Key":"MjIyMjIyMjIyMjIyMjIyMg=="}`))
	f.Add([]byte(`{"Op":"remove","Key":"MTExMTExMTExMTExMTExMTExMTExMTExMTExMTExMTE="}`))
	f.Fuzz(func(t *testing.T, payload []byte) {
		r, _ := newRing("", []Key{testKey('1')})
		answer := r.answer(payload)
		got := KeyringAnswers{Messages: map[string]string{}, Keys: map[string]int{}, Primary: map[string]int{}}
		var back keyAnswer
		if err := json.Unmarshal(answer, &back); err != nil || len(answer) > queryBytes {
			t.Fatalf("answer %s: %v", answer, err)
		}
		for _, k := range r.list() {
			got.Keys[k.Base64()]++
		}
		if !maps.Equal(got.Keys, map[string]int{testKey('1').Base64(): 1}) && len(got.Keys) != 2 {
			t.Fatalf("ring %v", got.Keys)
		}
	})
}

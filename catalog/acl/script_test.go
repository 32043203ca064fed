package acl_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/catalog/acl"
)

// TestScripts plays testdata/*.txt. A script is made of lines:
//
//	== TITLE              begins a case, without policies and with a default of deny
//	default allow
//	policy                whose rules follow in indented lines
//	may RESOURCE:ACCESS [NAME]
//	not RESOURCE:ACCESS [NAME] [: what decides]
//	unknown TEXT          a policy, and what is told of its resources
//	bad ERROR             what Parse says of the rules that follow in indented lines
func TestScripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal("no scripts", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) { play(t, file) })
	}
}

func play(t *testing.T, file string) {
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var def acl.Effect
	var sets []*acl.Rules
	lines := strings.Split(string(text), "\n")
	for n := 0; n < len(lines); n++ {
		at, line := n+1, lines[n]
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		fail := func(format string, args ...any) {
			t.Errorf("%s:%d: %s: %s", file, at, line, fmt.Sprintf(format, args...))
		}
		var block []string
		for ; n+1 < len(lines) && strings.HasPrefix(lines[n+1], "  "); n++ {
			block = append(block, lines[n+1][2:])
		}
		rules := strings.Join(block, "\n")
		verb, rest, _ := strings.Cut(line, " ")
		switch verb {
		case "==":
			def, sets = acl.Deny, nil
		case "default":
			def = acl.Allow
		case "policy", "unknown":
			set, err := acl.Parse(rules)
			if err != nil {
				fail("%v", err)
			}
			if got := strings.Join(set.Unknown(), "; "); got != rest {
				fail("unknown: %s", got)
			}
			sets = append(sets, set)
		case "bad":
			if _, err := acl.Parse(rules); catalog.CodeOf(err) != catalog.Invalid || !strings.Contains(err.Error(), rest) {
				fail("got %v", err)
			}
		case "may", "not":
			rest, why, _ := strings.Cut(rest, " : ")
			what, name, _ := strings.Cut(rest, " ")
			resource, access, _ := strings.Cut(what, ":")
			need := acl.Need{Resource: acl.Resource(resource), Access: acl.Access(access), Name: name}
			az := acl.Compile(def, sets...)
			if az.Allows(need) != (verb == "may") {
				fail("no: %s", acl.Explain(az, need))
			}
			if got := acl.Explain(az, need); !strings.Contains(got, why) {
				fail("because %s", got)
			}
		default:
			fail("unknown")
		}
	}
}

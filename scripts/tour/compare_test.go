package tour_test

import (
	"slices"
	"strings"
	"testing"
)

func TestComparable(t *testing.T) {
	compare := func(page, printed string, same bool) {
		t.Helper()
		want, have := comparable(strings.Split(page, "\n"), "laptop"), comparable(strings.Split(printed, "\n"), "laptop")
		if slices.Equal(want, have) != same {
			t.Errorf("same is %v for %q and %q", !same, want, have)
		}
	}
	compare("", "", true)
	compare("", "x", false)
	compare("8080", "8080\n", true)
	compare("8080", "8081", false)
	compare("a\nb", "b\na", false)
	compare("a\nb", "a", false)
	compare("consul", "consul    ", true)
	compare("  indented", "indented", false)
	compare("vm    127.0.0.1", "laptop  127.0.0.1", true)
	compare("vm", "laptops", false)
	compare("127.0.0.1", "127.0.0.2", false)
	compare("f3bce35a-53d5-4b6e-a9c7-6f53b61d4f5b ok", "00000000-53d5-4b6e-a9c7-6f53b61d4f5b ok", true)
	compare("f3bce35a-53d5-4b6e-a9c7-6f53b61d4f5b ok", "f3bce35a ok", false)
	compare("2026-11-21T05:20:48.522Z [INFO]", "2027-01-01T00:00:00.000Z [INFO]", true)
	compare("2026-11-21T05:20:48.522Z [INFO]", "2026-11-21T05:20:48.522Z [WARN]", false)
	compare("snapshot to index 16", "snapshot to index 17", true)
	compare("snapshot to index 16", "snapshot to index", false)
	compare(`"ModifyIndex": 15,`, `"ModifyIndex": 99,`, true)
	compare(`"LockIndex": 0,`, `"LockIndex": 1,`, false)
	compare("leader  true   3             6             -", "leader  true   3             12            -", true)
	compare("leader  true   3             6             -", "leader  false  3             6             -", false)
	compare("consul_raft_apply 4", "consul_raft_apply 5", true)
	compare("consul_server_isLeader 1", "consul_server_isLeader 0", false)
	compare("KVS   1   69B", "KVS  1  1.1KB", true)
	compare("KVS   1   69B", "KVS  2  69B", false)
}

func TestBlocks(t *testing.T) {
	page := "# A page\n\n```console title=\"first terminal\"\n$ curia agent\n```\n\ntext\n\n```hcl title=\"a.hcl\"\na = 1\n```\n\n" +
		"- in a list:\n\n  ```sh\n  ls\n  ```\n\n```console\n$ one \\\n  two\n$ three\n3\n\n4\n```\n"
	all, err := blocks(page)
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, b := range all {
		found = append(found, b.language+" "+b.title+" "+strings.Join(b.text, "|"))
	}
	if want := []string{"console first terminal $ curia agent", "hcl a.hcl a = 1", "sh    ls", "console  $ one \\|  two|$ three|3||4"}; !slices.Equal(found, want) {
		t.Errorf("blocks are %q, want %q", found, want)
	}
	steps, err := all[3].steps()
	if err != nil {
		t.Fatal(err)
	}
	if len(steps) != 2 || steps[0].command != "one \\\n  two" || steps[1].command != "three" || steps[1].line != 22 ||
		!slices.Equal(steps[1].prints, []string{"3", "", "4"}) {
		t.Errorf("steps are %+v", steps)
	}
	for _, wrong := range []string{"```console\n$ no end\n", "``` what is this\n```\n"} {
		if _, err := blocks(wrong); err == nil {
			t.Errorf("no error for %q", wrong)
		}
	}
	if _, err := (block{text: []string{"no command"}}).steps(); err == nil {
		t.Error("no error for a console block without a command")
	}
}

package check

import (
	"bytes"
	"encoding/hex"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/curia-mesh/curia/catalog"
)

func TestJudgeWarnings(t *testing.T) {
	f := func(def catalog.AgentCheck, results, want string) {
		t.Helper()
		j := newJudge(&def)
		word := map[string]catalog.Status{"p": catalog.Passing, "w": catalog.Warning, "c": catalog.Critical}
		got := ""
		for _, r := range strings.Split(results, "") {
			if status, counts := j.add(word[r]); counts {
				got += string(status[0])
			} else {
				got += "-"
			}
		}
		if got != want {
			t.Errorf("%s became %s, want %s", results, got, want)
		}
	}
	f(catalog.AgentCheck{}, "pwcpcw", "pwcpcw")
	f(catalog.AgentCheck{Status: catalog.Passing, FailuresBeforeCritical: 3}, "wwwccc", "--wccc")
	f(catalog.AgentCheck{Status: catalog.Passing, FailuresBeforeCritical: 3}, "ccpccwc", "--p--wc")
	f(catalog.AgentCheck{Status: catalog.Passing, FailuresBeforeWarning: 1, FailuresBeforeCritical: 3}, "wcccp", "wwccp")
	f(catalog.AgentCheck{SuccessBeforePassing: 2}, "pwppcp", "-w-pc-")
}

// While a program that cannot be killed goes on, no second one is started.
func TestScriptStuck(t *testing.T) {
	s := newScript([]string{"true"}, nil, 100)
	ended := make(chan error)
	s.stuck = ended
	if status, output := s.probe(t.Context()); status != catalog.Critical || !strings.HasPrefix(output, "not started") {
		t.Errorf("got %s %q beside a program that hangs", status, output)
	}
	close(ended)
	if status, output := s.probe(t.Context()); status != catalog.Passing {
		t.Errorf("got %s %q after it ended", status, output)
	}
}

// The tail of what is written in any pieces is the tail of the whole.
func FuzzTail(f *testing.F) {
	f.Add("hello, world", uint8(5), uint8(3))
	f.Add(strings.Repeat("é", 300), uint8(200), uint8(7))
	f.Fuzz(func(t *testing.T, text string, limit, piece uint8) {
		out := newTail(int(limit) + 1)
		for rest := text; rest != ""; {
			n := min(int(piece)+1, len(rest))
			if wrote, err := out.Write([]byte(rest[:n])); wrote != n || err != nil {
				t.Fatalf("Write: %d, %v", wrote, err)
			}
			rest = rest[n:]
		}
		got := out.String()
		if len(text) <= int(limit)+1 {
			if got != text {
				t.Fatalf("got %q of %q", got, text)
			}
			return
		}
		if note, end, found := strings.Cut(got, " bytes)\n"); found && strings.HasPrefix(note, "(the last of ") {
			got = end
		}
		if !strings.HasSuffix(text, got) || len(got) > int(limit)+1 {
			t.Fatalf("kept %q of %q", got, text)
		}
	})
}

func FuzzClip(f *testing.F) {
	f.Add("aé", uint8(2))
	f.Add("\xff\xfe\xfd\xfc", uint8(3))
	f.Fuzz(func(t *testing.T, text string, limit uint8) {
		got := clip(text, int(limit))
		if len(got) > int(limit) || !utf8.ValidString(got) {
			t.Fatalf("clip(%q, %d) = %q", text, limit, got)
		}
		if utf8.ValidString(text) && (!strings.HasPrefix(text, got) || len(text) > int(limit) && len(got) <= int(limit)-utf8.UTFMax) {
			t.Fatalf("clip(%q, %d) = %q", text, limit, got)
		}
	})
}

func FuzzHealthAnswer(f *testing.F) {
	for _, seed := range []string{"0000000000", "00000000020801", "00000000020802", "01000000020801", "0000000004120161", "00000000080d000000000801", "00ffffffff08"} {
		b, err := hex.DecodeString(seed)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		state, err := healthAnswer(body)
		if (err == nil) != (state != "") {
			t.Fatalf("state %q with error %v", state, err)
		}
	})
}

func FuzzDockerOutput(f *testing.F) {
	f.Add([]byte("\x01\x00\x00\x00\x00\x00\x00\x02hi"))
	f.Add([]byte("\x02\x00\x00\x00\xff\xff\xff\xffhi"))
	f.Fuzz(func(t *testing.T, stream []byte) {
		var out bytes.Buffer
		if err := demultiplex(&out, bytes.NewReader(stream)); out.Len() > len(stream) {
			t.Fatalf("%d bytes of output from %d, error %v", out.Len(), len(stream), err)
		}
	})
}

package command

import (
	"context"
	"flag"
	"fmt"
	"runtime/debug"
)

// Version is the product's version (https://semver.org). Its first two numbers say which version of the
// interface it speaks: clients compare them with what they need, at least 1.14.
const Version = "1.21.4"

// Protocol versions of gossip, as clients know them.
const (
	protocolDefault = 2
	protocolMin     = 2
	protocolMax     = 3
)

// build is what is known of this binary.
func build() (revision, date string) {
	date = "1970-01-01T00:00:01Z"
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return revision, date
	}
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			revision = s.Value
		case "vcs.time":
			date = s.Value
		}
	}
	return revision, date
}

func human() string {
	revision, date := build()
	text := "Curia v" + Version + "\n"
	if revision != "" {
		text += "Revision " + revision + "\nBuild Date " + date + "\n"
	}
	return text + fmt.Sprintf("Protocol %d spoken by default, understands %d to %d (agent will automatically use protocol >2 when speaking to compatible agents)",
		protocolDefault, protocolMin, protocolMax)
}

func version(f *flag.FlagSet) action {
	format := formatVar(f)
	return func(_ context.Context, c *call) error {
		switch *format {
		case "pretty":
			c.say("%s", human())
			return nil
		case "json":
			revision, date := build()
			type protocols struct{ Default, Min, Max int }
			return c.json(struct {
				Version, Revision, Prerelease, BuildDate string
				RPC                                      protocols
			}{Version, revision, "", date, protocols{protocolDefault, protocolMin, protocolMax}}, "    ")
		}
		return checkFormat(*format)
	}
}

package config

import (
	"flag"
	"os"
	"reflect"
	"strings"
)

// Args is what an agent is started with. The zero value is an agent without flags and files.
type Args struct {
	Dev    bool
	Paths  []string // files and directories with configuration, in order
	Format string   // of files without an ending that says: "hcl" or "json"
	HCL    []string // fragments of configuration
	Flags  []Flag   // that set single settings, in order
	Base   []byte   // a file in JSON, before all others: what servers have told this agent

	// Hostname and Getenv stand in for those of package os where they are nil.
	Hostname func() (string, error)
	Getenv   func(string) string
}

// Flag is a flag that sets a setting.
type Flag struct {
	Name  string // without the dash
	Value string
}

// Flags are the flags of a command line that has yet to be parsed.
type Flags struct{ args Args }

// Args returns what the parsed flags say.
func (f *Flags) Args() Args { return f.args }

// BindFlags defines the agent's flags on fs: one for each setting that has a flag, and those that say
// where the configuration is.
func BindFlags(fs *flag.FlagSet) *Flags {
	f := &Flags{}
	fs.BoolVar(&f.args.Dev, "dev", false, devHelp)
	fs.Func("config-file", fileHelp, func(s string) error { f.args.Paths = append(f.args.Paths, s); return nil })
	fs.Func("config-dir", dirHelp, func(s string) error { f.args.Paths = append(f.args.Paths, s); return nil })
	fs.StringVar(&f.args.Format, "config-format", "", formatHelp)
	fs.Func("hcl", hclHelp, func(s string) error { f.args.HCL = append(f.args.HCL, s); return nil })
	for _, row := range table().rows {
		for i, name := range strings.Fields(row.Flag) {
			help := row.Help
			if def := row.defaults(); def != "" && def != "`false`" {
				help += " Default: " + strings.ReplaceAll(def, "`", "") + "."
			}
			if i > 0 {
				help = "Former name of -" + strings.Fields(row.Flag)[0] + "."
			}
			fs.Var(&flagValue{flags: f, row: row, name: name}, name, help)
		}
	}
	return f
}

const (
	devHelp    = "Development profile: a server that leads itself and keeps nothing on disk."
	fileHelp   = "File with configuration, in HCL or JSON. May be given several times."
	dirHelp    = "Directory whose files *.hcl and *.json are read, in the order of their names. May be given several times."
	formatHelp = "Format of files whose ending does not say: hcl or json."
	hclHelp    = "Configuration, in HCL, that counts after all files. May be given several times."
)

// flagValue makes a setting a flag.Value.
type flagValue struct {
	flags *Flags
	row   *setting
	name  string
}

func (v *flagValue) String() string { return "" }

func (v *flagValue) Set(text string) error {
	if err := v.row.parse(&Config{}, text); err != nil {
		return err
	}
	v.flags.args.Flags = append(v.flags.args.Flags, Flag{v.name, text})
	return nil
}

// IsBoolFlag lets a flag stand without a value (package flag).
func (v *flagValue) IsBoolFlag() bool {
	return v.row.field(&Config{}).Kind() == reflect.Bool
}

func (a *Args) hostname() (string, error) {
	if a.Hostname != nil {
		return a.Hostname()
	}
	return os.Hostname()
}

func (a *Args) getenv(name string) string {
	if a.Getenv != nil {
		return a.Getenv(name)
	}
	return os.Getenv(name)
}

// flagRow returns the row that a flag sets, and its present name.
func flagRow(name string) (row *setting, now string) {
	for _, row := range table().rows {
		for i, flag := range strings.Fields(row.Flag) {
			if flag == name {
				if i > 0 {
					now = strings.Fields(row.Flag)[0]
				}
				return row, now
			}
		}
	}
	return nil, ""
}

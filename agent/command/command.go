// Package command is the command line: one table with a row per subcommand.
package command

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/curia-mesh/curia/agent/client"
)

const program = "curia"

// hurryTime is how long a command may take to end after a second signal.
const hurryTime = time.Second

// IO is what a command talks to. Getenv is os.Getenv or a stand-in. Signals are those that the process
// gets; the first ends the command's context, a second one ends Run at once.
type IO struct {
	In      io.Reader
	Out     io.Writer
	Err     io.Writer
	Getenv  func(string) string
	Signals <-chan os.Signal
}

// Run runs the command that args name, without the program's own name, and returns the exit code.
func Run(args []string, std IO) int {
	rows := table()
	if std.Getenv("COMP_LINE") != "" { // a shell asks how to go on, and its arguments are no commands
		suggest(rows, std)
		return 0
	}
	if name, wrong := unknown(args, rows); wrong {
		fmt.Fprintln(std.Err, red(std.Err, std.Getenv, noCommand("", name, rows)))
		return unknownCode
	}
	return dispatch(takeApart(args, rows), rows, std)
}

// row is a subcommand. A row without bind is a group of others.
type row struct {
	name     string // with its parents' names
	group    string // heading in the overview, for rows without parents
	synopsis string
	args     string // what follows the options
	min, max int    // how many arguments it takes; max of -1 means any number
	help     string
	reach    reach
	signals  bool // the command handles signals itself
	bind     func(*flag.FlagSet) action
}

// action runs a command whose options are parsed.
type action func(context.Context, *call) error

// reach says whom a command talks to, and so which common options it has.
type reach int

const (
	offline   reach = iota // nobody
	toAgent                // the agent
	toServers              // the servers of a datacenter, by the agent
)

// call is one invocation.
type call struct {
	IO
	args []string
	api  *client.Client // nil when the row is offline
	q    client.Query   // what the common options say
	// elsewhere is true when the options name a datacenter that may not be the agent's.
	elsewhere bool
	hurry     <-chan struct{} // closed when the user will not wait for the command to end
}

// command is a row that runs.
type command struct {
	row *row
	std IO
}

// wantsHelp is the code of a command that needs another one below it.
const wantsHelp = -1

// run parses the arguments and runs the row's action.
func (c *command) run(args []string) int {
	r := c.row
	if r.bind == nil {
		if len(args) > 0 && !strings.HasPrefix(args[0], "-") {
			fmt.Fprintln(c.std.Err, red(c.std.Err, c.std.Getenv, noCommand(r.name, args[0], table())))
			return 1
		}
		return wantsHelp
	}
	flags, api := r.flags()
	act := r.bind(flags)
	if err := flags.Parse(args); err != nil {
		return c.fail(misused(flags, err))
	}
	call := &call{IO: c.std, args: flags.Args()}
	if err := r.arity(call.args); err != nil {
		return c.fail(err)
	}
	if api != nil {
		var err error
		if call.api, call.q, err = api.connect(flags, c.std.Getenv); err != nil {
			return c.fail(err)
		}
		call.elsewhere = api.datacenter != ""
		defer call.api.Close()
	}
	hurry := make(chan struct{})
	call.hurry = hurry
	return c.interruptible(hurry, func(ctx context.Context) int { return c.fail(act(ctx, call)) })
}

// flags returns the row's empty set of options, with the common ones bound.
func (r *row) flags() (*flag.FlagSet, *apiOptions) {
	flags := flag.NewFlagSet(r.name, flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	return flags, bindAPI(flags, r.reach)
}

// interruptible runs f until it ends. The first signal ends f's context; the second closes hurry and gives
// f little time to end.
func (c *command) interruptible(hurry chan<- struct{}, f func(context.Context) int) int {
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	if c.row.signals || c.std.Signals == nil {
		return f(ctx)
	}
	done := make(chan int, 1)
	go func() { done <- f(ctx) }() // ends with f, or with the process
	select {
	case code := <-done:
		return code
	case s := <-c.std.Signals:
		cancel(interrupted{s})
	}
	select {
	case code := <-done:
		return code
	case <-c.std.Signals:
		close(hurry)
	}
	select {
	case code := <-done:
		return code
	case <-time.After(hurryTime):
		return 1
	}
}

// interrupted is the cause of a context that a signal ended.
type interrupted struct{ signal os.Signal }

func (i interrupted) Error() string { return "interrupted (" + i.signal.String() + ")" }

// fail prints err, if there is one, in one line, or in a line for each error that is joined in it, and
// returns the exit code.
func (c *command) fail(err error) int {
	if err == nil {
		return 0
	}
	var e *exit
	if !errors.As(err, &e) {
		e = &exit{code: 1, err: err}
	}
	if e.err != nil {
		tail := ""
		if advice := advise(e.err); advice != "" {
			tail = ". " + advice
		}
		if e.usage {
			tail += fmt.Sprintf(" (see %s %s -h)", program, c.row.name)
		}
		for _, text := range each(e.err) {
			fmt.Fprintln(c.std.Err, red(c.std.Err, c.std.Getenv, "Error: "+clean(text)+tail))
		}
	}
	return e.code
}

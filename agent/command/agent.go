package command

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/curia-mesh/curia/agent"
	"github.com/curia-mesh/curia/agent/config"
)

// processRows are the commands that are the agent itself rather than talk to one.
func processRows() []row {
	return []row{
		{name: "agent", group: groupAgent, synopsis: "Runs an agent", signals: true, bind: runAgent,
			help: "Runs an agent until it is interrupted. SIGHUP makes it read its configuration again.\n\n  $ curia agent -dev\n  $ curia agent -server -bootstrap-expect=1 -data-dir=/var/lib/curia -config-dir=/etc/curia.d"},
		{name: "validate", group: groupTools, synopsis: "Checks configuration files", args: "FILE-OR-DIRECTORY...", min: 1, max: -1, bind: validate,
			help: "Reads configuration files, and the files of directories, as the agent would, and says what is wrong with them. The exit code is 1 when anything is."},
	}
}

func runAgent(f *flag.FlagSet) action {
	flags := config.BindFlags(f)
	return func(ctx context.Context, c *call) error {
		revision, date := build()
		self, err := os.Executable()
		if err != nil {
			return err
		}
		reload := make(chan struct{}, 1)
		ctx, cancel := context.WithCancelCause(ctx)
		defer cancel(nil)
		done := make(chan struct{})
		defer close(done)
		go obeySignals(c.Signals, reload, cancel, done) // ends with this function
		a, err := agent.Open(ctx, agent.Options{
			Args: flags.Args(), Build: agent.Build{Version: Version, Revision: revision, Date: date}, Out: c.Out, Reload: reload, Program: self, Alone: true,
		})
		if err == nil {
			err = a.Run(ctx)
		}
		var interrupted *agent.Interrupt
		if errors.As(err, &interrupted) || errors.Is(err, agent.ErrLeft) {
			return nil
		}
		return err
	}
}

// obeySignals ends the agent at the first signal that asks for it, and the process at the second.
func obeySignals(signals <-chan os.Signal, reload chan<- struct{}, cancel context.CancelCauseFunc, done <-chan struct{}) {
	asked := false
	for {
		select {
		case <-done:
			return
		case s := <-signals:
			switch {
			case s == syscall.SIGHUP:
				select {
				case reload <- struct{}{}:
				default: // one is due already
				}
			case asked:
				signal.Reset()
				os.Exit(1)
			default:
				asked = true
				cancel(&agent.Interrupt{Terminated: s == syscall.SIGTERM})
			}
		}
	}
}

func validate(f *flag.FlagSet) action {
	format := f.String("config-format", "", "The `format` of files whose name does not tell: hcl or json.")
	quiet := f.Bool("quiet", false, "Says nothing when all is well.")
	return func(_ context.Context, c *call) error {
		_, warnings, err := config.Load(config.Args{Paths: c.args, Format: *format})
		if err != nil {
			return fmt.Errorf("config validation failed: %w", err)
		}
		for _, w := range warnings {
			fmt.Fprintln(c.Err, "Warning:", w)
		}
		if !*quiet {
			c.say("Configuration is valid!")
		}
		return nil
	}
}

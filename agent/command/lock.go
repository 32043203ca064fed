package command

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"strings"

	"github.com/curia-mesh/curia/agent/client"
)

func lock(f *flag.FlagSet) action {
	n := f.Int("n", 1, "How `many` may hold the lock at once; above 1 it is a semaphore.")
	name := f.String("name", "", "A `name` for the lock's session.")
	exitCode := f.Bool("child-exit-code", false, "Exit with 2 when the child fails.")
	retry := f.Int("monitor-retry", 3, "How `often` a failed look at the held lock is tried again before it counts as lost.")
	stdin := f.Bool("pass-stdin", false, "Give the child the standard input.")
	shell := f.Bool("shell", true, "Run the child by the shell.")
	try := f.Duration("try", 0, "How `long` to wait for the lock, such as 10s. The default is for ever.")
	timeout := f.Duration("timeout", 0, "Another name of -try; a `duration`.")
	verbose := f.Bool("verbose", false, "Say what happens.")
	return func(ctx context.Context, c *call) error {
		prefix, args := strings.Trim(c.args[0], "/"), c.args[1:]
		l := client.Lock{Prefix: prefix, Limit: *n, Name: *name, Try: *try, Retries: *retry}
		switch {
		case *n < 1:
			return usage("-n %d: at least 1 must be able to hold the lock", *n)
		case *try < 0 || *timeout < 0 || *retry < 0:
			return usage("-try, -timeout and -monitor-retry must not be negative")
		case *try != 0 && *timeout != 0:
			return usage("-try and -timeout mean the same: set one")
		case *try == 0:
			l.Try = *timeout
		}
		if l.Name == "" {
			l.Name = fmt.Sprintf("Curia lock for '%s' at '%s'", strings.Join(args, " "), prefix)
		}
		tell := func(format string, args ...any) {
			if *verbose {
				c.note(format, args...)
			}
		}
		tell("Waiting for lock at %s ...", prefix)
		err := c.api.Hold(ctx, l, func(ctx context.Context) error {
			tell("Lock acquired, running %s", strings.Join(args, " "))
			cmd := child(args, *shell, !*stdin)
			cmd.Stdout, cmd.Stderr = c.Out, c.Err
			if *stdin {
				cmd.Stdin = c.In
			}
			err := c.runChild(ctx, cmd)
			if ctx.Err() != nil {
				return fmt.Errorf("the child was stopped: %w", context.Cause(ctx))
			}
			return err
		})
		switch {
		case errors.Is(err, client.ErrNotAcquired), err == nil:
			return err
		case failedChild(err) && *exitCode:
			return &exit{code: 2, err: fmt.Errorf("the child failed: %w", err)}
		case failedChild(err):
			c.note("The child failed: %v", err)
			return nil
		}
		return err
	}
}

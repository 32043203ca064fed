package command

import (
	"context"
	"flag"
	"strconv"
	"time"
)

func joinTokenCreate(f *flag.FlagSet) action {
	role := f.String("role", "client", "What those who join become: `server or client`.")
	uses := f.Int("uses", 1, "How `many` may join with it.")
	ttl := f.Duration("ttl", time.Hour, "How `long` it is good.")
	return func(ctx context.Context, c *call) error {
		made, err := c.api.Operator().CreateJoinToken(ctx, *role, *uses, *ttl)
		if err != nil {
			return err
		}
		c.note("==> %s: one %s at a time joins with it, %d in all, until %s", made.ID, clean(made.Role), made.Uses, made.Expires.Format(time.RFC3339))
		c.say("%s", made.Text)
		return nil
	}
}

func joinTokenList(*flag.FlagSet) action {
	return func(ctx context.Context, c *call) error {
		all, err := c.api.Operator().JoinTokens(ctx)
		if err != nil {
			return err
		}
		rows := [][]string{{"ID", "Role", "Uses", "Expires"}}
		for _, t := range all {
			rows = append(rows, []string{t.ID, t.Role, strconv.Itoa(t.Uses), t.Expires.Format(time.RFC3339)})
		}
		c.table(rows)
		return nil
	}
}

func joinTokenRevoke(*flag.FlagSet) action {
	return func(ctx context.Context, c *call) error {
		if err := c.api.Operator().RevokeJoinToken(ctx, c.args[0]); err != nil {
			return err
		}
		c.say("Nobody joins with %s any more.", clean(c.args[0]))
		return nil
	}
}

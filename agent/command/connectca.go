package command

import (
	"context"
	"flag"
	"fmt"

	"github.com/curia-mesh/curia/agent/decode"
	"github.com/curia-mesh/curia/catalog"
)

func caGet(*flag.FlagSet) action {
	return func(ctx context.Context, c *call) error {
		cfg, err := c.api.Connect().CAConfig(ctx, c.q)
		if err != nil {
			return err
		}
		return c.json(cfg, "    ")
	}
}

func caSet(f *flag.FlagSet) action {
	path := f.String("config-file", "", "The `file` with the configuration, in JSON.")
	force := f.Bool("force-without-cross-signing", false, "Let another root take over although the present one cannot vouch for it. Connections fail until everybody knows the new one.")
	return func(ctx context.Context, c *call) error {
		if *path == "" {
			return usage("which configuration? set -config-file")
		}
		b, err := readFile(*path, maxDefinition)
		if err != nil {
			return err
		}
		cfg := &catalog.CAConfig{}
		if err := decode.JSON(b, cfg, decode.Strict()); err != nil {
			return fmt.Errorf("%s: %w", *path, err)
		}
		cfg.ForceWithoutCrossSigning = cfg.ForceWithoutCrossSigning || *force
		if err := c.api.Connect().SetCAConfig(ctx, cfg, c.q); err != nil {
			return err
		}
		c.say("Configuration updated!")
		return nil
	}
}

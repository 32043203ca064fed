package command

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/curia-mesh/curia/agent/client"
)

// Limits of a watch's HTTP handler.
const (
	handlerTimeout = 10 * time.Second
	maxHandlerBody = 4 << 10
)

func watch(f *flag.FlagSet) action {
	w := &client.Watch{}
	f.StringVar(&w.Type, "type", "", "The `type` of the watch; it must be given: "+strings.Join(client.WatchTypes(), ", ")+".")
	f.StringVar(&w.Key, "key", "", "The `key` of a watch of type key.")
	f.StringVar(&w.Prefix, "prefix", "", "The `prefix` of a watch of type keyprefix.")
	f.StringVar(&w.Service, "service", "", "The `service` of a watch of type service, checks or connect_leaf.")
	f.StringVar(&w.ServiceID, "service-id", "", "The `id` of a watch of type agent_service.")
	f.StringVar(&w.State, "state", "", "The `state` of a watch of type checks. The default is any.")
	f.StringVar(&w.Name, "name", "", "The `name` of a watch of type event.")
	f.StringVar(&w.Filter, "filter", "", "Watch only what this `expression` selects.")
	tags := listVar(f, "tag", "A `tag` of a watch of type service. It can be given several times.")
	passing := f.String("passingonly", "", "Whether a watch of type service leaves out instances that fail: `true or false`.")
	shell := f.Bool("shell", true, "Run the handler by the shell.")
	return func(ctx context.Context, c *call) error {
		w.Tags, w.Query = *tags, c.q
		if *passing != "" {
			var err error
			if w.PassingOnly, err = strconv.ParseBool(*passing); err != nil {
				return usage("-passingonly %q: want true or false", *passing)
			}
		}
		if w.Type == "agent_service" && w.ServiceID == "" {
			w.ServiceID = w.Service
		}
		if err := w.Validate(); err != nil {
			return usage("%w", err)
		}
		if len(c.args) == 0 {
			return c.once(ctx, w)
		}
		handle := c.script(c.args, *shell)
		if len(c.args) == 1 && (strings.HasPrefix(c.args[0], "http://") || strings.HasPrefix(c.args[0], "https://")) {
			handle = post(c.args[0])
		}
		err := w.Run(ctx, c.api, func(ctx context.Context, r client.Result) error {
			if err := handle(ctx, r); err != nil && ctx.Err() == nil {
				c.note("The handler failed: %s", clean(err.Error()))
			}
			return nil
		}, func(err error) { c.note("The watch will try again: %s", clean(err.Error())) })
		if ctx.Err() != nil {
			return nil // stopping is how this command ends
		}
		return err
	}
}

// once prints the view as it is.
func (c *call) once(ctx context.Context, w *client.Watch) error {
	r, err := w.Fetch(ctx, c.api, client.Result{})
	if err != nil {
		return err
	}
	return c.json(json.RawMessage(r.JSON), "    ")
}

// script runs a program with the view on its standard input.
func (c *call) script(args []string, shell bool) func(context.Context, client.Result) error {
	return func(ctx context.Context, r client.Result) error {
		cmd := child(args, shell, true)
		cmd.Env = append(cmd.Env, "CONSUL_INDEX="+strconv.FormatUint(r.Index, 10), "CURIA_INDEX="+strconv.FormatUint(r.Index, 10))
		cmd.Stdin = io.MultiReader(bytes.NewReader(r.JSON), strings.NewReader("\n"))
		cmd.Stdout, cmd.Stderr = c.Out, c.Err
		return c.runChild(ctx, cmd)
	}
}

// post sends the view to a URL.
func post(url string) func(context.Context, client.Result) error {
	return func(ctx context.Context, r client.Result) error {
		ctx, cancel := context.WithTimeout(ctx, handlerTimeout)
		defer cancel()
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(r.JSON))
		if err != nil {
			return err
		}
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("X-Consul-Index", strconv.FormatUint(r.Index, 10))
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		io.Copy(io.Discard, io.LimitReader(resp.Body, maxHandlerBody))
		if resp.StatusCode >= 300 {
			return fmt.Errorf("%s answered %s", url, resp.Status)
		}
		return nil
	}
}

package main

import (
	"errors"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	d6tpipe "github.com/d6t/d6tpipe-go"
)

// hookFlags are what create and update say of a webhook.
type hookFlags struct {
	url, include, exclude, description string
	kinds                              []string
}

func (f *hookFlags) flags(c *cobra.Command) {
	c.Flags().StringVar(&f.url, "url", "", "`URL` to send to; - reads it from standard input, for one that holds a secret")
	c.Flags().StringVar(&f.include, "include", "", "tell only of files that match these `patterns`, as in '*.csv|*.parquet'")
	c.Flags().StringVar(&f.exclude, "exclude", "", "tell of no files that match these `patterns`")
	c.Flags().StringSliceVar(&f.kinds, "kind", nil, "tell only of changes of this `kind`: new, modified or gone; may be repeated, and '' is all")
	c.Flags().StringVar(&f.description, "description", "", "`text` for people")
	completeWords(c, "kind", string(d6tpipe.ChangeNew), string(d6tpipe.ChangeModified), string(d6tpipe.ChangeGone))
}

// read reads what comes over standard input.
func (f *hookFlags) read(c *cobra.Command) (err error) {
	if f.url != "-" {
		return nil
	}
	if f.url, err = readLine(c.InOrStdin()); errors.Is(err, errNoPassword) {
		return errors.New("there is no URL on standard input")
	}
	return err
}

func (f *hookFlags) changeKinds() []d6tpipe.ChangeKind {
	kinds := make([]d6tpipe.ChangeKind, len(f.kinds))
	for i, k := range f.kinds {
		kinds[i] = d6tpipe.ChangeKind(k)
	}
	return kinds
}

func newWebhooksCreate(p *program) *cobra.Command {
	var f hookFlags
	paused := false
	c := p.pipeFirst(&cobra.Command{
		Use:   "create PIPE --url URL",
		Short: "Make a webhook, and print its secret",
		Long: `Make a webhook, which is told of what changes in the pipe from now on. The secret that
its messages are signed with is printed now and never again.`,
		Example: `  d6tpipe webhooks create sales --url https://example.com/hooks/sales
  d6tpipe webhooks create sales --url https://example.com/hooks/sales --kind new --include '*.csv'
  pass show hook-url | d6tpipe webhooks create sales --url - --json`,
	}, 0, func(c *cobra.Command, pipe string, _ []string) error {
		if f.url == "" {
			return usage(c, errors.New("--url is missing: say where to send to"))
		}
		if err := f.read(c); err != nil {
			return err
		}
		client, err := p.client(c)
		if err != nil {
			return err
		}
		h, err := client.CreateWebhook(c.Context(), pipe, d6tpipe.WebhookSettings{
			URL: f.url, Include: f.include, Exclude: f.exclude, Kinds: f.changeKinds(), Description: f.description, Paused: paused,
		})
		if err != nil {
			return err
		}
		p.say(c, "Created webhook %s of pipe %s. Keep its secret: it is not shown again.", safe(h.ID), safe(pipe))
		return p.showHook(c, h)
	})
	f.flags(c)
	c.Flags().BoolVar(&paused, "paused", false, "send nothing before it is resumed")
	return c
}

// switches are what update does besides.
type switches struct{ pause, resume, rotate, enable bool }

func newWebhooksUpdate(p *program) *cobra.Command {
	var f hookFlags
	var s switches
	c := p.hookCommand(&cobra.Command{
		Use:   "update PIPE ID",
		Short: "Change a webhook: where to, what of, a new secret, on and off",
		Long: `Change a webhook; what is not named stays. With --rotate there is a new secret, which is
printed now and never again; for 24 hours messages are signed with the former one too.
With --enable the server sends again to a webhook that it has disabled, from where it had
stopped.`,
		Example: `  d6tpipe webhooks update sales ID --url https://example.com/new
  d6tpipe webhooks update sales ID --rotate
  d6tpipe webhooks update sales ID --pause
  d6tpipe webhooks update sales ID --enable`,
	}, func(c *cobra.Command, client *d6tpipe.APIClient, pipe, id string) error {
		if s.pause && s.resume {
			return usage(c, errors.New("--pause and --resume exclude each other"))
		}
		if err := f.read(c); err != nil {
			return err
		}
		u := f.update(c.Flags(), s)
		if u == (d6tpipe.WebhookUpdate{}) {
			return usage(c, errors.New("nothing to change is given"))
		}
		h, err := client.UpdateWebhook(c.Context(), pipe, id, u)
		if err != nil {
			return err
		}
		p.say(c, "Updated webhook %s of pipe %s.", safe(id), safe(pipe))
		return p.showHook(c, h)
	})
	f.flags(c)
	c.Flags().BoolVar(&s.pause, "pause", false, "send nothing, and keep what changes")
	c.Flags().BoolVar(&s.resume, "resume", false, "send again what was kept")
	c.Flags().BoolVar(&s.rotate, "rotate", false, "make a new secret, and print it")
	c.Flags().BoolVar(&s.enable, "enable", false, "send again to a webhook that the server has disabled")
	return c
}

// update is what the flags that were given say.
func (f *hookFlags) update(given *pflag.FlagSet, s switches) d6tpipe.WebhookUpdate {
	u := d6tpipe.WebhookUpdate{Rotate: s.rotate, Enable: s.enable}
	for name, field := range map[string]struct {
		from *string
		to   **string
	}{"url": {&f.url, &u.URL}, "include": {&f.include, &u.Include}, "exclude": {&f.exclude, &u.Exclude}, "description": {&f.description, &u.Description}} {
		if given.Changed(name) {
			*field.to = field.from
		}
	}
	if given.Changed("kind") {
		kinds := f.changeKinds()
		u.Kinds = &kinds
	}
	if s.pause || s.resume {
		u.Paused = &s.pause
	}
	return u
}

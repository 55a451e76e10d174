package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	d6tpipe "github.com/d6t/d6tpipe-go"
)

func newWebhooks(p *program) *cobra.Command {
	return group(&cobra.Command{
		Use:   "webhooks",
		Short: "Addresses that the server tells what changed in a pipe",
		Long: `Webhooks are addresses to which the server posts what changed in a pipe, signed as the
Standard Webhooks specification says. Who administers the pipe manages them. The server
sends again what is not accepted, for three days, and tells its owner when it gives up.`,
		Example: "  d6tpipe webhooks create sales --url https://example.com/hooks/sales\n  d6tpipe webhooks list sales\n  d6tpipe webhooks deliveries sales ID",
	}, newWebhooksList(p), newWebhooksCreate(p), newWebhooksGet(p), newWebhooksUpdate(p), newWebhooksDelete(p), newWebhooksTest(p), newDeliveries(p))
}

// hookCommand is a command whose arguments are a pipe and a webhook of it.
func (p *program) hookCommand(c *cobra.Command, run func(c *cobra.Command, client *d6tpipe.APIClient, pipe, id string) error) *cobra.Command {
	c.ValidArgsFunction = p.completeWebhooks
	return p.pipeFirst(c, 1, func(c *cobra.Command, pipe string, rest []string) error {
		client, err := p.client(c)
		if err != nil {
			return err
		}
		return run(c, client, pipe, rest[0])
	})
}

// completeWebhooks gives a shell the ids of the webhooks of a pipe.
func (p *program) completeWebhooks(c *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	ctx, stop := context.WithTimeout(context.WithoutCancel(c.Context()), completionLimit)
	defer stop()
	pipe := c.Flag("pipe").Value.String()
	if pipe == "" && len(args) > 0 {
		pipe, args = args[0], args[1:]
	}
	client, err := p.client(c)
	if err != nil || len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var ids []string
	hooks, _ := client.Webhooks(ctx, pipe) // a completion has nobody to tell an error
	for _, h := range hooks {
		ids = append(ids, h.ID)
	}
	return ids, cobra.ShellCompDirectiveNoFileComp
}

func newWebhooksList(p *program) *cobra.Command {
	return p.pipeFirst(&cobra.Command{
		Use:     "list PIPE",
		Short:   "List the webhooks of a pipe",
		Example: "  d6tpipe webhooks list sales\n  d6tpipe webhooks list sales --json",
	}, 0, func(c *cobra.Command, pipe string, _ []string) error {
		client, err := p.client(c)
		if err != nil {
			return err
		}
		hooks, err := client.Webhooks(c.Context(), pipe)
		if err != nil {
			return err
		}
		if len(hooks) == 0 {
			p.say(c, "Pipe %s has no webhooks.", safe(pipe))
		}
		return showList(p, c, hooks, newTable("ID", "STATE", "URL", "DESCRIPTION"), func(h d6tpipe.Webhook) []string {
			return []string{h.ID, hookState(h), h.URL, h.Description}
		})
	})
}

// hookState says in a word how a webhook is.
func hookState(h d6tpipe.Webhook) string {
	switch {
	case h.Disabled != "":
		return "disabled"
	case h.Paused:
		return "paused"
	case h.Failures > 0:
		return "retrying"
	}
	return "on"
}

func newWebhooksGet(p *program) *cobra.Command {
	return p.hookCommand(&cobra.Command{
		Use:     "get PIPE ID",
		Short:   "Show a webhook, without its secret",
		Example: "  d6tpipe webhooks get sales ID\n  d6tpipe webhooks get sales ID --json",
	}, func(c *cobra.Command, client *d6tpipe.APIClient, pipe, id string) error {
		h, err := client.Webhook(c.Context(), pipe, id)
		if err != nil {
			return err
		}
		return p.showHook(c, h)
	})
}

// A toldHook is a webhook with its secret in clear.
type toldHook struct {
	d6tpipe.Webhook
	Secret string `json:"secret,omitempty"`
}

// webhookRunText is what a run sent to a webhook.
func webhookRunText(r d6tpipe.Run) string {
	var did d6tpipe.WebhookRun
	if json.Unmarshal(r.Detail, &did) != nil {
		return string(r.Detail)
	}
	text := count(did.Messages, "message") + ", " + count(did.Changes, "change")
	if did.Waits != nil {
		text += ", next attempt " + moment(did.Waits)
	}
	return text
}

// showHook prints a webhook, with its secret if there is a new one.
func (p *program) showHook(c *cobra.Command, h d6tpipe.Webhook) error {
	if h.Notice != "" {
		p.say(c, "%s", safe(h.Notice))
	}
	told := toldHook{h, string(h.Secret)}
	told.Webhook.Secret = ""
	return p.show(c, told, func(w io.Writer) error {
		t := newTable()
		for _, line := range [][2]string{
			{"id", h.ID}, {"pipe", h.Pipe}, {"creator", h.Creator}, {"url", h.URL}, {"secret", told.Secret}, {"include", h.Include}, {"exclude", h.Exclude},
			{"kinds", kindList(h.Kinds)}, {"description", h.Description}, {"state", hookState(h)}, {"why", h.Disabled}, {"since", moment(h.DisabledAt)},
			{"failures", number(h.Failures)}, {"next attempt", moment(h.Retry)}, {"former secrets until", moment(h.OldSecretsUntil)},
		} {
			if line[1] != "" {
				t.add(line[0], line[1])
			}
		}
		return t.print(w)
	})
}

func kindList(kinds []d6tpipe.ChangeKind) string {
	words := make([]string, len(kinds))
	for i, k := range kinds {
		words[i] = string(k)
	}
	return strings.Join(words, ", ")
}

func moment(t *time.Time) string {
	if t == nil {
		return ""
	}
	return t.Local().Format(time.DateTime)
}

// number is "" for 0.
func number(n int) string {
	if n == 0 {
		return ""
	}
	return strconv.Itoa(n)
}

func newWebhooksDelete(p *program) *cobra.Command {
	var sure confirmation
	c := p.hookCommand(&cobra.Command{
		Use:     "delete PIPE ID",
		Short:   "Remove a webhook, with the log of its deliveries",
		Example: "  d6tpipe webhooks delete sales ID --yes ID",
	}, func(c *cobra.Command, client *d6tpipe.APIClient, pipe, id string) error {
		if err := sure.ask(c, id, fmt.Sprintf("webhook %s of pipe %s is removed with the log of its deliveries", safe(id), safe(pipe))); err != nil {
			return err
		}
		if err := client.DeleteWebhook(c.Context(), pipe, id); err != nil {
			return err
		}
		p.say(c, "Deleted webhook %s of pipe %s.", safe(id), safe(pipe))
		return p.showJSON(c, deletion{id, true})
	})
	sure.flag(c)
	return c
}

func newWebhooksTest(p *program) *cobra.Command {
	return p.hookCommand(&cobra.Command{
		Use:   "test PIPE ID",
		Short: "Have the server send a test, and tell what came back",
		Long: `Have the server send a message of the type webhook.test now, once, and tell what came
back. When it was not accepted the exit code is 1. At most 10 in a minute.`,
		Example: "  d6tpipe webhooks test sales ID",
	}, func(c *cobra.Command, client *d6tpipe.APIClient, pipe, id string) error {
		d, err := client.TestWebhook(c.Context(), pipe, id)
		if err != nil {
			return err
		}
		err = p.show(c, d, func(w io.Writer) error {
			_, err := fmt.Fprintf(w, "%s in %s\n", outcome(d), duration(time.Duration(d.Took)))
			if err == nil && d.Said != "" {
				_, err = fmt.Fprintf(w, "said: %s\n", safe(d.Said))
			}
			return err
		})
		if err == nil && d.Error != "" {
			err = fmt.Errorf("the test has not arrived: %s", safe(d.Error))
		}
		return err
	})
}

// outcome says what came of a delivery.
func outcome(d d6tpipe.Delivery) string {
	switch {
	case d.Error == "":
		return "arrived: " + strconv.Itoa(d.Status)
	case d.Status != 0:
		return "failed: " + strconv.Itoa(d.Status)
	}
	return "failed"
}

func newDeliveries(p *program) *cobra.Command {
	limit := 50
	c := p.hookCommand(&cobra.Command{
		Use:     "deliveries PIPE ID",
		Short:   "List what was sent to a webhook, and what came back",
		Long:    "List the attempts to deliver messages to a webhook, the newest first. The server keeps\nthe last 200, for 30 days.",
		Example: "  d6tpipe webhooks deliveries sales ID\n  d6tpipe webhooks deliveries sales ID --limit 200 --json",
	}, func(c *cobra.Command, client *d6tpipe.APIClient, pipe, id string) error {
		if limit < 1 {
			return usage(c, fmt.Errorf("--limit %d: it is at least 1", limit))
		}
		var list []d6tpipe.Delivery
		for d, err := range client.Deliveries(c.Context(), pipe, id) {
			if err != nil {
				return err
			}
			if list = append(list, d); len(list) == limit {
				break
			}
		}
		if len(list) == 0 {
			p.say(c, "Nothing was sent to webhook %s of pipe %s.", safe(id), safe(pipe))
		}
		return showList(p, c, list, newTable("TIME", "TYPE", "MESSAGE", ">ATTEMPT", "OUTCOME", ">TOOK", "+WHY"), func(d d6tpipe.Delivery) []string {
			return []string{d.Time.Local().Format(time.DateTime), d.Type, d.Message, strconv.Itoa(d.Attempt), outcome(d), duration(time.Duration(d.Took)), d.Error}
		})
	})
	c.Flags().IntVar(&limit, "limit", limit, "at most so many `attempts`")
	return c
}

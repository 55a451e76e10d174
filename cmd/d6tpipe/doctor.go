package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	d6tpipe "github.com/d6t/d6tpipe-go"
)

const doctorLong = `Look at all that pulls and pushes need: the profile and its file, the file repo,
the keyring and the token, the server, its certificate and its clock, and the
beginning of the listing of each remote and pipe.

For each it says ok, warning or failed, and what to do. Nothing is changed. The
exit code is 1 when something failed.`

func newDoctor(p *program) *cobra.Command {
	d := &doctor{program: p}
	c := &cobra.Command{
		Use:     "doctor",
		Short:   "Look for what is wrong with the profile, the server, the remotes and the pipes",
		Long:    doctorLong,
		Example: "  d6tpipe doctor\n  d6tpipe --profile onprem doctor --timeout 30s\n  d6tpipe doctor --json | jq -r 'select(.state != \"ok\") | .advice'",
		Args:    exactly(0),
		RunE:    d.run,
	}
	d.reach.flags(c)
	c.Flags().DurationVar(&d.timeout, "timeout", 10*time.Second, "how long each look may take")
	return c
}

// The states of a finding.
const (
	stateOK      = "ok"
	stateWarning = "warning"
	stateFailed  = "failed"
)

// A finding is what doctor says of one thing.
type finding struct {
	What   string `json:"what"`           // "server", "pipe"
	Name   string `json:"name,omitempty"` // of the remote or pipe
	State  string `json:"state"`
	Text   string `json:"text"`
	Advice string `json:"advice,omitempty"` // what to do
}

// fails is the finding that something fails with err.
func fails(what, name string, err error) finding {
	f := finding{What: what, Name: name, State: stateFailed, Text: err.Error(), Advice: advice(err)}
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		f.Advice = "It did not answer in time. If it is only slow, --timeout gives it more."
	case errors.Is(err, d6tpipe.ErrUnavailable):
		f.Advice = "Look at the address, the network and the proxy (HTTPS_PROXY)."
	case errors.Is(err, d6tpipe.ErrNotFound) && what != "account":
		f.Advice = "The bucket or folder is not there: look at location, dir and endpoint in its settings."
	case errors.Is(err, d6tpipe.ErrInvalid) && (what == "remote" || what == "pipe"):
		f.Advice = fmt.Sprintf("Put its settings right: d6tpipe %ss update %s; its --help lists them.", what, name)
		if what == "pipe" {
			f.Advice += " Or those of its remote, if it is on one."
		}
	case errors.Is(err, d6tpipe.ErrPermission) && what == "remote":
		f.Advice = "The storage refuses the credentials for reading: look at them and at what they may do."
	}
	return f
}

// A doctor looks at one thing after the other and tells what it finds.
type doctor struct {
	*program
	reach   reach
	timeout time.Duration

	command    *cobra.Command
	cfg        d6tpipe.Config
	looked     int
	failed     int
	printError error
}

func (d *doctor) run(c *cobra.Command, _ []string) error {
	if d.timeout <= 0 {
		return usage(c, errors.New("--timeout must be more than nothing"))
	}
	d.command = c
	d.look(c.Context())
	switch {
	case d.printError != nil:
		return d.printError
	case c.Context().Err() != nil:
		return c.Context().Err()
	case d.failed > 0:
		return fmt.Errorf("%d of %d looks found something that does not work", d.failed, d.looked)
	}
	return nil
}

// look goes on as long as there is something to go on with: a later look makes no
// sense when what it needs has failed.
func (d *doctor) look(ctx context.Context) {
	cfg, err := d.config()
	d.tell(lookAtProfile(cfg, err)...)
	if err != nil {
		return
	}
	d.cfg = cfg
	d.tell(lookAtFileRepo(cfg)...)
	var api d6tpipe.API
	if d.local || cfg.Server == "" {
		api = d.lookAtCatalogue(ctx)
	} else {
		api = d.lookAtServer(ctx)
	}
	if api != nil {
		d.lookAtStorage(ctx, api)
	}
}

// tell prints findings. After an error of the output there is nobody to tell more, and
// after a signal what fails has no other reason.
func (d *doctor) tell(findings ...finding) {
	if d.command.Context().Err() != nil {
		return
	}
	for _, f := range findings {
		d.looked++
		if f.State == stateFailed {
			d.failed++
		}
		if d.printError == nil {
			d.printError = d.print(f)
		}
	}
}

func (d *doctor) print(f finding) error {
	out := d.command.OutOrStdout()
	if d.asJSON {
		return printJSON(out, f, "")
	}
	if d.quiet && f.State == stateOK {
		return nil
	}
	what := f.What
	if f.Name != "" {
		what += " " + safe(f.Name)
	}
	_, err := fmt.Fprintf(out, "%s  %s: %s\n", d.colored(f.State), what, safe(f.Text))
	if err == nil && f.Advice != "" {
		_, err = fmt.Fprintf(out, "         %s\n", safe(f.Advice))
	}
	return err
}

// colored is a state as wide as the widest one.
func (d *doctor) colored(state string) string {
	word := fmt.Sprintf("%-7s", state)
	if !d.colors(d.command.OutOrStdout()) {
		return word
	}
	color := map[string]string{stateOK: "32", stateWarning: "33", stateFailed: "31"}[state]
	return "\x1b[" + color + "m" + word + "\x1b[0m"
}

// within is a context that ends when a look has taken too long.
func (d *doctor) within(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, d.timeout)
}

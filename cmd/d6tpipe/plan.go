package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	d6tpipe "github.com/d6t/d6tpipe-go"
)

func newPlan(p *program) *cobra.Command {
	return group(&cobra.Command{
		Use:     "plan",
		Short:   "Write down what a pull or push would do, to look at it and apply it later",
		Example: "  d6tpipe plan pull sales > plan.jsonl\n  d6tpipe apply plan.jsonl",
	},
		newPlanOf(p, "pull", (*d6tpipe.Pipe).PlanPull),
		newPlanOf(p, "push", (*d6tpipe.Pipe).PlanPush))
}

func newPlanOf(p *program, verb string, plan func(*d6tpipe.Pipe, context.Context, d6tpipe.PullOptions) (*d6tpipe.Plan, error)) *cobra.Command {
	var s selection
	c := &cobra.Command{
		Use:   verb + " PIPE",
		Short: "Write the plan of a " + verb + " to standard output",
		Long: `Write the plan of a ` + verb + ` to standard output, as lines of JSON: a head, a line for
each step with the states of both sides from which it follows, and an end. The sum
goes to standard error. Nothing is moved.`,
		Example: "  d6tpipe plan " + verb + " sales > plan.jsonl\n  d6tpipe plan " + verb + " sales --include '*.csv' | ssh there d6tpipe apply -",
	}
	s.flags(c, "keep and overwrite are about the target's file")
	return p.pipeFirst(c, 0, func(c *cobra.Command, name string, _ []string) error {
		pipe, err := p.open(c.Context(), name, s.reach.options())
		if err != nil {
			return err
		}
		found, err := plan(pipe, c.Context(), s.options())
		if err != nil {
			return err
		}
		if _, err := found.WriteTo(c.OutOrStdout()); err != nil {
			return err
		}
		p.say(c, "%s", planSummary(found))
		return nil
	})
}

func newApply(p *program) *cobra.Command {
	var r reach
	c := &cobra.Command{
		Use:   "apply FILE",
		Short: "Carry out a plan that d6tpipe plan has written",
		Long: `Carry out a plan that d6tpipe plan has written to FILE, or that comes in on standard
input when FILE is -. Each step is taken only if both sides still are what the plan
was made from; what changed since is left alone, and the exit code is 3.`,
		Example: "  d6tpipe apply plan.jsonl\n  d6tpipe plan push sales | d6tpipe apply -",
		Args:    exactly(1),
		RunE: func(c *cobra.Command, args []string) error {
			plan, err := readPlan(c, args[0])
			if err != nil {
				return err
			}
			verb := "pull"
			if plan.Push {
				verb = "push"
			}
			err = p.transfer(c, verb, plan.Pipe, r.options(), func(ctx context.Context, pipe *d6tpipe.Pipe) (d6tpipe.Report, error) {
				return pipe.Apply(ctx, plan)
			})
			if errors.Is(err, d6tpipe.ErrConflict) && !errors.Is(err, context.Canceled) {
				err = hint(err, fmt.Sprintf("Make a new plan with: d6tpipe plan %s %s > FILE; --merge decides where both sides changed.", verb, plan.Pipe))
			}
			return err
		},
	}
	r.flags(c)
	r.workerFlag(c)
	return c
}

func readPlan(c *cobra.Command, file string) (plan *d6tpipe.Plan, err error) {
	var in io.Reader = c.InOrStdin()
	if file != "-" {
		f, err := os.Open(file)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		in = f
	}
	plan, err = unlessDone(c.Context(), func() (*d6tpipe.Plan, error) { return d6tpipe.ReadPlan(in) })
	if errors.Is(err, d6tpipe.ErrInvalid) {
		err = hint(fmt.Errorf("%s: %w", file, err), "Make it anew with: d6tpipe plan pull PIPE > FILE, or plan push.")
	}
	return plan, err
}

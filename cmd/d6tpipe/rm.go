package main

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	d6tpipe "github.com/d6t/d6tpipe-go"
)

func newRm(p *program) *cobra.Command {
	rm := removal{program: p}
	c := &cobra.Command{
		Use:   "rm PIPE [KEY...] --where local|remote|both",
		Short: "Delete files here, on the remote, or on both sides",
		Long: `Delete files of a pipe. --where says on which side, and there is no default: what is
deleted here is brought back by the next pull, what is deleted on the remote is gone
for everybody.

The files are named by their keys, or by --synced (those that are as the last sync
left them) or --all. For these two the name of the pipe must be typed once more, or
given with --yes, else the exit code is 5. When a file that was named does not exist,
none is deleted.`,
		Example: `  d6tpipe rm sales old.csv --where both
  d6tpipe rm sales --synced --where local     # free the disk, keep what was edited
  d6tpipe rm sales --all --where remote --yes sales`,
	}
	c.Flags().StringVar(&rm.where, "where", "", "`side` on which to delete: local, remote or both")
	_ = c.RegisterFlagCompletionFunc("where", cobra.FixedCompletions([]string{"local", "remote", "both"}, cobra.ShellCompDirectiveNoFileComp))
	c.Flags().BoolVar(&rm.o.Synced, "synced", false, "all files that are as the last sync left them")
	c.Flags().BoolVar(&rm.o.All, "all", false, "all files of the pipe")
	rm.sure.flag(c)
	rm.reach.flags(c)
	return p.pipeFirst(c, -1, func(c *cobra.Command, name string, keys []string) error {
		rm.o.Files = keys
		if err := rm.check(); err != nil {
			return usage(c, err)
		}
		return rm.run(c, name)
	})
}

// A removal is what rm was asked for.
type removal struct {
	*program
	reach
	where string
	o     d6tpipe.DeleteOptions
	sure  confirmation
}

func (rm *removal) here() bool  { return rm.where != "remote" }
func (rm *removal) there() bool { return rm.where != "local" }

func (rm *removal) check() error {
	named := 0
	for _, is := range []bool{len(rm.o.Files) > 0, rm.o.Synced, rm.o.All} {
		if is {
			named++
		}
	}
	switch {
	case rm.where == "":
		return errors.New("say on which side to delete: --where local, --where remote or --where both")
	case !slices.Contains([]string{"local", "remote", "both"}, rm.where):
		return fmt.Errorf("--where %q is none of local, remote and both", rm.where)
	case named != 1:
		return errors.New("say which files by exactly one of: their keys, --synced, --all")
	}
	return nil
}

// sides are a pipe's files on the sides that a removal is about.
type sides struct{ here, there []d6tpipe.File }

func (rm *removal) run(c *cobra.Command, name string) error {
	ctx := c.Context()
	pipe, err := rm.openFor(ctx, name)
	if err != nil {
		return err
	}
	before, err := rm.look(ctx, pipe)
	if err != nil {
		return err
	}
	if err := rm.known(before, name); err != nil {
		return err
	}
	if len(rm.o.Files) == 0 {
		if err := rm.sure.ask(c, name, "this deletes "+rm.what(before, safe(name))); err != nil {
			return err
		}
	}
	err = rm.remove(ctx, pipe)
	after, failed := rm.look(context.WithoutCancel(ctx), pipe)
	if failed != nil {
		return errors.Join(err, failed)
	}
	return errors.Join(err, rm.report(c, name, before, after, err))
}

// openFor opens the pipe, without its remote if that is not needed.
func (rm *removal) openFor(ctx context.Context, name string) (*d6tpipe.Pipe, error) {
	if rm.there() {
		return rm.open(ctx, name, rm.options())
	}
	here, err := rm.openHere(ctx, name)
	return &d6tpipe.Pipe{LocalPipe: here}, err
}

// look lists the sides. Names that cannot be used cannot be deleted either.
func (rm *removal) look(ctx context.Context, pipe *d6tpipe.Pipe) (found sides, err error) {
	if rm.here() {
		if found.here, err = pipe.ScanLocal(ctx, d6tpipe.ListOptions{}); err != nil && !errors.Is(err, d6tpipe.ErrPartial) {
			return found, err
		}
	}
	if rm.there() {
		if found.there, err = pipe.ScanRemote(ctx, d6tpipe.ListOptions{}); err != nil && !errors.Is(err, d6tpipe.ErrPartial) {
			return found, err
		}
	}
	return found, nil
}

// known refuses when a key that was named is on none of the sides.
func (rm *removal) known(found sides, name string) error {
	is := map[string]bool{}
	for _, f := range slices.Concat(found.here, found.there) {
		is[f.Key] = true
	}
	for _, key := range rm.o.Files {
		if !is[key] {
			side := map[string]string{"local": "here", "remote": "on the remote", "both": "on either side"}[rm.where]
			return hint(fmt.Errorf("%w: %s has no file %q %s", d6tpipe.ErrNotFound, name, key, side), "Nothing was deleted. d6tpipe status "+name+" and d6tpipe ls "+name+" -R show the files.")
		}
	}
	return nil
}

// what says in words what is about to be deleted.
func (rm *removal) what(found sides, name string) string {
	which := "all"
	if rm.o.Synced {
		which = "the synced ones of"
	}
	here := fmt.Sprintf("%s %s of %s here", which, count(len(found.here), "file"), name)
	there := fmt.Sprintf("%s %s of %s on the remote, for everybody", which, count(len(found.there), "file"), name)
	switch rm.where {
	case "local":
		return here
	case "remote":
		return there
	}
	return here + " and " + there
}

func (rm *removal) remove(ctx context.Context, pipe *d6tpipe.Pipe) error {
	switch rm.where {
	case "local":
		return pipe.DeleteLocal(ctx, rm.o)
	case "remote":
		return pipe.DeleteRemote(ctx, rm.o)
	}
	return pipe.Delete(ctx, rm.o)
}

// report tells what is gone.
func (rm *removal) report(c *cobra.Command, name string, before, after sides, err error) error {
	here, there := gone(before.here, after.here), gone(before.there, after.there)
	l := rm.names(c.ErrOrStderr())
	failed, _ := d6tpipe.Failures(err)
	for _, f := range failed {
		l.add("failed", f.Key, fmt.Sprint(f.Err))
	}
	l.end()
	if rm.here() {
		rm.say(c, "deleted %s of %s here", count(len(here), "file"), name)
	}
	if rm.there() {
		rm.say(c, "deleted %s of %s on the remote", count(len(there), "file"), name)
	}
	if !rm.asJSON {
		return nil
	}
	return printJSON(c.OutOrStdout(), deleted{fileKeys(here), fileKeys(there)}, "  ")
}

// deleted is what rm prints with --json.
type deleted struct {
	Local  []string `json:"local"`
	Remote []string `json:"remote"`
}

func fileKeys(files []d6tpipe.File) []string {
	keys := make([]string, len(files))
	for i, f := range files {
		keys[i] = f.Key
	}
	return keys
}

// gone are the files of before that after lacks.
func gone(before, after []d6tpipe.File) (files []d6tpipe.File) {
	still := map[string]bool{}
	for _, f := range after {
		still[f.Key] = true
	}
	for _, f := range before {
		if !still[f.Key] {
			files = append(files, f)
		}
	}
	return files
}

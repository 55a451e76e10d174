package main

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"
)

const demoLong = `Play the whole story in a temporary folder: a server on this machine, two users, a
pipe that the server has the storage for, a push, a pull, a share that ends on a day,
an edit that is refused, a conflict, a child with a filter, a share that is taken
back. Each command that is shown is carried out as it stands there, and what it
prints is what it says.

It takes a few seconds, needs neither network nor account, touches neither the
keyring nor the home folder, and removes what it made.`

func newDemo(p *program) *cobra.Command {
	var keep bool
	c := &cobra.Command{
		Use:     "demo",
		Short:   "Show all of it in a few seconds, on a server of its own",
		Long:    demoLong,
		Example: "  d6tpipe demo\n  d6tpipe demo --keep",
		Args:    exactly(0),
		RunE: func(c *cobra.Command, _ []string) error {
			if p.asJSON || p.quiet {
				return usage(c, errors.New("a story is no result: demo takes neither --json nor --quiet"))
			}
			return p.demo(c, keep)
		},
	}
	c.Flags().BoolVar(&keep, "keep", false, "keep the folder, and tell how to go on in it")
	return c
}

// demo plays the story on a stage of its own, which it takes down again.
func (p *program) demo(c *cobra.Command, keep bool) (err error) {
	start := time.Now()
	signal.Ignore(syscall.SIGPIPE) // head, which has read enough, must not keep us from cleaning up
	defer signal.Reset(syscall.SIGPIPE)
	out := c.OutOrStdout()
	d, err := openDemo(out, p.colors(out))
	if err != nil {
		return err
	}
	defer func() {
		if keep && err == nil {
			err = d.close()
			return
		}
		err = errors.Join(err, d.close(), os.RemoveAll(d.dir))
	}()
	if err := play(c.Context(), d); err != nil {
		return err
	}
	if keep {
		d.tellHowToGoOn()
		return d.printError
	}
	d.say("That was all, in %.1f s. The server has ended and %s is removed; --keep keeps it.", time.Since(start).Seconds(), d.dir)
	return d.printError
}

// The people of the story.
const (
	ann = "ann"
	bob = "bob"
)

// play tells the story. A command that ends in another way than the story has it is
// an error: what is shown is so.
func play(ctx context.Context, d *demo) error {
	until := time.Now().UTC().AddDate(0, 0, 30).Format(time.DateOnly)
	for _, scene := range []func(context.Context) error{
		d.serve,
		d.accounts,
		d.publish,
		func(ctx context.Context) error { return d.share(ctx, until) },
		d.readerEdits,
		d.bothEdit,
		d.narrow,
	} {
		if err := scene(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (d *demo) accounts(ctx context.Context) error {
	d.say("Two people open accounts. Their tokens would go to the system's keyring; here a file keeps them.")
	for _, who := range []string{ann, bob} {
		if err := d.write(who+".password", "secret of "+who+"\n"); err != nil {
			return err
		}
		if err := d.run(ctx, who, exitOK, "profiles", "init", "--server", d.url, "--file-repo", d.path(who), "--token-file", d.path(who+".token"), ">", os.DevNull); err != nil {
			return err
		}
		if err := d.run(ctx, who, exitOK, "register", who, "--email", who+"@example.com", "<", d.path(who+".password")); err != nil {
			return err
		}
	}
	return nil
}

func (d *demo) publish(ctx context.Context) error {
	d.say("Ann publishes three files and a README. The server has the storage; it could be a bucket of hers as well.")
	if err := d.unpack("data"); err != nil {
		return err
	}
	return d.all(ctx, ann, "pipes create world", "import world data/", "push world")
}

func (d *demo) share(ctx context.Context, until string) error {
	d.say("She shares them with Bob for thirty days, and he pulls. A second pull has nothing to do.")
	if err := d.all(ctx, ann, "share world --with bob --until "+until, "permissions world"); err != nil {
		return err
	}
	return d.all(ctx, bob, "pipes list", "pull world", "pull world")
}

func (d *demo) readerEdits(ctx context.Context) error {
	d.say("Bob corrects a file. He may read and not write, so his push is refused.")
	if err := d.appendLine(bob, "world/weather/global-temp.csv", "2024,1.28"); err != nil {
		return err
	}
	return d.run(ctx, bob, exitFailure, "push", "world")
}

func (d *demo) bothEdit(ctx context.Context) error {
	d.say("Ann corrects the same file and pushes: one file moves. Bob's pull would lose his edit, so it is refused.")
	if err := d.appendLine(ann, "world/weather/global-temp.csv", "2024,1.29"); err != nil {
		return err
	}
	if err := d.all(ctx, ann, "status world", "push world"); err != nil {
		return err
	}
	if err := d.run(ctx, bob, exitConflict, "pull", "world"); err != nil {
		return err
	}
	d.say("He looks, and takes hers.")
	return d.all(ctx, bob, "status world", "pull world --merge overwrite", "verify world")
}

func (d *demo) narrow(ctx context.Context) error {
	d.say("Ann takes the share back, and gives Bob the tables only. The server holds him to it.")
	if err := d.all(ctx, ann, "unshare world --with bob", "pipes create tables --parent world --include *.csv", "share tables --with bob"); err != nil {
		return err
	}
	if err := d.run(ctx, bob, exitFailure, "pull", "world"); err != nil {
		return err
	}
	return d.all(ctx, bob, "pull tables", "ls tables -R")
}

// tellHowToGoOn tells what a shell needs to be on the same stage.
func (d *demo) tellHowToGoOn() {
	d.say("All of it is kept, and the server has ended. To go on as Ann:")
	d.printf("cd %s\nexport D6TPIPE_CONFIG=$PWD/cfg.json D6TPIPE_PROFILE=%s\n%s &\nd6tpipe status world\n", d.dir, ann, d.serverLine())
}

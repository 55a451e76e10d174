package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	d6tpipe "github.com/d6t/d6tpipe-go"
)

// A change writes one record.
type change[T d6tpipe.Record] func() (T, error)

// changing is a command that writes records: prepare checks what can be checked of
// one and returns what writes it. Nothing is written before all were checked.
func (n *noun[T]) changing(c *cobra.Command, done string, prepare func(w *writer[T], in fields) (change[T], error)) *cobra.Command {
	w := &writer[T]{noun: n, c: c}
	w.flags.add(c, n.fields, n.schema)
	n.p.completeFields(c, n.fields)
	c.Args = func(c *cobra.Command, args []string) error { return usage(c, cobra.MaximumNArgs(1)(c, args)) }
	c.RunE = func(c *cobra.Command, args []string) error {
		docs, err := w.flags.read(c, args)
		if err != nil {
			return err
		}
		if w.api, err = n.p.api(); err != nil {
			return err
		}
		w.several = len(docs) > 1
		var names []string
		var changes []change[T]
		for _, in := range docs {
			write, err := prepare(w, in)
			if err != nil {
				return err
			}
			names, changes = append(names, in.text("name")), append(changes, write)
		}
		return eachOf(names, func(i int) error {
			r, err := changes[i]()
			if err != nil {
				return err
			}
			return w.tell(r, done)
		})
	}
	return c
}

func (n *noun[T]) create() *cobra.Command {
	return n.changing(&cobra.Command{
		Use:               "create [NAME]",
		Short:             "Make a " + n.one,
		Long:              "Make a " + n.one + " with the settings that flags or a file say. Several of a file are checked\nbefore the first is made.\n\n" + credentialsLong,
		Example:           createExamples[n.one],
		ValidArgsFunction: cobra.NoFileCompletions,
	}, "created", func(w *writer[T], in fields) (change[T], error) {
		r, err := w.newRecord(in)
		if err == nil {
			err = w.checkNew(r)
		}
		return func() (T, error) {
			made, err := n.collection(w.api).Create(w.c.Context(), r)
			return made, n.taken(err)
		}, err
	})
}

// checkNew looks whether one of several records can be made. For one alone the repo
// API says so.
func (w *writer[T]) checkNew(r T) error {
	if !w.several {
		return nil
	}
	if err := w.valid(r); err != nil {
		return err
	}
	if _, err := w.collection(w.api).Get(w.c.Context(), w.name(r)); err == nil {
		return w.taken(fmt.Errorf("%s %q: %w; nothing was done", w.one, w.name(r), d6tpipe.ErrExists))
	}
	return nil
}

// taken says what to do about a name that is taken.
func (n *noun[T]) taken(err error) error {
	if errors.Is(err, d6tpipe.ErrExists) {
		return hint(err, fmt.Sprintf("d6tpipe %s update changes it, upsert does either.", n.many))
	}
	return err
}

var createExamples = map[string]string{
	"remote": `  d6tpipe remotes create disk --protocol dir --location /mnt/data
  d6tpipe remotes create warehouse --protocol s3 --location bucket --option region_name=eu-central-1 --credentials env
  d6tpipe remotes create partner --protocol sftp --location sftp.example.com --dir /out --credentials prompt
  d6tpipe remotes create -f remotes.yaml`,
	"pipe": `  d6tpipe pipes create sales                                # in the server's own storage
  d6tpipe pipes create sales --remote warehouse --dir sales --include '*.csv|*.parquet'
  d6tpipe pipes create sales-eu --parent sales --dir eu
  d6tpipe pipes create -f pipes.yaml`,
}

func (n *noun[T]) update() *cobra.Command {
	return n.changing(&cobra.Command{
		Use:   "update [NAME]",
		Short: "Change settings of a " + n.one,
		Long: "Change the settings that flags or a file say, and leave the others. Options are\nchanged one by one; an empty value takes one out. Credentials stay unless new ones\nare given.\n\n" +
			credentialsLong,
		Example:           "  d6tpipe " + n.many + " update " + n.example + " --option region_name=eu-west-1\n  d6tpipe " + n.many + " update " + n.example + " --credentials new-keys.json",
		ValidArgsFunction: n.complete,
	}, "updated", func(w *writer[T], in fields) (change[T], error) {
		if len(in) < 2 && !w.flags.keys.given() && !w.flags.encrypt { // the name alone
			return nil, usage(w.c, fmt.Errorf("there is nothing to change in %s; say what with flags or --file", quoted(in.text("name"))))
		}
		current, err := n.collection(w.api).Get(w.c.Context(), in.text("name"))
		if err != nil {
			return nil, err
		}
		return w.update(in, current)
	})
}

func (n *noun[T]) upsert() *cobra.Command {
	return n.changing(&cobra.Command{
		Use:               "upsert [NAME]",
		Short:             "Make a " + n.one + ", or change the one of that name",
		Long:              "Make a " + n.one + ", or change the settings of the one of that name as update does.\n\n" + credentialsLong,
		Example:           "  d6tpipe " + n.many + " upsert -f " + n.many + ".yaml\n  d6tpipe " + n.many + " upsert " + n.example + " --location other",
		ValidArgsFunction: n.complete,
	}, "written", func(w *writer[T], in fields) (change[T], error) {
		current, err := n.collection(w.api).Get(w.c.Context(), in.text("name"))
		if err == nil {
			return w.update(in, current)
		}
		if !errors.Is(err, d6tpipe.ErrNotFound) {
			return nil, err
		}
		r, err := w.newRecord(in)
		if err == nil && w.several {
			err = w.valid(r)
		}
		return func() (T, error) { return n.collection(w.api).Upsert(w.c.Context(), r) }, err
	})
}

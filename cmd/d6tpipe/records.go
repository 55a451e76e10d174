package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	d6tpipe "github.com/d6t/d6tpipe-go"
)

// A noun is what the commands for remotes and those for pipes differ in.
type noun[T d6tpipe.Record] struct {
	p          *program
	one, many  string
	fields     []recordField
	schema     bool // has it one
	example    string
	collection func(d6tpipe.API) *d6tpipe.Collection[T]
	name       func(T) string
	extra      func(T) map[string]json.RawMessage
	heads      []string
	row        func(T) []string
	keep       func(to *T, from T) // the credentials that to does not have
	loss       func(T) string      // what goes with the record
}

func (n *noun[T]) commands() []*cobra.Command {
	return []*cobra.Command{n.list(), n.get(), n.create(), n.update(), n.upsert(), n.delete()}
}

// complete gives a shell the names of the records.
func (n *noun[T]) complete(c *cobra.Command, args []string, to string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return completeNames(n.p, c, n.collection)
}

func (n *noun[T]) list() *cobra.Command {
	return &cobra.Command{
		Use:     "list",
		Short:   "List the " + n.many + " that you may use",
		Example: "  d6tpipe " + n.many + " list\n  d6tpipe " + n.many + " list --json | jq -r .name",
		Args:    exactly(0),
		RunE:    func(c *cobra.Command, _ []string) error { return n.runList(c) },
	}
}

func (n *noun[T]) runList(c *cobra.Command) error {
	api, err := n.p.api()
	if err != nil {
		return err
	}
	var records []T
	for r, err := range n.collection(api).All(c.Context()) {
		if err != nil {
			return err
		}
		records = append(records, r)
	}
	if len(records) == 0 {
		n.p.say(c, "There are no %s yet; make one with: d6tpipe %s create NAME", n.many, n.many)
	}
	slices.SortFunc(records, func(a, b T) int { return cmp.Compare(n.name(a), n.name(b)) })
	return showList(n.p, c, records, newTable(n.heads...), n.row)
}

func (n *noun[T]) get() *cobra.Command {
	decrypt := false
	c := &cobra.Command{
		Use:               "get NAME",
		Short:             "Show the settings of a " + n.one + ", without its secrets",
		Example:           "  d6tpipe " + n.many + " get " + n.example + "\n  d6tpipe " + n.many + " get " + n.example + " --json",
		Args:              exactly(1),
		ValidArgsFunction: n.complete,
		RunE: func(c *cobra.Command, args []string) error {
			api, err := n.p.api()
			if err != nil {
				return err
			}
			r, err := n.collection(api).Get(c.Context(), args[0])
			if err == nil && decrypt {
				r, err = d6tpipe.Decode(api.Config(), r)
			}
			if err != nil {
				return err
			}
			return n.p.show(c, r, func(w io.Writer) error { return printRecord(w, r) })
		},
	}
	c.Flags().BoolVar(&decrypt, "decrypt", false, "show what was encrypted with the key of the profile")
	return c
}

// printRecord prints a record a line for each value, in its own order.
func printRecord(w io.Writer, r any) error {
	var b bytes.Buffer
	if err := printJSON(&b, r, ""); err != nil {
		return err
	}
	t := newTable()
	if err := addFields(&t, "", b.Bytes()); err != nil {
		return err
	}
	return t.print(w)
}

// addFields adds the values of an object to a table; those of options and
// settings are lines of their own.
func addFields(t *table, prefix string, raw json.RawMessage) error {
	in := json.NewDecoder(bytes.NewReader(raw))
	if _, err := in.Token(); err != nil { // the brace
		return err
	}
	for in.More() {
		key, err := in.Token()
		if err != nil {
			return err
		}
		var value json.RawMessage
		if err := in.Decode(&value); err != nil {
			return err
		}
		name := prefix + fmt.Sprint(key)
		if (name == "options" || name == "settings") && value[0] == '{' {
			if err := addFields(t, name+".", value); err != nil {
				return err
			}
			continue
		}
		text := string(value)
		if value[0] == '"' {
			if err := json.Unmarshal(value, &text); err != nil {
				return err
			}
		}
		t.add(name, text)
	}
	return nil
}

// changing is a command that writes records: do is what it does with one.
func (n *noun[T]) changing(c *cobra.Command, done string, do func(w *writer[T], in fields) (T, error)) *cobra.Command {
	w := &writer[T]{noun: n, c: c}
	w.flags.add(c, n.fields, n.schema)
	c.Args = func(c *cobra.Command, args []string) error { return usage(c, cobra.MaximumNArgs(1)(c, args)) }
	c.RunE = func(c *cobra.Command, args []string) error {
		docs, err := w.flags.read(c, args)
		if err != nil {
			return err
		}
		if w.api, err = n.p.api(); err != nil {
			return err
		}
		for _, in := range docs {
			r, err := do(w, in)
			if err != nil {
				return err
			}
			if err := w.tell(r, done, len(docs) > 1); err != nil {
				return err
			}
		}
		return nil
	}
	return c
}

func (n *noun[T]) create() *cobra.Command {
	return n.changing(&cobra.Command{
		Use:     "create [NAME]",
		Short:   "Make a " + n.one,
		Long:    "Make a " + n.one + " with the settings that flags or a file say.\n\n" + credentialsLong,
		Example: createExamples[n.one],
	}, "created", func(w *writer[T], in fields) (T, error) {
		r, err := w.newRecord(in)
		if err != nil {
			return r, err
		}
		r, err = n.collection(w.api).Create(w.c.Context(), r)
		if errors.Is(err, d6tpipe.ErrExists) {
			err = hint(err, fmt.Sprintf("d6tpipe %s update changes it, upsert does either.", n.many))
		}
		return r, err
	})
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
	c := n.changing(&cobra.Command{
		Use:   "update [NAME]",
		Short: "Change settings of a " + n.one,
		Long: "Change the settings that flags or a file say, and leave the others. Options are\nchanged one by one; an empty value takes one out. Credentials stay unless new ones\nare given.\n\n" +
			credentialsLong,
		Example:           "  d6tpipe " + n.many + " update " + n.example + " --option region_name=eu-west-1\n  d6tpipe " + n.many + " update " + n.example + " --credentials new-keys.json",
		ValidArgsFunction: n.complete,
	}, "updated", func(w *writer[T], in fields) (T, error) {
		if len(in) < 2 && !w.flags.keys.given() && !w.flags.encrypt { // the name alone
			var none T
			return none, usage(w.c, errors.New("there is nothing to change; say what with flags or --file"))
		}
		current, err := n.collection(w.api).Get(w.c.Context(), in.text("name"))
		if err != nil {
			return current, err
		}
		return w.update(in, current)
	})
	return c
}

func (n *noun[T]) upsert() *cobra.Command {
	return n.changing(&cobra.Command{
		Use:               "upsert [NAME]",
		Short:             "Make a " + n.one + ", or change the one of that name",
		Long:              "Make a " + n.one + ", or change the settings of the one of that name as update does.\n\n" + credentialsLong,
		Example:           "  d6tpipe " + n.many + " upsert -f " + n.many + ".yaml\n  d6tpipe " + n.many + " upsert " + n.example + " --location other",
		ValidArgsFunction: n.complete,
	}, "written", func(w *writer[T], in fields) (T, error) {
		current, err := n.collection(w.api).Get(w.c.Context(), in.text("name"))
		if err == nil {
			return w.update(in, current)
		}
		if !errors.Is(err, d6tpipe.ErrNotFound) {
			return current, err
		}
		r, err := w.newRecord(in)
		if err != nil {
			return r, err
		}
		return n.collection(w.api).Upsert(w.c.Context(), r)
	})
}

func (n *noun[T]) delete() *cobra.Command {
	var sure confirmation
	c := &cobra.Command{
		Use:               "delete NAME",
		Short:             "Remove a " + n.one + "; files on storage of your own stay",
		Long:              "Remove a " + n.one + " from the repo API, with its permissions and credentials. The name\nmust be typed once more, or given with --yes. No file is deleted on storage of your\nown; what lies in a server's storage it deletes after seven days.",
		Example:           "  d6tpipe " + n.many + " delete " + n.example + " --yes " + n.example,
		Args:              exactly(1),
		ValidArgsFunction: n.complete,
		RunE: func(c *cobra.Command, args []string) error {
			api, err := n.p.api()
			if err != nil {
				return err
			}
			r, err := n.collection(api).Get(c.Context(), args[0])
			if err != nil {
				return err
			}
			if err := sure.ask(c, args[0], n.loss(r)); err != nil {
				return err
			}
			if err := n.collection(api).Delete(c.Context(), args[0]); err != nil {
				return err
			}
			n.p.say(c, "Deleted %s %s.", n.one, safe(args[0]))
			return nil
		},
	}
	sure.flag(c)
	return c
}

// A writer carries out one command that writes records.
type writer[T d6tpipe.Record] struct {
	*noun[T]
	c     *cobra.Command
	flags recordFlags
	api   d6tpipe.API
}

// newRecord makes a record of its own of what the command line says.
func (w *writer[T]) newRecord(in fields) (T, error) {
	if err := w.addKeys(in, nil); err != nil {
		var none T
		return none, err
	}
	r, err := w.decode(in)
	if err == nil && w.flags.encrypt {
		r, err = encode(w.api.Config(), r)
	}
	return r, err
}

// encode encrypts settings with the profile's key.
func encode[T d6tpipe.Record](cfg d6tpipe.Config, r T) (T, error) {
	r, err := d6tpipe.Encode(cfg, r)
	if cfg.Key == "" {
		err = hint(err, fmt.Sprintf("Give it one: d6tpipe --profile %s profiles init, or profiles set --key-file FILE.", cfg.Profile))
	}
	return r, err
}

// update changes a record that is there.
func (w *writer[T]) update(in fields, current T) (T, error) {
	if err := w.checkUpdate(in, current); err != nil {
		return current, err
	}
	plain := current
	if w.flags.encrypt {
		var err error
		if plain, err = d6tpipe.Decode(w.api.Config(), current); err != nil {
			return current, err
		}
	}
	now, err := ownFields(plain)
	if err == nil {
		err = w.dropInherited(now)
	}
	if err != nil {
		return current, err
	}
	if err := w.addKeys(in, now); err != nil {
		return current, err
	}
	cleared, err := overlayObjects(in, now)
	if err != nil {
		return current, err
	}
	if w.flags.encrypt || cleared { // all of it, not only what changes
		maps.Copy(now, in)
		in = now
	}
	next, err := w.decode(in)
	if err != nil {
		return current, err
	}
	if w.flags.encrypt {
		if w.keep(&next, plain); !w.flags.keys.given() {
			w.p.say(w.c, "Credentials that a server does not show stay as they are; give them again to have them encrypted with the rest.")
		}
		if next, err = encode(w.api.Config(), next); err != nil {
			return current, err
		}
	}
	if cleared {
		return w.collection(w.api).Replace(w.c.Context(), next)
	}
	return w.collection(w.api).Update(w.c.Context(), next)
}

// checkUpdate refuses changes that would not be what they seem.
func (w *writer[T]) checkUpdate(in fields, current T) error {
	secret := w.flags.keys.given()
	for name, value := range in {
		if string(value) == `""` {
			return usage(w.c, fmt.Errorf("a %s cannot lose its %s by an update; make another one", w.one, name))
		}
		secret = secret || slices.Contains([]string{"protocol", "location", "remote", "settings", "readParams", "credentials", "readCredentials", "writeCredentials"}, name)
	}
	if secret && !w.flags.encrypt && d6tpipe.Encoded(current) {
		return usage(w.c, fmt.Errorf("the settings of %s are encrypted: add --encrypt to change them", safe(w.name(current))))
	}
	return nil
}

// ownFields are the fields of a record that are not answers only, without its
// credentials, which are not shown.
func ownFields(r any) (fields, error) {
	raw, err := encodeJSON(r)
	if err != nil {
		return nil, err
	}
	var now fields
	if err := json.Unmarshal(raw, &now); err != nil {
		return nil, err
	}
	for _, name := range []string{"role", "parent-ultimate", "filters", "credentials", "readCredentials", "writeCredentials"} {
		delete(now, name)
	}
	if _, ok := now["options"]; ok {
		err = now.merge("options", fields{"remotepath": json.RawMessage("null")})
	}
	return now, errors.Join(err, now.dropNulls())
}

// dropInherited takes out of a pipe what its parent says, which an answer has too.
func (w *writer[T]) dropInherited(now fields) error {
	if now.text("parent") == "" {
		return nil
	}
	parent, err := w.api.Pipes().Get(w.c.Context(), now.text("parent"))
	if errors.Is(err, d6tpipe.ErrNotFound) || errors.Is(err, d6tpipe.ErrPermission) {
		return nil // then nothing was filled in
	}
	if err == nil {
		parent, err = d6tpipe.Decode(w.api.Config(), parent)
	}
	if err != nil {
		return err
	}
	above, err := ownFields(parent)
	for _, name := range []string{"protocol", "location", "settings"} {
		if string(above[name]) == string(now[name]) {
			delete(now, name)
		}
	}
	return err
}

// overlayObjects puts options and settings over those that are there, since they
// are replaced whole. It reports whether nothing is left of options.
func overlayObjects(in, now fields) (cleared bool, err error) {
	for _, name := range []string{"options", "settings"} {
		raw, ok := in[name]
		if !ok {
			continue
		}
		var values fields
		if err := json.Unmarshal(raw, &values); err != nil {
			return false, fmt.Errorf("%s must be an object, with a name for each value", name)
		}
		if name == "options" { // "" is none
			for key, value := range values {
				if string(value) == `""` {
					values[key] = json.RawMessage("null")
				}
			}
		}
		whole := fields{}
		if was, ok := now[name]; ok {
			whole[name] = was
		}
		if err := whole.merge(name, values); err != nil {
			return false, err
		}
		in[name] = whole[name]
	}
	if err := in.dropNulls(); err != nil {
		return false, err
	}
	return string(in["options"]) == "{}", nil
}

// addKeys adds the credentials to a record, where those of its kind have them.
func (w *writer[T]) addKeys(in, now fields) error {
	if !w.flags.keys.given() {
		return nil
	}
	all := maps.Clone(now)
	if all == nil {
		all = fields{}
	}
	maps.Copy(all, in)
	protocol, err := w.protocol(all)
	if err != nil {
		return err
	}
	keys, err := w.flags.keys.get(w.c, protocol)
	if err != nil {
		return err
	}
	read, write := keys.read, keys.write
	if read == nil {
		read = keys.both
	}
	if write == nil {
		write = keys.both
	}
	switch {
	case w.one == "remote" || all.text("remote") != "":
		in.setIf("readCredentials", read)
		in.setIf("writeCredentials", write)
	case keys.read == nil && keys.write == nil:
		in["credentials"] = keys.both
	default:
		sets := fields{}
		sets.setIf("read", read)
		sets.setIf("write", write)
		in["credentials"], err = encodeJSON(sets)
	}
	return err
}

func (f fields) setIf(name string, value json.RawMessage) {
	if value != nil {
		f[name] = value
	}
}

// protocol is how the files of a record are reached, as far as that is known.
func (w *writer[T]) protocol(all fields) (d6tpipe.Protocol, error) {
	if protocol := all.text("protocol"); protocol != "" {
		return d6tpipe.Protocol(protocol), nil
	}
	if remote := all.text("remote"); remote != "" {
		r, err := w.api.Remotes().Get(w.c.Context(), remote)
		return r.Protocol, err
	}
	if parent := all.text("parent"); parent != "" {
		p, err := w.api.Pipes().Get(w.c.Context(), parent)
		return p.Protocol, err
	}
	return "", usage(w.c, errors.New("credentials are for a storage: say --protocol"))
}

// decode makes a record of fields, and tells of those that nobody knows.
func (w *writer[T]) decode(in fields) (r T, err error) {
	if err := in.dropNulls(); err != nil {
		return r, err
	}
	raw, err := encodeJSON(in)
	if err != nil {
		return r, err
	}
	if err := json.Unmarshal(raw, &r); err != nil {
		var wrong *json.UnmarshalTypeError
		if errors.As(err, &wrong) { // without the value, which may be a secret
			err = fmt.Errorf("%s of %s %s must not be a %s", wrong.Field, w.one, in.text("name"), strings.Fields(wrong.Value)[0])
		}
		return r, err
	}
	for _, name := range slices.Sorted(maps.Keys(w.extra(r))) {
		w.p.say(w.c, "Note: a %s has no setting %s that this version knows; it is kept as it is.", w.one, quoted(name))
	}
	return r, nil
}

// tell shows a record that was written.
func (w *writer[T]) tell(r T, done string, several bool) error {
	if w.p.asJSON && several {
		return printJSON(w.c.OutOrStdout(), r, "")
	}
	return w.p.show(w.c, r, func(out io.Writer) error {
		_, err := fmt.Fprintf(out, "%s %s %s\n", done, w.one, safe(w.name(r)))
		return err
	})
}

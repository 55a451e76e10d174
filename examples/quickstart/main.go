// Quickstart does the main job of d6tpipe once, from beginning to end, on real
// data files and in a temporary folder: a vendor registers a remote and two
// pipes and pushes, a client pulls, the vendor edits, the client pulls again,
// and an edit on both sides is refused. It needs no network, no server and no
// account, and it removes what it made.
//
//	go run ./examples/quickstart
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log"
	"os"
	"os/signal"
	"path/filepath"
	"text/tabwriter"
	"time"

	"github.com/d6t/d6tpipe-go"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Stdout); err != nil {
		log.Fatal("quickstart: ", err)
	}
}

// run tells the story. Everything it writes lies in one temporary folder.
func run(ctx context.Context, out io.Writer) (err error) {
	home, err := os.MkdirTemp("", "d6tpipe-quickstart-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(home)) }()
	s := &story{out: out}

	s.say("A remote is a storage place, a pipe is a dataset on it")
	vendor, client, err := profiles(ctx, home)
	if err != nil {
		return err
	}
	api, err := d6tpipe.NewAPILocal(vendor) // d6tpipe.NewAPIClient(vendor) for a server: the rest stays the same
	if err != nil {
		return err
	}
	if err := catalogue(ctx, api, filepath.Join(home, "warehouse")); err != nil {
		return err
	}
	for pipe, err := range api.Pipes().All(ctx) {
		if err != nil {
			return err
		}
		s.line("pipe %-9s on %s, files %s", pipe.Name, pipe.Remote, pipe.Options.Include)
	}

	s.say("The vendor imports %s and pushes", dataFolder)
	tables, documents, err := openBoth(ctx, api)
	if err != nil {
		return err
	}
	for _, pipe := range []*d6tpipe.Pipe{tables, documents} {
		if err := pipe.ImportDir(ctx, dataFolder, d6tpipe.ImportOptions{}); err != nil {
			return err
		}
		if err := s.push(ctx, "vendor", pipe); err != nil {
			return err
		}
	}

	s.say("A client with a file repo of its own pulls")
	clientAPI, err := d6tpipe.NewAPILocal(client)
	if err != nil {
		return err
	}
	theirs, theirDocuments, err := openBoth(ctx, clientAPI)
	if err != nil {
		return err
	}
	for _, pipe := range []*d6tpipe.Pipe{theirs, theirDocuments} {
		if err := s.pull(ctx, "client", pipe); err != nil {
			return err
		}
	}

	s.say("The vendor corrects one file; only that file moves")
	edited, err := appendLine(tables.Dir(), "2026-11-23,corrected by the vendor")
	if err != nil {
		return err
	}
	if err := s.push(ctx, "vendor", tables); err != nil {
		return err
	}
	if err := s.pull(ctx, "client", theirs); err != nil {
		return err
	}
	if err := s.pull(ctx, "client", theirs); err != nil { // nothing to do
		return err
	}

	s.say("Both edit %s: the pull is refused, nothing is lost", edited)
	if err := conflict(ctx, s, tables, theirs); err != nil {
		return err
	}
	return s.summary()
}

const dataFolder = "testdata/vega"

// profiles makes two profiles in local mode that share one catalogue, the JSON
// file that takes the place of a server, and have a file repo each.
func profiles(ctx context.Context, home string) (vendor, client d6tpipe.Config, err error) {
	create := func(name string) (d6tpipe.Config, error) {
		return d6tpipe.InitConfig(ctx, name, d6tpipe.InitOptions{
			File: filepath.Join(home, "cfg.json"), // the default is ~/d6tpipe/cfg.json
			Settings: d6tpipe.ConfigSettings{
				FileRepo: filepath.Join(home, name),
				Catalog:  filepath.Join(home, "catalogue.json"),
			}})
	}
	if vendor, err = create("vendor"); err != nil {
		return vendor, client, err
	}
	client, err = create("client")
	return vendor, client, err
}

// catalogue registers one remote, here a folder, and two pipes with filters on it.
func catalogue(ctx context.Context, api d6tpipe.API, warehouse string) error {
	if err := os.Mkdir(warehouse, 0o755); err != nil {
		return err
	}
	_, err := api.Remotes().Create(ctx, d6tpipe.RemoteSettings{Name: "warehouse", Protocol: d6tpipe.ProtocolDir, Location: warehouse})
	if err != nil {
		return err
	}
	for name, include := range map[string]string{"tables": "*.csv|*.tsv|*.md", "documents": "*.json"} {
		_, err := api.Pipes().Upsert(ctx, d6tpipe.PipeSettings{
			Name: name, Remote: "warehouse", Options: d6tpipe.PipeOptions{Dir: "vega", Include: include}})
		if err != nil {
			return err
		}
	}
	return nil
}

func openBoth(ctx context.Context, api d6tpipe.API) (tables, documents *d6tpipe.Pipe, err error) {
	if tables, err = d6tpipe.OpenPipe(ctx, api, "tables", d6tpipe.OpenOptions{}); err != nil {
		return nil, nil, err
	}
	documents, err = d6tpipe.OpenPipe(ctx, api, "documents", d6tpipe.OpenOptions{})
	return tables, documents, err
}

// conflict edits the same file on both sides, shows that a pull refuses, and
// solves it in favour of the vendor.
func conflict(ctx context.Context, s *story, tables, theirs *d6tpipe.Pipe) error {
	if _, err := appendLine(tables.Dir(), "2026-11-24,corrected again"); err != nil {
		return err
	}
	if err := s.push(ctx, "vendor", tables); err != nil {
		return err
	}
	mine, err := appendLine(theirs.Dir(), "2026-11-24,a note of the client")
	if err != nil {
		return err
	}
	before, err := os.ReadFile(filepath.Join(theirs.Dir(), filepath.FromSlash(mine)))
	if err != nil {
		return err
	}
	_, err = theirs.Pull(ctx, d6tpipe.PullOptions{})
	if !errors.Is(err, d6tpipe.ErrConflict) {
		return fmt.Errorf("the pull should have been refused, and was not: %v", err)
	}
	s.line("client refused: %v", err)
	after, err := os.ReadFile(filepath.Join(theirs.Dir(), filepath.FromSlash(mine)))
	if err != nil {
		return err
	}
	if string(before) != string(after) {
		return fmt.Errorf("the client's edit of %s was lost", mine)
	}
	s.line("client takes the vendor's version with Merge: MergeOverwrite")
	report, err := theirs.Pull(ctx, d6tpipe.PullOptions{Merge: d6tpipe.MergeOverwrite})
	s.record("client", "pull", theirs.Name(), report)
	return err
}

// appendLine adds a line to the first CSV file below dir and returns its key.
func appendLine(dir, line string) (key string, err error) {
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || key != "" || d.IsDir() || filepath.Ext(path) != ".csv" {
			return err
		}
		f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(dir, path)
		key = filepath.ToSlash(rel)
		_, err = fmt.Fprintln(f, line)
		return errors.Join(err, f.Close())
	})
	return key, err
}

// A story prints what happens and remembers what moved.
type story struct {
	out  io.Writer
	rows []row
}

type row struct {
	who, verb, pipe string
	report          d6tpipe.Report
}

func (s *story) say(format string, args ...any)  { fmt.Fprintf(s.out, "\n"+format+"\n", args...) }
func (s *story) line(format string, args ...any) { fmt.Fprintf(s.out, "  "+format+"\n", args...) }

func (s *story) push(ctx context.Context, who string, pipe *d6tpipe.Pipe) error {
	report, err := pipe.Push(ctx, d6tpipe.PushOptions{})
	s.record(who, "push", pipe.Name(), report)
	return err
}

func (s *story) pull(ctx context.Context, who string, pipe *d6tpipe.Pipe) error {
	report, err := pipe.Pull(ctx, d6tpipe.PullOptions{})
	s.record(who, "pull", pipe.Name(), report)
	return err
}

func (s *story) record(who, verb, pipe string, report d6tpipe.Report) {
	files := "files"
	if report.Moved == 1 {
		files = "file"
	}
	s.line("%s %s %-9s %2d %s, %s", who, verb, pipe, report.Moved, files, size(report.Bytes))
	s.rows = append(s.rows, row{who, verb, pipe, report})
}

// summary prints a table of everything that moved and how fast.
func (s *story) summary() error {
	s.say("What moved, each file durable before it got its name")
	w := tabwriter.NewWriter(s.out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "who\twhat\tpipe\tfiles\tsize\ttime\trate\t")
	for _, r := range s.rows {
		rate := "-"
		if r.report.Bytes > 0 {
			rate = size(int64(float64(r.report.Bytes)/r.report.Duration.Seconds())) + "/s"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%d\t%s\t%s\t%s\t\n", r.who, r.verb, r.pipe, r.report.Moved, size(r.report.Bytes),
			r.report.Duration.Round(time.Millisecond), rate)
	}
	return w.Flush()
}

// size is n bytes for people.
func size(n int64) string {
	switch {
	case n < 1e3:
		return fmt.Sprintf("%d B", n)
	case n < 1e6:
		return fmt.Sprintf("%.1f kB", float64(n)/1e3)
	default:
		return fmt.Sprintf("%.1f MB", float64(n)/1e6)
	}
}

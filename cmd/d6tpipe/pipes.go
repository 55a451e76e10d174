package main

import (
	"encoding/json"
	"fmt"

	"github.com/spf13/cobra"

	d6tpipe "github.com/d6t/d6tpipe-go"
)

var pipeFields = []recordField{
	{"remote", "`name` of the remote that has the files", "", "remote"},
	{"parent", "`name` of the pipe from which place and credentials come", "", "parent"},
	{"protocol", "how files are reached, for a place of the pipe's own: `s3`, dir, sftp, ftp, ftps, http, https", "", "protocol"},
	{"location", "`bucket`, host, URL, or folder of the pipe's own", "", "location"},
	{"dir", "`folder` below the location, or below the remote's or the parent's folder", "options", "dir"},
	{"include", "`patterns` of the files that belong to it, such as '*.csv|*.parquet'", "options", "include"},
	{"exclude", "`patterns` of the files that do not", "options", "exclude"},
}

func newPipesNoun(p *program) *noun[d6tpipe.PipeSettings] {
	return &noun[d6tpipe.PipeSettings]{
		p: p, one: "pipe", many: "pipes", example: "sales", fields: pipeFields, schema: true,
		collection: d6tpipe.API.Pipes,
		name:       func(s d6tpipe.PipeSettings) string { return s.Name },
		extra:      func(s d6tpipe.PipeSettings) map[string]json.RawMessage { return s.Extra },
		heads:      []string{"NAME", "ROLE", "PROTOCOL", "WHERE", "FILES"},
		row:        pipeRow,
		keep: func(to *d6tpipe.PipeSettings, from d6tpipe.PipeSettings) {
			keepKeys(&to.Credentials, from.Credentials)
			keepKeys(&to.ReadCredentials, from.ReadCredentials)
			keepKeys(&to.WriteCredentials, from.WriteCredentials)
		},
		loss: func(s d6tpipe.PipeSettings) string {
			text := fmt.Sprintf("pipe %s is removed with its permissions", safe(s.Name))
			if s.Parent != "" || s.Remote != "" { // the files are theirs
				return text + "; the files stay where they are"
			}
			return text + filesAfter(s.Protocol, s.Location)
		},
	}
}

func newPipes(p *program) *cobra.Command {
	return group(&cobra.Command{
		Use:     "pipes",
		Short:   "The pipes: datasets with their folders and filters",
		Example: "  d6tpipe pipes list\n" + createExamples["pipe"],
	}, newPipesNoun(p).commands()...)
}

// pipeRow tells of a pipe what people look for.
func pipeRow(s d6tpipe.PipeSettings) []string {
	where := s.Options.RemotePath
	switch {
	case s.Remote != "":
		where = s.Remote + ":" + s.Options.Dir
	case where == "":
		where = s.Location
	}
	files := s.Options.Include
	if s.Options.Exclude != "" {
		files += " but " + s.Options.Exclude
	}
	return []string{s.Name, string(s.Role), string(s.Protocol), where, files}
}

package main

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	d6tpipe "github.com/d6t/d6tpipe-go"
)

var remoteFields = []recordField{
	{"protocol", "how files are reached: `s3`, dir, sftp, ftp, ftps, http, https", "", "protocol"},
	{"location", "`bucket`, host, URL, or folder", "", "location"},
	{"dir", "`folder` of the location below which all pipes of the remote lie", "settings", "dir"},
}

func newRemotes(p *program) *cobra.Command {
	n := &noun[d6tpipe.RemoteSettings]{
		p: p, one: "remote", many: "remotes", example: "warehouse", fields: remoteFields,
		collection: d6tpipe.API.Remotes,
		name:       func(r d6tpipe.RemoteSettings) string { return r.Name },
		extra:      func(r d6tpipe.RemoteSettings) map[string]json.RawMessage { return r.Extra },
		heads:      []string{"NAME", "PROTOCOL", "LOCATION", "CREDENTIALS"},
		row:        remoteRow,
		keep: func(to *d6tpipe.RemoteSettings, from d6tpipe.RemoteSettings) {
			keepKeys(&to.ReadCredentials, from.ReadCredentials)
			keepKeys(&to.WriteCredentials, from.WriteCredentials)
		},
		loss: func(r d6tpipe.RemoteSettings) string {
			text := fmt.Sprintf("remote %s is removed with its permissions and credentials; pipes on it lose their place", safe(r.Name))
			return text + filesAfter(r.Protocol, r.Location)
		},
	}
	return group(&cobra.Command{
		Use:     "remotes",
		Short:   "The remotes: storage places with their credentials",
		Example: "  d6tpipe remotes list\n" + createExamples["remote"] + "\n  d6tpipe remotes check warehouse",
	}, append(n.commands(), newRemotesCheck(p))...)
}

func keepKeys(to *d6tpipe.Credentials, from d6tpipe.Credentials) {
	if len(*to) == 0 {
		*to = from
	}
}

func remoteRow(r d6tpipe.RemoteSettings) []string {
	keys := ""
	switch read, write := len(r.ReadCredentials) > 0, len(r.WriteCredentials) > 0; {
	case read && write:
		keys = "read, write"
	case read:
		keys = "read"
	case write:
		keys = "write"
	}
	return []string{r.Name, string(r.Protocol), r.Location, keys}
}

// filesAfter says what becomes of the files. A server shows its own storage as a folder
// of a bucket, which a place of somebody's own can be too.
func filesAfter(protocol d6tpipe.Protocol, location string) string {
	switch {
	case protocol == d6tpipe.ProtocolManaged:
		return "; the server deletes the files after seven days"
	case protocol == d6tpipe.ProtocolS3 && strings.Contains(location, "/"):
		return "; files in the server's own storage are deleted after seven days, all others stay where they are"
	}
	return "; the files stay where they are"
}

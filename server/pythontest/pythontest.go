// Package pythontest holds a server to its promise that an unchanged Python
// d6tpipe works with it: the client's last generation, whose pipes have parents,
// and its first, with remotes. Only tests import it.
//
// The client itself is not here. testdata/speaker.py says what it says, byte for
// byte, and reads answers as it does; testdata/requests has the bytes that the
// real client sends, and a test compares both. What a server must answer is a
// table of checks, one a row, each with a mark: T is asserted by the client's own
// tests, C breaks the client when missing, D is promised in its documentation,
// and I is this project's choice. "python3 testdata/checks.py --table" prints it.
//
// Where interpreters with a real d6tpipe are at hand, D6TPIPE_PYTHON names them
// (separated as in PATH), and [Run] has them do their part too.
package pythontest

import (
	"maps"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

// A Target is a server to be checked.
type Target struct {
	// URL is where it answers, without a path: "http://127.0.0.1:8670".
	URL string
	// DemoPassword logs in to the account "demo", if the server has one from the
	// start. Otherwise the checks register it.
	DemoPassword string
	// Bucket is a bucket of one's own, for pipes that are not managed; nil skips
	// the checks that need one.
	Bucket *Bucket
	// Lacks says what the target cannot do, and why: its checks are skipped.
	Lacks map[Need]string
	// Known are checks, by id, that the target is known to fail, and why. They are
	// skipped; one that passes fails the test, so that the list stays true.
	Known map[string]string
}

// A Need is what some checks ask of a server.
type Need string

// What a server may lack.
const (
	// NeedFiles is managed storage that takes and gives bytes.
	NeedFiles Need = "files"
	// NeedDemo is the account "demo" that may look and not make.
	NeedDemo Need = "demo"
	// NeedBucket is [Target.Bucket].
	NeedBucket Need = "bucket"
)

// A Bucket is one on any S3 server, with keys that read and write it.
type Bucket struct {
	Name, Endpoint, Region, AccessKey, SecretKey string
}

// Run checks the target; each check is a subtest. The checks use names of their
// own and remove what they make, so a target can be checked again. A few accounts
// are registered, and fewer than ten logins fail.
func Run(t *testing.T, target Target) {
	t.Helper()
	rows := runTable(t, python(t), target)
	known := maps.Clone(target.Known)
	for _, row := range rows {
		t.Run(row.Generation+"/"+row.ID, func(t *testing.T) {
			why, isKnown := known[row.ID]
			delete(known, row.ID)
			row.judge(t, why, isKnown)
		})
	}
	require.Empty(t, slices.Sorted(maps.Keys(known)), "these known failures are no checks")
	for _, interpreter := range realClients(t) {
		t.Run("client/"+interpreter.generation, func(t *testing.T) { runClient(t, interpreter, target) })
	}
}

// judge turns a row into the test's result.
func (r row) judge(t *testing.T, why string, isKnown bool) {
	t.Helper()
	switch {
	case r.State == "skip":
		t.Skip(r.Text)
	case isKnown && r.State == "pass":
		t.Errorf("[%s] %s: this passes now, and is no known failure any more", r.Mark, r.What)
	case isKnown:
		t.Skipf("known: %s: %s", why, r.Text)
	case r.State != "pass":
		t.Errorf("[%s] %s\n%s", r.Mark, r.What, r.Text)
	}
}

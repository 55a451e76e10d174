package d6tpipe_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/d6t/d6tpipe-go"
	"github.com/d6t/d6tpipe-go/internal/storage/s3/s3test"
)

func TestReachDir(t *testing.T) {
	all := parties(t, "vendor")
	folder := addDir(t, all[0].api)
	_, err := all[0].api.Pipes().Create(t.Context(), d6tpipe.PipeSettings{Name: "sales", Remote: "warehouse", Options: d6tpipe.PipeOptions{Dir: "sales"}})
	require.NoError(t, err)
	remote, err := all[0].api.Remotes().Get(t.Context(), "warehouse")
	require.NoError(t, err)
	reach := func() error { return d6tpipe.ReachPipe(t.Context(), all[0].api, "sales", d6tpipe.OpenOptions{}) }
	require.NoError(t, reach(), "a pipe without files")
	require.NoDirExists(t, all[0].cfg.FileRepo, "nothing is written here")
	require.NoError(t, d6tpipe.ReachRemote(t.Context(), remote, d6tpipe.CheckOptions{LocalFolders: []string{folder}}))
	require.ErrorIs(t, d6tpipe.ReachRemote(t.Context(), remote, d6tpipe.CheckOptions{}), d6tpipe.ErrRefused, "a folder that nobody allowed")

	require.NoError(t, os.Rename(folder, filepath.Join(t.TempDir(), "elsewhere")))
	require.ErrorIs(t, reach(), d6tpipe.ErrNotFound)
	err = d6tpipe.ReachRemote(t.Context(), remote, d6tpipe.CheckOptions{LocalFolders: []string{folder}})
	require.ErrorIs(t, err, d6tpipe.ErrNotFound)
	require.ErrorContains(t, err, `reach remote "warehouse": `)
}

// Wrong keys are told apart from a bucket without files.
func TestReachS3(t *testing.T) {
	g := s3test.Start(t)
	remote := bucketOf(t, g, g.Endpoint)
	require.NoError(t, d6tpipe.ReachRemote(t.Context(), remote, d6tpipe.CheckOptions{}))
	remote.ReadCredentials = d6tpipe.Credentials{"key": g.AccessKey, "secret": "wrong"}
	require.ErrorIs(t, d6tpipe.ReachRemote(t.Context(), remote, d6tpipe.CheckOptions{}), d6tpipe.ErrPermission)
}

package d6tpipe

import (
	"context"
	"errors"

	"github.com/d6t/d6tpipe-go/internal/storage"
)

// ReachPipe finds out whether the files of a pipe can be reached: that the repo API
// gives credentials to read them, and that the storage lists them with these. It reads
// the beginning of the listing and no more, and writes nothing here; a pipe without
// files can be reached, too.
func ReachPipe(ctx context.Context, api API, name string, o OpenOptions) error {
	p, err := findPipe(ctx, api, name, o)
	if err != nil {
		return err
	}
	store, _, err := p.connect(ctx, RoleRead)
	if err == nil {
		err = reach(ctx, store)
	}
	return p.explain("reach", err)
}

// ReachRemote finds out whether a remote can be reached with its credentials for
// reading. Remote is as for [Check], of which this is the quick sister; of o only
// LocalKeys, LocalFolders, Dir, Dial and IdleTimeout count.
func ReachRemote(ctx context.Context, remote RemoteSettings, o CheckOptions) error {
	o.ReadOnly = true
	where, err := o.where(remote)
	if err == nil {
		where.Dir = joinDir(where.Dir, o.Dir)
		var store storage.Store
		if store, err = openStore(where, o.open()); err == nil {
			err = reach(ctx, store)
		}
	}
	if err != nil {
		return &Error{Op: "reach remote", Name: remote.Name, Err: withKind(err)}
	}
	return nil
}

// reach reads the first object of a listing and closes the store.
func reach(ctx context.Context, store storage.Store) (err error) {
	store = storage.Retry(store, storage.RetryPolicy{Attempts: 2}) // who asks wants to know soon
	defer func() { err = errors.Join(err, store.Close()) }()
	for _, err := range store.List(ctx, "") {
		return err
	}
	return nil
}

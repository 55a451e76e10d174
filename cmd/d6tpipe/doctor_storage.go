package main

import (
	"context"
	"errors"
	"fmt"

	d6tpipe "github.com/d6t/d6tpipe-go"
)

// looks is how many storages are looked at at a time.
const looks = 8

// lookAtStorage looks at each remote and each pipe, several at a time, and tells of
// them in their order.
func (d *doctor) lookAtStorage(ctx context.Context, api d6tpipe.API) {
	var all []func() finding
	for remote, err := range api.Remotes().All(ctx) {
		if err != nil {
			d.tell(fails("remotes", "", err))
			break
		}
		all = append(all, func() finding { return d.lookAtRemote(ctx, api, remote) })
	}
	for pipe, err := range api.Pipes().All(ctx) {
		if err != nil {
			d.tell(fails("pipes", "", err))
			break
		}
		all = append(all, func() finding { return d.lookAtPipe(ctx, api, pipe) })
	}
	if len(all) == 0 && d.failed == 0 {
		advice := "Make one with: d6tpipe create NAME"
		if _, local := api.(*d6tpipe.APILocal); local {
			advice = "Say where files lie with d6tpipe remotes create REMOTE, and make one with: d6tpipe pipes create NAME --remote REMOTE"
		}
		d.tell(finding{What: "pipes", State: stateOK, Text: "there are none yet", Advice: advice})
	}
	found := make([]chan finding, len(all))
	slots := make(chan struct{}, looks)
	for i, look := range all {
		found[i] = make(chan finding, 1)
		go func() {
			slots <- struct{}{}
			found[i] <- look()
			<-slots
		}()
	}
	for _, f := range found {
		d.tell(<-f)
	}
}

func (d *doctor) lookAtRemote(ctx context.Context, api d6tpipe.API, remote d6tpipe.RemoteSettings) finding {
	const what = "remote"
	ok := finding{What: what, Name: remote.Name, State: stateOK, Text: string(remote.Protocol) + " " + remote.Location}
	if remote.Protocol == d6tpipe.ProtocolManaged {
		ok.Text = "the server's own; its pipes are looked at"
		return ok
	}
	ctx, stop := d.within(ctx)
	defer stop()
	remote, err := api.Remotes().Get(ctx, remote.Name) // with credentials
	if err == nil {
		remote, err = d6tpipe.Decode(d.cfg, remote)
	}
	if err == nil {
		o := d6tpipe.CheckOptions{LocalKeys: d.reach.localKeys, LocalFolders: d.reach.folders}
		if _, local := api.(*d6tpipe.APILocal); local { // the record is the user's own
			o.LocalKeys, o.LocalFolders = true, []string{remote.Location}
		}
		err = d6tpipe.ReachRemote(ctx, remote, o)
	}
	return found(ok, err, what, ok.Name)
}

func (d *doctor) lookAtPipe(ctx context.Context, api d6tpipe.API, pipe d6tpipe.PipeSettings) finding {
	const what = "pipe"
	ctx, stop := d.within(ctx)
	defer stop()
	text := string(pipe.Protocol)
	if pipe.Remote != "" {
		text = "on " + pipe.Remote
	}
	if pipe.Role != "" {
		text += fmt.Sprintf(", you may %s", pipe.Role)
	}
	err := d6tpipe.ReachPipe(ctx, api, pipe.Name, d.reach.options())
	if errors.Is(err, d6tpipe.ErrNotFound) {
		if _, unknown := api.Storage(ctx, pipe.Name, d6tpipe.RoleRead, false); errors.Is(unknown, d6tpipe.ErrNotFound) { // it is the record, not the storage
			f := fails(what, pipe.Name, err)
			f.Advice = "A record that it needs is gone, or is none of yours: " + missingRecord(pipe)
			return f
		}
	}
	return found(finding{What: what, Name: pipe.Name, State: stateOK, Text: text}, err, what, pipe.Name)
}

// missingRecord says what to do about a pipe whose remote or parent is not there.
func missingRecord(pipe d6tpipe.PipeSettings) string {
	switch {
	case pipe.Remote != "":
		return fmt.Sprintf("make the remote again (d6tpipe remotes create %s), or give the pipe another one (d6tpipe pipes update %s --remote NAME).", pipe.Remote, pipe.Name)
	case pipe.Parent != "":
		return fmt.Sprintf("make the parent again (d6tpipe pipes create %s), or ask its owner.", pipe.Parent)
	}
	return "ask its owner."
}

// found is ok, or what err says. What was refused for the sake of this machine is no
// fault of the storage.
func found(ok finding, err error, what, name string) finding {
	if err == nil {
		return ok
	}
	f := fails(what, name, err)
	if errors.Is(err, d6tpipe.ErrRefused) {
		f.State, f.Advice = stateWarning, "Pulls refuse it, too, unless --local-keys or --local-folder allows it, or the host is in known_hosts."
	}
	return f
}

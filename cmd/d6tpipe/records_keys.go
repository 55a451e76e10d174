package main

import (
	"encoding/json"
	"errors"
	"maps"

	d6tpipe "github.com/d6t/d6tpipe-go"
)

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

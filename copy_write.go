package d6tpipe

import (
	"context"
	"errors"

	"github.com/d6t/d6tpipe-go/internal/catalog"
)

// transactor is an API that can make several changes at once.
type transactor interface {
	Transact(ctx context.Context, change func(tx API) error) error
}

// writeCatalogue brings records to dst and tells what became of each. It goes on
// after a record that dst refuses and stops at what concerns all of them.
func writeCatalogue(ctx context.Context, dst API, remotes []outgoing[RemoteSettings], pipes []outgoing[PipeSettings], overwrite bool) ([]RecordResult, error) {
	var results []RecordResult
	write := func(dst API) error {
		w := &catalogueWriter{dst: dst, overwrite: overwrite}
		err := w.all(ctx, remotes, pipes)
		results = w.results
		return err
	}
	tx, ok := dst.(transactor)
	if !ok {
		if err := write(dst); err != nil {
			return results, err
		}
	} else if err := tx.Transact(ctx, write); err != nil {
		return nil, err
	}
	if r := (CopyReport{results}); r.Count(RecordFailed)+r.Count(RecordExists) > 0 {
		return results, ErrPartial
	}
	return results, nil
}

// catalogueWriter writes records to an API.
type catalogueWriter struct {
	dst       API
	overwrite bool
	results   []RecordResult
}

func (w *catalogueWriter) all(ctx context.Context, remotes []outgoing[RemoteSettings], pipes []outgoing[PipeSettings]) error {
	for _, r := range remotes {
		status, err := writeRecord(ctx, w.dst.Remotes(), r, w.overwrite, sameRemote)
		if err := w.note(catalog.Remotes, r.name, status, r.note, err); err != nil {
			return err
		}
	}
	for _, p := range pipes {
		status, err := writeRecord(ctx, w.dst.Pipes(), p, w.overwrite, w.samePipe)
		if err := w.note(catalog.Pipes, p.name, status, p.note, err); err != nil {
			return err
		}
	}
	return nil
}

// note adds a result. It returns the errors that concern more than one record.
func (w *catalogueWriter) note(collection, name string, status RecordStatus, text string, err error) error {
	if err != nil && !refused(err) {
		return err
	}
	if err != nil {
		status, text = RecordFailed, err.Error()
	}
	var field *FieldError
	if errors.As(err, &field) {
		text = field.Error()
	}
	w.results = append(w.results, RecordResult{collection, name, status, text})
	return nil
}

// writeRecord brings one record to its collection.
func writeRecord[T Record](ctx context.Context, c *Collection[T], out outgoing[T], overwrite bool,
	same func(ctx context.Context, out outgoing[T], there T) (bool, error)) (RecordStatus, error) {
	if out.refuse != nil {
		return RecordFailed, out.refuse
	}
	there, err := c.Get(ctx, out.name)
	if errors.Is(err, ErrNotFound) {
		_, err = c.Create(ctx, out.rec)
		return RecordCreated, err
	}
	if err != nil {
		return RecordFailed, err
	}
	if equal, err := same(ctx, out, there); err != nil || equal {
		return RecordSame, err
	}
	if !overwrite {
		return RecordExists, nil
	}
	_, err = c.Replace(ctx, out.rec)
	return RecordUpdated, err
}

// sameRemote compares what the source shows: who may only read is not shown the
// credentials for writing.
func sameRemote(_ context.Context, out outgoing[RemoteSettings], there RemoteSettings) (bool, error) {
	if len(out.rec.ReadCredentials) == 0 {
		there.ReadCredentials = out.rec.ReadCredentials
	}
	if len(out.rec.WriteCredentials) == 0 {
		there.WriteCredentials = out.rec.WriteCredentials
	}
	return sameRecord(out.rec, there), nil
}

// samePipe compares a pipe with the one of its name. Credentials that the source
// does not have, or that dst does not give out, do not count.
func (w *catalogueWriter) samePipe(ctx context.Context, out outgoing[PipeSettings], there PipeSettings) (bool, error) {
	var parent PipeSettings
	if there.Parent != "" {
		var err error
		if parent, err = w.dst.Pipes().Get(ctx, there.Parent); err != nil && !refused(err) {
			return false, err
		}
	}
	there = ownFields(there, parent)
	credentials := out.rec.Credentials
	out.rec.Credentials = nil
	if !sameRecord(out.rec, there) || len(credentials) == 0 {
		return sameRecord(out.rec, there), nil
	}
	ring, err := readKeyring(ctx, w.dst, there.Name)
	return ring.blind || sameJSON(standardSets(credentials), ring.credentials().reveal()), err
}

// standardSets returns credentials in the shape and under the names that the
// credentials of a keyring have.
func standardSets(c Credentials) map[string]any {
	ring := keyring{read: standardNames(c.For(RoleRead)), write: standardNames(c.For(RoleWrite))}
	return ring.credentials().reveal()
}

func sameRecord(a, b Record) bool {
	one, err := a.reveal()
	if err != nil {
		return false
	}
	two, err := b.reveal()
	return err == nil && sameJSON(one, two)
}

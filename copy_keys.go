package d6tpipe

import (
	"context"
	"errors"
)

// keyring is what an API gives out for one pipe.
type keyring struct {
	read, write Credentials
	noWrite     bool   // the role is not enough for those for writing
	blind       bool   // the API gives out none at all
	reason      string // why it is blind
}

// readKeyring asks for the credentials of a pipe. That they are refused is no
// error.
func readKeyring(ctx context.Context, api API, pipe string) (ring keyring, err error) {
	s, err := api.Storage(ctx, pipe, RoleRead, false)
	switch {
	case refused(err):
		return keyring{blind: true, reason: err.Error()}, nil
	case err != nil:
		return ring, err
	}
	if s.SignedURLs {
		return keyring{blind: true, reason: "the server signs each request and hands out no credentials"}, nil
	}
	ring.read = s.Credentials
	s, err = api.Storage(ctx, pipe, RoleWrite, false)
	if refused(err) {
		ring.noWrite = true
		return ring, nil
	}
	ring.write = s.Credentials
	return ring, err
}

// refused tells an answer about one record from a failure that concerns all.
func refused(err error) bool {
	for _, kind := range []error{ErrPermission, ErrNotFound, ErrInvalid, ErrUnsupported, ErrExists, ErrTooLarge} {
		if errors.Is(err, kind) {
			return true
		}
	}
	return false
}

// credentials returns the keyring in the shape in which a pipe has it.
func (k keyring) credentials() Credentials {
	read, write := k.read.reveal(), k.write.reveal()
	switch {
	case len(read) == 0 && len(write) == 0:
		return nil
	case !k.noWrite && sameJSON(read, write):
		return read
	}
	sets := Credentials{}
	if len(read) > 0 {
		sets["read"] = read
	}
	if len(write) > 0 {
		sets["write"] = write
	}
	return sets
}

func (k keyring) equal(other keyring) bool {
	return sameJSON(k.credentials().reveal(), other.credentials().reveal())
}

// sameJSON reports whether two values are the same to a reader of JSON, who does
// not see the order of fields.
func sameJSON(a, b any) bool {
	one, err := canonical(a)
	if err != nil {
		return false
	}
	two, err := canonical(b)
	return err == nil && one == two
}

// canonical encodes v with sorted fields and every digit.
func canonical(v any) (string, error) {
	raw, err := encodeJSON(v)
	if err != nil {
		return "", err
	}
	var plain any
	if err := decodeJSON(raw, &plain); err != nil {
		return "", err
	}
	raw, err = encodeJSON(plain)
	return string(raw), err
}

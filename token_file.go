package d6tpipe

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"sync"

	"github.com/d6t/d6tpipe-go/internal/atomicfile"
	"github.com/d6t/d6tpipe-go/internal/jsonfile"
)

// MemoryTokens returns a store that forgets its tokens with the process.
func MemoryTokens() TokenStore { return &memoryTokens{tokens: map[TokenKey]Secret{}} }

type memoryTokens struct {
	mu     sync.Mutex
	tokens map[TokenKey]Secret
}

// Format prints nothing of the tokens, under every verb.
func (m *memoryTokens) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte("MemoryTokens")) }

func (m *memoryTokens) Token(ctx context.Context, key TokenKey) (Secret, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if token, ok := m.tokens[key]; ok && ctx.Err() == nil {
		return token, nil
	}
	return "", &Error{Op: "read token", Name: key.String(), Err: orCancelled(ctx, ErrNotFound)}
}

func (m *memoryTokens) SetToken(ctx context.Context, key TokenKey, token Secret) error {
	if err := orCancelled(ctx, checkToken("token", key, token)); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.tokens[key] = token
	return nil
}

func (m *memoryTokens) DeleteToken(ctx context.Context, key TokenKey) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.tokens, key)
	return nil
}

func orCancelled(ctx context.Context, err error) error {
	if cancelled := ctx.Err(); cancelled != nil {
		return cancelled
	}
	return err
}

// FileTokens returns a store that keeps tokens unencrypted in a file that only
// its owner may read: a JSON object, profile@origin to token. It is used only
// where somebody asked for it. A file that others may read or that is damaged is
// refused, with [ErrRefused] and [ErrDamaged], and stays as it is; Windows has no
// permissions of this kind, there the folder's count.
func FileTokens(path string) TokenStore { return fileTokens{path} }

type fileTokens struct{ path string }

func (f fileTokens) Token(ctx context.Context, key TokenKey) (Secret, error) {
	token, err := f.token(ctx, key)
	if err != nil {
		return "", &Error{Op: "read token", Name: key.String(), Err: err}
	}
	return token, nil
}

func (f fileTokens) token(ctx context.Context, key TokenKey) (token Secret, err error) {
	if err := ctx.Err(); err != nil {
		return "", err
	}
	path, err := absPath(f.path)
	if err != nil {
		return "", err
	}
	tokens, err := readTokens(path)
	if err != nil {
		return "", err
	}
	raw, ok := tokens.Get(key.String())
	if !ok {
		return "", ErrNotFound
	}
	if json.Unmarshal(raw, &token) != nil || checkToken("token", key, token) != nil {
		return "", fmt.Errorf("%w: %s holds no token for it, but something else", ErrDamaged, path)
	}
	return token, nil
}

func (f fileTokens) SetToken(ctx context.Context, key TokenKey, token Secret) error {
	if err := checkToken("token", key, token); err != nil {
		return err
	}
	return f.edit(ctx, "keep token", key, func(tokens *jsonfile.Object) bool {
		tokens.Set(key.String(), asciiJSON(string(token)))
		return true
	})
}

func (f fileTokens) DeleteToken(ctx context.Context, key TokenKey) error {
	return f.edit(ctx, "delete token", key, func(tokens *jsonfile.Object) bool { return tokens.Delete(key.String()) })
}

// edit changes the file while holding its lock. The function reports whether it
// changed something.
func (f fileTokens) edit(ctx context.Context, op string, key TokenKey, change func(*jsonfile.Object) bool) (err error) {
	defer func() {
		if err != nil {
			err = &Error{Op: op, Name: key.String(), Err: err}
		}
	}()
	path, err := absPath(f.path)
	if err != nil {
		return err
	}
	if err := makeDir(filepath.Dir(path)); err != nil {
		return err
	}
	unlock, err := atomicfile.Lock(ctx, path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	if err := atomicfile.Sweep(path); err != nil {
		return err
	}
	tokens, err := readTokens(path)
	if err != nil || !change(tokens) {
		return err
	}
	data, err := tokens.Indent("    ")
	if err != nil {
		return err
	}
	return atomicfile.Write(path, append(data, '\n'), 0o600)
}

// readTokens reads the file, empty when there is none. It looks at the
// permissions of the file that it has opened.
func readTokens(path string) (*jsonfile.Object, error) {
	f, err := os.Open(path)
	if err != nil {
		return &jsonfile.Object{}, ignoreMissing(err)
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	switch {
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("%w: %s is not a file", ErrRefused, path)
	case runtime.GOOS != "windows" && info.Mode().Perm()&0o077 != 0:
		return nil, fmt.Errorf("%w: %s may be read by others; chmod 600 it and renew the token", ErrRefused, path)
	}
	data, err := io.ReadAll(io.LimitReader(f, 1<<20))
	if err != nil {
		return nil, err
	}
	tokens, err := jsonfile.Parse(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w: %w", path, ErrDamaged, err)
	}
	return tokens, nil
}

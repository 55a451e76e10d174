package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
)

const (
	listPath     = "/v1/api/pipes/"
	accountsPath = "/v1/api/accounts/"
	loginPath    = "/v1/api/accounts/token/"
)

const (
	accounts = 32 // that log in; each is one client of the flood
	pipes    = 50 // that the lists have
)

// A world is what is on the server before it is measured.
type world struct {
	token  string   // of who lists
	logins [][]byte // requests, each of another account
	list   []byte   // the answer to a list
}

// furnish opens accounts and makes pipes, through the API as users do.
func furnish(ctx context.Context, address string) (*world, error) {
	c, err := connect(ctx, address)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	w := &world{}
	for i := range accounts {
		account := account{fmt.Sprintf("user-%d", i), fmt.Sprintf("user-%d@example.com", i), fmt.Sprintf("secret of %d", i)}
		token, err := c.register(account)
		if err != nil {
			return nil, err
		}
		w.logins = append(w.logins, post(loginPath, "", encode(map[string]string{"username": account.Username, "password": account.Password})))
		w.token = token
		if i == 0 {
			if err := c.share(token); err != nil {
				return nil, err
			}
		}
	}
	if err := c.makePipes(w.token); err != nil {
		return nil, err
	}
	if w.list, err = c.answer(get(listPath, w.token)); err != nil {
		return nil, err
	}
	var all []json.RawMessage
	if err := json.Unmarshal(w.list, &all); err != nil {
		return nil, err
	}
	if len(all) != pipes {
		return nil, fmt.Errorf("the list has %d pipes, not %d", len(all), pipes)
	}
	return w, nil
}

type account struct {
	Username string `json:"username"`
	Email    string `json:"email"`
	Password string `json:"password"`
}

func (c *connection) register(a account) (token string, err error) {
	body, err := c.answer(post(accountsPath, "", encode(a)))
	if err != nil {
		return "", err
	}
	var said struct{ Token string }
	if err := json.Unmarshal(body, &said); err != nil || said.Token == "" {
		return "", errors.Join(err, errors.New("a registration answered no token"))
	}
	return said.Token, nil
}

// share makes a fifth of the pipes somebody else's, of which the last account may read
// some by its address, before it has been opened.
func (c *connection) share(token string) error {
	invited := encode(map[string]string{"email": fmt.Sprintf("user-%d@example.com", accounts-1), "role": "read"})
	for i := range pipes / 5 {
		name := fmt.Sprintf("shared-%d", i)
		_, err := c.answer(post(listPath, token, encode(map[string]any{"name": name, "schema": map[string]any{"columns": []string{"day", "store", "amount"}}})))
		if err != nil {
			return err
		}
		if _, err := c.answer(post(listPath+name+"/permissions/", token, invited)); err != nil {
			return err
		}
	}
	return nil
}

// makePipes makes the other pipes: half of them in managed storage, a fifth on a bucket
// with stored credentials, and below one of these a tenth with filters.
func (c *connection) makePipes(token string) error {
	for i := range pipes / 5 * 4 {
		p := map[string]any{"name": fmt.Sprintf("own-%02d", i)}
		switch {
		case i < pipes/5:
			p["protocol"], p["location"] = "s3", "bucket-of-the-team"
			p["credentials"] = map[string]string{"aws_access_key_id": "AKIAEXAMPLE", "aws_secret_access_key": "not a real one"}
			p["options"] = map[string]string{"dir": fmt.Sprintf("sales/%d", i), "include": "*.csv|*.parquet"}
		case i < pipes/10*3:
			p["parent"], p["options"] = "own-00", map[string]string{"include": fmt.Sprintf("2026-%02d*.csv", i)}
		}
		if _, err := c.answer(post(listPath, token, encode(p))); err != nil {
			return err
		}
	}
	return nil
}

func encode(v any) []byte {
	data, err := json.Marshal(v)
	if err != nil {
		panic(err) // strings and maps of them always marshal
	}
	return data
}

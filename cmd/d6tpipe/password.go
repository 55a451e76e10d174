package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/term"
)

// newPassword asks for a password twice when in is a terminal, without showing
// it, and reads one line otherwise.
func newPassword(in io.Reader, out io.Writer) (string, error) {
	f, ok := in.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return readLine(in)
	}
	var words [2]string
	for i, prompt := range []string{"Password: ", "Again: "} {
		if _, err := fmt.Fprint(out, prompt); err != nil {
			return "", err
		}
		word, err := term.ReadPassword(int(f.Fd()))
		_, _ = fmt.Fprintln(out) // the line that was not echoed
		if err != nil {
			return "", fmt.Errorf("read the password: %w", err)
		}
		words[i] = string(word)
	}
	switch {
	case words[0] != words[1]:
		return "", errors.New("the two passwords differ")
	case words[0] == "":
		return "", errNoPassword
	}
	return words[0], nil
}

var errNoPassword = errors.New("there is no password")

// maxPassword, in bytes, is more than any server takes.
const maxPassword = 4096

func readLine(in io.Reader) (string, error) {
	line, err := bufio.NewReader(io.LimitReader(in, maxPassword)).ReadString('\n')
	if err != nil && err != io.EOF {
		return "", fmt.Errorf("read the password: %w", err)
	}
	line = strings.TrimSuffix(strings.TrimSuffix(line, "\n"), "\r")
	switch {
	case line == "":
		return "", errNoPassword
	case len(line) == maxPassword:
		return "", errors.New("this is too long for a password")
	}
	return line, nil
}

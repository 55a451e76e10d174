package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/term"
)

// newPassword asks for a password twice when in is a terminal, without showing
// it, and reads one line otherwise.
func newPassword(ctx context.Context, in io.Reader, out io.Writer) (string, error) {
	if !isTerminal(in) {
		return readLine(in)
	}
	first, err := askHidden(ctx, in, out, "Password: ")
	if err != nil {
		return "", err
	}
	again, err := askHidden(ctx, in, out, "Again: ")
	switch {
	case err != nil:
		return "", err
	case first != again:
		return "", errors.New("the two passwords differ")
	case first == "":
		return "", errNoPassword
	}
	return first, nil
}

// askSecret is for what is known elsewhere, such as the password of an account: it
// asks once.
func askSecret(ctx context.Context, in io.Reader, out io.Writer, question string) (string, error) {
	if !isTerminal(in) {
		return readLine(in)
	}
	word, err := askHidden(ctx, in, out, question)
	if err == nil && word == "" {
		err = errors.New("nothing was typed")
	}
	return word, err
}

// askHidden asks on a terminal for what nobody is to see.
func askHidden(ctx context.Context, in io.Reader, out io.Writer, question string) (string, error) {
	return prompt(ctx, in, out, question, func(f *os.File) (string, error) {
		word, err := readHidden(f)
		if err == nil {
			_, _ = fmt.Fprintln(out) // the line that was not echoed
		}
		return word, err
	})
}

// askLine asks on a terminal for a line.
func askLine(ctx context.Context, in io.Reader, out io.Writer, question string) (string, error) {
	return prompt(ctx, in, out, question, readTyped)
}

// readTyped reads a line. What follows it is for the next question.
func readTyped(f *os.File) (string, error) {
	var line []byte
	for one := make([]byte, 1); ; {
		if _, err := f.Read(one); err != nil {
			return "", err
		}
		if one[0] == '\n' {
			return strings.TrimSuffix(string(line), "\r"), nil
		}
		line = append(line, one[0])
	}
}

// prompt reads an answer from the terminal, until ctx ends. Nothing can stop the
// reading itself: it is left behind, and the terminal is as it was.
func prompt(ctx context.Context, in io.Reader, out io.Writer, question string, read func(*os.File) (string, error)) (string, error) {
	f, ok := in.(*os.File)
	if !ok || !isTerminal(in) {
		return "", errors.New("there is no terminal to ask on")
	}
	state, err := term.GetState(int(f.Fd()))
	if err != nil {
		return "", fmt.Errorf("ask on the terminal: %w", err)
	}
	if _, err := fmt.Fprint(out, question); err != nil {
		return "", err
	}
	text, err := unlessDone(ctx, func() (string, error) { return read(f) })
	switch {
	case err == nil:
		return text, nil
	case ctx.Err() != nil:
		_, _ = fmt.Fprintln(out)
		return "", errors.Join(ctx.Err(), term.Restore(int(f.Fd()), state))
	case errors.Is(err, io.EOF):
		_, _ = fmt.Fprintln(out)
		return "", errNoAnswer
	}
	return "", fmt.Errorf("read the answer: %w", err)
}

// errNoAnswer says that the input ended, as Ctrl-D makes it, before there was an answer.
var errNoAnswer = errors.New("there was no answer: the input ended")

// unlessDone returns what read does, or the error of a context that ends before. It is
// for reading from terminals and pipes, which cannot be interrupted: read is left
// behind then, and ends with the program.
func unlessDone[T any](ctx context.Context, read func() (T, error)) (T, error) {
	type result struct {
		value T
		err   error
	}
	done := make(chan result, 1)
	go func() {
		value, err := read()
		done <- result{value, err}
	}()
	select {
	case <-ctx.Done():
		var none T
		return none, ctx.Err()
	case r := <-done:
		return r.value, r.err
	}
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

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
)

// A recordField is a flag for one value of a record.
type recordField struct {
	flag, help string
	in         string // "options" or "settings", the object that holds it, or "" for the record itself
	name       string
}

// recordFlags are what a command line says of a record.
type recordFlags struct {
	fields  []recordField
	values  map[string]*string // by flag
	options []string
	schema  string
	params  string
	file    string
	keys    credentialFlags
	encrypt bool
}

func (f *recordFlags) add(c *cobra.Command, known []recordField, withSchema bool) {
	f.fields, f.values = known, map[string]*string{}
	for _, k := range known {
		f.values[k.flag] = c.Flags().String(k.flag, "", k.help)
	}
	c.Flags().StringArrayVar(&f.options, "option", nil, "`NAME=VALUE`, an option of the storage such as endpoint_url; may be given again, and without a value takes it out")
	if withSchema {
		c.Flags().StringVar(&f.schema, "schema", "", "JSON or YAML `file` that tells readers how to read the files, or -")
	}
	c.Flags().StringVar(&f.params, "read-params", "", "JSON or YAML `file` with what readers of the data want to know, or -")
	c.Flags().StringVarP(&f.file, "file", "f", "", "JSON or YAML `file` with settings, or -; flags go before what it says")
	f.keys.add(c)
	c.Flags().BoolVar(&f.encrypt, "encrypt", false, "encrypt location, options and credentials with the key of the profile")
}

// read returns what the command line says: a record, or several from a file. The
// credentials are not in it yet.
func (f *recordFlags) read(c *cobra.Command, args []string) ([]fields, error) {
	if err := f.check(); err != nil {
		return nil, usage(c, err)
	}
	if slices.Contains(args, "") {
		return nil, usage(c, errors.New("the name is empty"))
	}
	docs := []fields{{}}
	if f.file != "" {
		var err error
		if docs, err = readDocuments(c, f.file); err != nil {
			return nil, err
		}
	}
	if err := f.checkClear(docs); err != nil {
		return nil, err
	}
	if len(docs) > 1 {
		if len(args) > 0 || f.ownFlags(c) {
			return nil, usage(c, fmt.Errorf("%s has %d records: a name or settings on the command line are for one", inputName(f.file), len(docs)))
		}
		return docs, f.checkNames(docs)
	}
	if err := f.overlay(c, docs[0]); err != nil {
		return nil, err
	}
	if len(args) > 0 {
		if raw, ok := docs[0]["name"]; ok && string(raw) != string(quoted(args[0])) {
			return nil, usage(c, fmt.Errorf("%s has settings of %s, not of %q", inputName(f.file), raw, args[0]))
		}
		docs[0]["name"] = quoted(args[0])
	} else if f.file == "" {
		return nil, usage(c, errors.New("the name is missing"))
	}
	return docs, f.checkNames(docs)
}

// check refuses to read standard input twice.
func (f *recordFlags) check() error {
	inputs := 0
	for _, from := range []string{f.file, f.schema, f.params, f.keys.both, f.keys.read, f.keys.write} {
		if from == "-" {
			inputs++
		}
	}
	if inputs > 1 {
		return errors.New("standard input can be read once: only one - is possible")
	}
	return nil
}

// ownFlags reports whether anything is set besides --file and --encrypt.
func (f *recordFlags) ownFlags(c *cobra.Command) bool {
	for flag := range f.values {
		if c.Flags().Changed(flag) {
			return true
		}
	}
	return len(f.options) > 0 || f.schema != "" || f.params != "" || f.keys.given()
}

// checkNames refuses records without a name, and two of the same: what the first
// says would be lost.
func (f *recordFlags) checkNames(docs []fields) error {
	seen := map[string]int{}
	for i, doc := range docs {
		name, ok := doc["name"]
		if !ok {
			return fmt.Errorf("%s: record %d has no name", inputName(f.file), i+1)
		}
		if first, ok := seen[string(name)]; ok {
			return fmt.Errorf("%s: records %d and %d are both of %s", inputName(f.file), first, i+1, name)
		}
		seen[string(name)] = i + 1
	}
	return nil
}

// overlay puts what flags say over doc.
func (f *recordFlags) overlay(c *cobra.Command, doc fields) error {
	for _, k := range f.fields {
		if !c.Flags().Changed(k.flag) {
			continue
		}
		value := *f.values[k.flag]
		if err := plain("--"+k.flag, value); err != nil {
			return usage(c, err)
		}
		if err := noSecret(k.name, quoted(value)); err != nil {
			return usage(c, fmt.Errorf("--%s: %w, and everybody on the machine can read the command line; see --credentials", k.flag, err))
		}
		if err := doc.set(k.in, k.name, quoted(value)); err != nil {
			return err
		}
	}
	for _, option := range f.options {
		name, value, ok := strings.Cut(option, "=")
		if !ok || name == "" {
			return usage(c, fmt.Errorf("--option %q has not the form NAME=VALUE", option))
		}
		raw := optionValue(name, value)
		if err := noSecret(name, raw); err != nil {
			return usage(c, fmt.Errorf("--option %s: %w, and everybody on the machine can read the command line; see --credentials", safe(name), err))
		}
		if err := doc.set("settings", name, raw); err != nil {
			return err
		}
	}
	for name, from := range map[string]string{"schema": f.schema, "readParams": f.params} {
		if from == "" {
			continue
		}
		raw, err := readValue(c, from)
		if err != nil {
			return err
		}
		doc[name] = raw
	}
	return nil
}

// optionValue reads the value of an option: true, false, JSON in brackets and the
// numbers that are known as such; everything else is a text.
func optionValue(name, value string) json.RawMessage {
	number := name == "port" || name == "connections"
	typed := value == "true" || value == "false" || strings.HasPrefix(value, "{") || strings.HasPrefix(value, "[") || number
	switch {
	case value == "":
		return json.RawMessage("null")
	case typed && json.Valid([]byte(value)):
		return json.RawMessage(value)
	}
	return quoted(value)
}

// readValue reads a file with one value of JSON or YAML.
func readValue(c *cobra.Command, from string) (json.RawMessage, error) {
	data, err := readInput(c, from)
	if err != nil {
		return nil, err
	}
	if json.Valid(data) {
		return data, nil // as it is, to the byte
	}
	docs, err := parseYAML(data)
	if err == nil && len(docs) != 1 {
		err = errors.New("there must be one document in it")
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", inputName(from), err)
	}
	return encodeJSON(docs[0])
}

// set sets a value of the object called in, or of the fields themselves.
func (f fields) set(in, name string, value json.RawMessage) error {
	if in == "" {
		f[name] = value
		return nil
	}
	return f.merge(in, fields{name: value})
}

// merge puts values into the object called name.
func (f fields) merge(name string, values fields) error {
	object := fields{}
	if raw, ok := f[name]; ok {
		if err := json.Unmarshal(raw, &object); err != nil {
			return fmt.Errorf("%s must be an object, with a name for each value", name)
		}
	}
	for key, value := range values {
		object[key] = value
	}
	raw, err := encodeJSON(object)
	f[name] = raw
	return err
}

// dropNulls takes out of the objects what is null.
func (f fields) dropNulls() error {
	for _, name := range []string{"options", "settings"} {
		var object fields
		if json.Unmarshal(f[name], &object) != nil {
			continue // it is not there, or the record refuses it
		}
		for key, value := range object {
			if string(value) == "null" {
				delete(object, key)
			}
		}
		raw, err := encodeJSON(object)
		if err != nil {
			return err
		}
		f[name] = raw
	}
	return nil
}

// text returns a value that is a text, "" when it is none.
func (f fields) text(name string) (text string) {
	_ = json.Unmarshal(f[name], &text) // who needs it to be one says so
	return text
}

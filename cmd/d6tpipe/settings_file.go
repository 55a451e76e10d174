package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v3"

	d6tpipe "github.com/d6t/d6tpipe-go"
)

// fields are settings as JSON, field by field.
type fields map[string]json.RawMessage

// maxSettings, in bytes, is more than settings of any kind have.
const maxSettings = 16 << 20

// readInput reads what a flag names: a file, or - for standard input.
func readInput(c *cobra.Command, name string) ([]byte, error) {
	in := c.InOrStdin()
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return nil, err
		}
		defer func() { _ = f.Close() }()
		in = f
	}
	data, err := io.ReadAll(io.LimitReader(in, maxSettings+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("read %s: %w", inputName(name), err)
	case len(data) > maxSettings:
		return nil, fmt.Errorf("%s is too large for settings", inputName(name))
	}
	return data, nil
}

func inputName(name string) string {
	if name == "-" {
		return "standard input"
	}
	return name
}

// readDocuments reads settings from a file: documents of JSON, one after the
// other or in an array, or of YAML.
func readDocuments(c *cobra.Command, name string) ([]fields, error) {
	data, err := readInput(c, name)
	if err != nil {
		return nil, err
	}
	parse := parseYAML
	if start := bytes.TrimLeft(data, " \t\r\n"); len(start) > 0 && (start[0] == '{' || start[0] == '[') {
		parse = parseJSON
	}
	docs, err := parse(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", inputName(name), err)
	}
	if len(docs) == 0 {
		return nil, fmt.Errorf("%s: there are no settings in it", inputName(name))
	}
	return docs, nil
}

func parseJSON(data []byte) (docs []fields, err error) {
	in := json.NewDecoder(bytes.NewReader(data))
	for {
		var raw json.RawMessage
		if err := in.Decode(&raw); errors.Is(err, io.EOF) {
			return docs, nil
		} else if err != nil {
			at := int64(len(data))
			var syntax *json.SyntaxError
			if errors.As(err, &syntax) {
				at = min(at, syntax.Offset)
			}
			return nil, fmt.Errorf("line %d: %w", 1+bytes.Count(data[:at], []byte("\n")), err)
		}
		some, err := eachObject(raw)
		if err != nil {
			return nil, err
		}
		docs = append(docs, some...)
	}
}

// eachObject takes an object, or an array of objects. Fields that are null are
// not there.
func eachObject(raw json.RawMessage) ([]fields, error) {
	var docs []fields
	if err := json.Unmarshal(raw, &docs); err != nil {
		var one fields
		if json.Unmarshal(raw, &one) != nil {
			return nil, errors.New("settings are an object, with a name for each value")
		}
		docs = []fields{one}
	}
	for _, doc := range docs {
		for name, value := range doc {
			if string(value) == "null" {
				delete(doc, name)
			}
		}
	}
	return docs, nil
}

func parseYAML(data []byte) (docs []fields, err error) {
	in := yaml.NewDecoder(bytes.NewReader(data))
	for {
		var node yaml.Node
		if err := in.Decode(&node); errors.Is(err, io.EOF) {
			return docs, nil
		} else if err != nil {
			return nil, err
		}
		var b bytes.Buffer
		if err := yamlToJSON(&b, &node); err != nil {
			return nil, err
		}
		if b.String() == "null" { // nothing between two ---
			continue
		}
		some, err := eachObject(b.Bytes())
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", node.Line, err)
		}
		docs = append(docs, some...)
	}
}

// yamlToJSON writes a node as JSON. Numbers keep their digits, and a date is the
// text that it looks like. Errors do not quote values, which may be secrets.
func yamlToJSON(b *bytes.Buffer, n *yaml.Node) error {
	switch n.Kind {
	case yaml.DocumentNode:
		return yamlToJSON(b, n.Content[0])
	case yaml.SequenceNode:
		b.WriteByte('[')
		for i, item := range n.Content {
			if i > 0 {
				b.WriteByte(',')
			}
			if err := yamlToJSON(b, item); err != nil {
				return err
			}
		}
		b.WriteByte(']')
		return nil
	case yaml.MappingNode:
		return yamlObject(b, n)
	case yaml.ScalarNode:
		return yamlScalar(b, n)
	}
	return fmt.Errorf("line %d: aliases are not understood; write the value again", n.Line)
}

func yamlObject(b *bytes.Buffer, n *yaml.Node) error {
	seen := map[string]bool{}
	b.WriteByte('{')
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := n.Content[i]
		if key.Kind != yaml.ScalarNode || key.ShortTag() == "!!merge" {
			return fmt.Errorf("line %d: the name of a value must be a plain word", key.Line)
		}
		if seen[key.Value] {
			return fmt.Errorf("line %d: %q is there twice", key.Line, key.Value)
		}
		seen[key.Value] = true
		if i > 0 {
			b.WriteByte(',')
		}
		b.Write(quoted(key.Value))
		b.WriteByte(':')
		if d6tpipe.IsCredentialName(key.Value) {
			keepText(n.Content[i+1])
		}
		if err := yamlToJSON(b, n.Content[i+1]); err != nil {
			return err
		}
	}
	b.WriteByte('}')
	return nil
}

// keepText has a password that looks like a number be the text that stands there, where
// JSON has no such number: 0123 would become 83, and 1_000 another password, too.
func keepText(n *yaml.Node) {
	switch tag := n.ShortTag(); {
	case n.Kind != yaml.ScalarNode, json.Valid([]byte(n.Value)):
	case tag == "!!int", tag == "!!float", tag == "!!bool":
		n.SetString(n.Value)
	}
}

func yamlScalar(b *bytes.Buffer, n *yaml.Node) error {
	var value any
	tag := n.ShortTag()
	switch {
	case tag == "!!str" || tag == "!!timestamp":
		value = n.Value
	case (tag == "!!int" || tag == "!!float") && json.Valid([]byte(n.Value)):
		value = json.RawMessage(n.Value)
	case tag == "!!int" || tag == "!!float" || tag == "!!bool" || tag == "!!null":
		if err := n.Decode(&value); err != nil {
			return fmt.Errorf("line %d: this is no value of the type %s", n.Line, tag)
		}
	default:
		return fmt.Errorf("line %d: values of the type %s are not understood", n.Line, tag)
	}
	raw, err := encodeJSON(value)
	if err != nil {
		return fmt.Errorf("line %d: JSON has no such number", n.Line)
	}
	b.Write(raw)
	return nil
}

// quoted is a text as JSON.
func quoted(text string) json.RawMessage {
	raw, _ := encodeJSON(text) // a text can always be written
	return raw
}

// encodeJSON is json.Marshal that leaves < and > alone.
func encodeJSON(v any) (json.RawMessage, error) {
	var b bytes.Buffer
	err := printJSON(&b, v, "")
	return bytes.TrimSpace(b.Bytes()), err
}

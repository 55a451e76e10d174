package server_test

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"net/url"
	"strconv"
	"strings"
)

// encodings are the forms in which a secret could lie somewhere. Base64 depends on
// where the text begins: what is the same at all three places is looked for.
func encodings(secret string) map[string][]byte {
	forms := map[string][]byte{
		"text": []byte(secret), "hex": []byte(hex.EncodeToString([]byte(secret))), "HEX": []byte(strings.ToUpper(hex.EncodeToString([]byte(secret)))),
		"query": []byte(url.QueryEscape(secret)), "path": []byte(url.PathEscape(secret)),
		"JSON": inJSON(secret, true), "plain JSON": inJSON(secret, false), "quoted": inner(strconv.Quote(secret)), "ASCII": inner(strconv.QuoteToASCII(secret)),
		"quoted twice": inner(strconv.Quote(string(inner(strconv.Quote(secret))))),
	}
	for shift := range 3 {
		for name, form := range map[string]*base64.Encoding{"base64 ": base64.StdEncoding, "base64 of URLs ": base64.URLEncoding} {
			padded := form.EncodeToString(append(make([]byte, shift), secret...))
			begin := []int{0, 2, 3}[shift]
			forms[name+string(rune('0'+shift))] = []byte(padded[begin+2 : len(padded)-4])
		}
	}
	return forms
}

func inner(quoted string) []byte { return []byte(quoted[1 : len(quoted)-1]) }

func inJSON(text string, escape bool) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(escape)
	_ = e.Encode(text) // strings always can be
	return inner(strings.TrimSpace(b.String()))
}

package server_test

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"net/url"
)

// encodings are the forms in which a secret could lie somewhere. Base64 depends on
// where the text begins: what is the same at all three places is looked for.
func encodings(secret string) map[string][]byte {
	quoted, _ := json.Marshal(secret)
	forms := map[string][]byte{
		"text": []byte(secret), "hex": []byte(hex.EncodeToString([]byte(secret))), "URL": []byte(url.QueryEscape(secret)), "JSON": quoted[1 : len(quoted)-1],
	}
	for shift := range 3 {
		padded := base64.StdEncoding.EncodeToString(append(make([]byte, shift), secret...))
		begin := []int{0, 2, 3}[shift]
		forms["base64 "+string(rune('0'+shift))] = []byte(padded[begin+2 : len(padded)-4])
	}
	return forms
}

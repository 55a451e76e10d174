package s3

import (
	"encoding/xml"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const (
	head = `<?xml version="1.0" encoding="UTF-8"?>` + "\n" + `<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">`
	tail = `<IsTruncated>false</IsTruncated></ListBucketResult>`
)

func contents(key string) string {
	return `<Contents><Key>` + key + `</Key><LastModified>2026-11-23T10:00:00.000Z</LastModified><ETag>&quot;0123456789abcdef0123456789abcdef&quot;</ETag>` +
		`<Owner><ID>1</ID><DisplayName></DisplayName></Owner><Size>7</Size><StorageClass>STANDARD</StorageClass></Contents>`
}

// What the scanner reads is what the parser reads.
func TestScanPage(t *testing.T) {
	for name, body := range map[string]string{
		"plain":     head + `<Name>b</Name><Prefix/><KeyCount>2</KeyCount>` + contents("a") + contents("b%2Fc") + tail,
		"indented":  head + "\n  <Prefix></Prefix>\n  " + contents("a&amp;b&#34;") + "\n" + tail,
		"no prolog": `<ListBucketResult>` + contents("a") + tail,
		"no keys":   head + tail,
		"goes on":   head + `<EncodingType>url</EncodingType><NextContinuationToken>t+1/=</NextContinuationToken><IsTruncated>true</IsTruncated></ListBucketResult>`,
	} {
		got, ok := scanPage([]byte(body))
		require.True(t, ok, name)
		require.Equal(t, parsed(t, body), got, name)
	}
}

// What may mean something else is left to the parser.
func TestScanPageIsSure(t *testing.T) {
	good := head + contents("a") + tail
	for name, body := range map[string]string{
		"empty": "", "text": "x", "HTML": "<html></html>", "half": good[:len(good)/2], "no end": strings.TrimSuffix(good, ">"),
		"attribute":    strings.Replace(good, "<Key>", `<Key a="b">`, 1),
		"comment":      strings.Replace(good, "<Key>", `<!-- <Key>b</Key> --><Key>`, 1),
		"CDATA":        strings.Replace(good, "<Key>a", `<Key><![CDATA[a]]>`, 1),
		"entity":       strings.Replace(good, "<Key>a", `<Key>&what;`, 1),
		"two keys":     strings.Replace(good, "<Key>a</Key>", `<Key>a</Key><Key>b</Key>`, 1),
		"two sizes":    strings.Replace(good, "<Size>7</Size>", `<Size>7</Size><Size>8</Size>`, 1),
		"spaces":       strings.Replace(good, "<Size>7</Size>", `<Size> 7 </Size>`, 1),
		"negative":     strings.Replace(good, "<Size>7</Size>", `<Size>-7</Size>`, 1),
		"bad time":     strings.Replace(good, "2026-11-23T", `yesterday `, 1),
		"UTF-8":        strings.Replace(good, "<Key>a", `<Key>é`, 1),
		"control":      strings.Replace(good, "<Key>a", "<Key>\x01", 1),
		"line break":   strings.Replace(good, "<Key>a", "<Key>a\r\n", 1),
		"inside a key": strings.Replace(good, "<Key>a", "<Key>a<b></b>", 1),
		"text between": strings.Replace(good, "<Key>", "x<Key>", 1),
		"crossed":      strings.Replace(good, "</Key>", "</Size>", 1),
		"prefixed":     strings.ReplaceAll(good, "Key>", "s3:Key>"),
		"deep":         strings.Replace(good, "<Key>", strings.Repeat("<a>", 100)+strings.Repeat("</a>", 100)+"<Key>", 1),
		"maybe":        strings.Replace(good, ">false<", ">maybe<", 1),
	} {
		_, ok := scanPage([]byte(body))
		require.False(t, ok, name)
	}
}

func FuzzScanPage(f *testing.F) {
	f.Add(head + `<Prefix/>` + contents("a%20b&amp;") + tail)
	f.Add(head + "\n" + contents("a") + contents("") + tail)
	f.Fuzz(func(t *testing.T, body string) {
		if got, ok := scanPage([]byte(body)); ok {
			require.Equal(t, parsed(t, body), got)
		}
	})
}

func parsed(t *testing.T, body string) *page {
	t.Helper()
	p := &page{}
	require.NoError(t, xml.Unmarshal([]byte(body), p))
	p.XMLName = xml.Name{}
	return p
}

func BenchmarkParsePage(b *testing.B) {
	var keys strings.Builder
	for i := range 1000 {
		keys.WriteString(contents(fmt.Sprintf("folder%%2F%07d.csv", i)))
	}
	plain := []byte(head + `<EncodingType>url</EncodingType>` + keys.String() + tail)
	for name, body := range map[string][]byte{"plain": plain, "other": []byte(strings.Replace(string(plain), "<Key>", "<Key >", 1))} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(body)))
			for b.Loop() {
				if _, err := parsePage(body); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

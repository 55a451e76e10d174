package s3

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const (
	pageHead = `<?xml version="1.0" encoding="UTF-8"?>` + "\n" + `<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">`
	pageRest = `<IsTruncated>true</IsTruncated><EncodingType>url</EncodingType><NextContinuationToken>t0</NextContinuationToken></ListBucketResult>`
)

// pages are as servers write them, and as they had better not.
var pages = map[string]bool{ // whether they need no encoding/xml
	pageHead + `<Name>b</Name><Prefix></Prefix><Contents><Key>a%20b</Key><LastModified>2026-11-23T12:00:00.000Z</LastModified><ETag>&quot;d41d8cd98f00b204e9800998ecf8427e&quot;</ETag><Size>1</Size><StorageClass>STANDARD</StorageClass></Contents>` + pageRest: true,
	pageHead + `<Contents><Key>a</Key><LastModified>2026-11-23T12:00:00Z</LastModified><ETag>"D41D8CD98F00B204E9800998ECF8427E-2"</ETag><Size>0</Size><Owner><ID>x</ID><DisplayName/></Owner></Contents>` + pageRest:                                              false,
	pageHead + `<Contents><Key>a</Key><ETag>&#34;x&#34;</ETag><Size>7</Size><Owner><ID>x</ID></Owner></Contents><CommonPrefixes><Prefix>p/</Prefix></CommonPrefixes>` + pageRest:                                                                                  true,
	"<ListBucketResult>\n  <Contents>\n    <Key>a</Key>\n    <Size>12</Size>\n  </Contents>\n  <IsTruncated>false</IsTruncated>\n</ListBucketResult>\n":                                                                                                           true,
	pageHead + `<Contents><Key>a&amp;b</Key><Size>1</Size></Contents>` + pageRest:                                                                                                                                                                                 false,
	pageHead + `<Contents><Key>é</Key><Size>1</Size></Contents>` + pageRest:                                                                                                                                                                                       false,
	pageHead + `<Contents><Key><![CDATA[a<b]]></Key><Size>1</Size></Contents>` + pageRest:                                                                                                                                                                         false,
	pageHead + `<!-- <Contents> --><Contents><Key>a</Key><Size>-1</Size></Contents>` + pageRest:                                                                                                                                                                   false,
	pageHead + `<Contents><Key>a</Key><Key>b</Key><Size> 1 </Size><ETag>W/"x"</ETag></Contents>` + pageRest:                                                                                                                                                       false,
	pageHead + `<Contents><Key>a</Key><Key>b</Key><Size>1</Size><ETag>W/"x"</ETag></Contents><Contents></Contents>` + pageRest:                                                                                                                                    true,
	pageHead + `<Name>b</Name><Prefix/><MaxKeys>1000</MaxKeys>` + pageRest:                                                                                                                                                                                        true, // as Amazon has it
	`<s3:ListBucketResult xmlns:s3="x"><s3:IsTruncated>false</s3:IsTruncated></s3:ListBucketResult>`:                                                                                                                                                              false,
	`<Error><Code>AccessDenied</Code></Error>`: false,
	pageHead[:40]: false,
}

func TestScan(t *testing.T) {
	for body, plain := range pages {
		var p page
		require.Equal(t, plain, p.scan([]byte(body)), body)
		scansAlike(t, body)
	}
}

// scansAlike: what the scanner is sure of is what encoding/xml reads.
func scansAlike(t *testing.T, body string) {
	t.Helper()
	var fast, slow page
	if !fast.scan([]byte(body)) {
		return
	}
	require.NoError(t, slow.unmarshal([]byte(body)), body)
	require.Equal(t, shown(fast), shown(slow), body)
}

func shown(p page) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%q %v", p.token, p.escaped)
	if p.truncated != nil {
		fmt.Fprint(&b, *p.truncated)
	}
	for _, e := range p.entries {
		fmt.Fprintf(&b, "\n%q %q %d %v", e.key, e.tag, e.size, e.modified)
	}
	return b.String()
}

func FuzzS3ListXML(f *testing.F) {
	for body := range pages {
		f.Add(body)
	}
	f.Fuzz(func(t *testing.T, body string) {
		scansAlike(t, body)
		var p page
		if p.parse([]byte(body)) == nil {
			_, _ = p.objects(nil, true)
		}
	})
}

package s3

import (
	"encoding/xml"
	"errors"
	"net/url"
	"strings"
	"time"
)

// page is an answer to ListObjectsV2.
type page struct {
	XMLName               xml.Name `xml:"ListBucketResult"`
	EncodingType          string
	IsTruncated           *bool
	NextContinuationToken string
	Contents              []entry
}

type entry struct {
	Key          string
	LastModified time.Time
	ETag         string
	Size         *int64

	sum string // md5Prefix and ETag, sharing its bytes
}

// parsePage reads a page and makes sure that it says all that it must.
func parsePage(body []byte) (*page, error) {
	p, ok := scanPage(body)
	if !ok {
		p = &page{}
		if err := xml.Unmarshal(body, p); err != nil {
			return nil, errNoListing
		}
	}
	if p.IsTruncated == nil {
		return nil, errNoEnd
	}
	for i := range p.Contents {
		e := &p.Contents[i]
		if e.Size == nil {
			return nil, errNoLength
		}
		if p.EncodingType == "url" {
			key, err := url.QueryUnescape(e.Key)
			if err != nil {
				return nil, errors.New("the remote lists a name that is not escaped")
			}
			e.Key = key
		}
	}
	return p, nil
}

// pack moves the texts of a page into one: listings are kept as a whole, and a
// million small strings take twice their room. The MD5 that most tags are comes with
// its name before it, so that a Sum is no other text.
func (p *page) pack() {
	size := 0
	for i := range p.Contents {
		p.Contents[i].ETag = trimETag(p.Contents[i].ETag)
		size += len(p.Contents[i].Key) + len(md5Prefix) + len(p.Contents[i].ETag)
	}
	var all strings.Builder
	all.Grow(size)
	for i := range p.Contents {
		all.WriteString(p.Contents[i].Key + md5Prefix + p.Contents[i].ETag)
	}
	rest := all.String()
	for i := range p.Contents {
		e := &p.Contents[i]
		e.Key, rest = rest[:len(e.Key)], rest[len(e.Key):]
		e.sum, rest = rest[:len(md5Prefix)+len(e.ETag)], rest[len(md5Prefix)+len(e.ETag):]
		e.ETag = e.sum[len(md5Prefix):]
	}
}

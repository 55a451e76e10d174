package httpd

import (
	"encoding/json"
	"encoding/xml"
	"fmt"
	"net/http"
	"strconv"
)

// texts are the words of the repo API, see package wire.
var texts = map[int]string{
	http.StatusForbidden:           "You do not have permission to perform this action.",
	http.StatusNotFound:            "Not found.",
	http.StatusMethodNotAllowed:    "Method not allowed.",
	http.StatusInternalServerError: "Internal server error.",
	http.StatusServiceUnavailable:  "The server is busy, try again later.",
}

// codes are S3's words for the same.
var codes = map[int]string{
	http.StatusInternalServerError: "InternalError",
	http.StatusServiceUnavailable:  "SlowDown",
}

// fail answers in the language of whom the path belongs to.
func fail(w http.ResponseWriter, r *http.Request, status int) {
	header := w.Header()
	for _, name := range []string{"Content-Encoding", "Etag", "Last-Modified"} { // of an answer that somebody had begun
		header.Del(name)
	}
	header.Set("Cache-Control", "no-store")
	if q := requestOf(r.Context()); q != nil && q.kind == kindStorage {
		body, _ := xml.Marshal(struct { // strings always marshal
			XMLName       xml.Name `xml:"Error"`
			Code, Message string
			RequestID     string `xml:"RequestId"`
		}{Code: codes[status], Message: texts[status], RequestID: q.id})
		write(w, status, "application/xml", append([]byte(xml.Header), body...))
		return
	}
	body, _ := json.Marshal(map[string]string{"detail": texts[status]})
	write(w, status, "application/json", body)
}

func write(w http.ResponseWriter, status int, contentType string, body []byte) {
	header := w.Header()
	header.Set("Content-Type", contentType)
	header.Set("Content-Length", strconv.Itoa(len(body)))
	if header.Get("Content-Security-Policy") == "" {
		header.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
	}
	w.WriteHeader(status)
	_, _ = w.Write(body)
}

func typeName(v any) string { return fmt.Sprintf("%T", v) }
